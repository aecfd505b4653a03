"""Where a connection comes from, as the kernel tells it: an address and a port, or on a Unix socket a user."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Any, Optional

from conman.address import joined

LOCAL_HOST = "localhost"
"""The host of clients on a Unix socket, in messages."""

_UCRED = struct.Struct("=iII")  # pid, uid and gid of unix(7)


@dataclass(frozen=True)
class Origin:
    """``address`` is numeric, and IPv4 where IPv6 only carries it. On a Unix socket it is ``None``, ``port`` is the
    client's process id, and ``uid`` the user that the kernel vouches for."""

    address: Optional[str]
    port: int
    uid: Optional[int] = None

    @property
    def label(self) -> str:
        """``ADDRESS:PORT``, for messages before the peer's name is known."""
        return joined(self.address or LOCAL_HOST, self.port)


def origin(sock: socket.socket, address: Any) -> Origin:
    """Of what accept(2) has returned. Raises ``OSError``."""
    if sock.family == socket.AF_UNIX:
        pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Origin(None, pid, uid)
    return Origin(without_mapping(address[0]), address[1])


def without_mapping(address: str) -> str:
    """A numeric address, without its scope; ``::ffff:192.0.2.1`` is ``192.0.2.1``: a socket for both families shows
    IPv4 so."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed)
