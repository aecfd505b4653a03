"""Where the daemon is: ``HOST[:PORT]`` as users and the environment give it, and its addresses.

Source: ConMan 0.3.1 as observed. Ours beyond it: IPv6 addresses, bare or in brackets; a path, which is that of a Unix
socket; and a complaint about a port above 65535, which there connects to another one without a word.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from typing import List, Mapping, Optional, Tuple, Union

from conman.errors import ConnectError
from conman.text import encode

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7890
MAX_PORT = 65535


@dataclass(frozen=True)
class Address:
    """``host`` may be an absolute path, of a Unix socket; then ``port`` means nothing."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return self.host if self.is_path else joined(self.host, self.port)

    @property
    def is_path(self) -> bool:
        return self.host.startswith("/")

    def with_text(self, text: str) -> Address:
        """This address with what ``HOST[:PORT]`` gives: an empty host, or a port that is no number above 0, changes
        nothing. Raises ``ValueError`` if the port is too large.
        """
        host, port = _split(text)
        return replace(self, host=host or self.host).with_port(port)

    def with_port(self, text: str) -> Address:
        """As ``with_text``, for a port alone."""
        port = leading_number(text)
        if port > MAX_PORT:
            raise ValueError(f'invalid port "{text}"')
        return replace(self, port=port) if port > 0 else self


def from_environment(environ: Mapping[str, str]) -> Address:
    """``$CONMAN_HOST`` and ``$CONMAN_PORT``, of which the latter has the last word on the port."""
    return Address().with_text(environ.get("CONMAN_HOST", "")).with_port(environ.get("CONMAN_PORT", ""))


def leading_number(text: str) -> int:
    """The number that ``text`` begins with, 0 if it begins with none, as atoi(3)."""
    match = re.match(r"\s*([+-]?[0-9]{1,18})", text)
    return int(match[1]) if match else 0


def _split(text: str) -> Tuple[str, str]:
    if text.startswith("/"):
        return text, ""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text, re.DOTALL)
    if bracketed and ":" in bracketed[1]:
        return bracketed[1], bracketed[2] or ""
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        host, _colon, port = text.partition(":")
        return host, port
    return text, ""


def joined(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Endpoint:
    """One resolved address of a daemon, and how messages name it: a path by itself."""

    family: int
    sockaddr: Union[Tuple[object, ...], bytes]
    name: str
    port: int

    @property
    def label(self) -> str:
        """``H:P`` with the short name of the host."""
        if self.family == socket.AF_UNIX:
            return self.name
        name = self.name if _is_numeric(self.name) else self.name.partition(".")[0]
        return joined(name, self.port)

    @property
    def full_label(self) -> str:
        return self.name if self.family == socket.AF_UNIX else joined(self.name, self.port)


def resolve(address: Address) -> List[Endpoint]:
    """The endpoints to try, in order; all carry the canonical name of the first. Raises ``ConnectError``."""
    if address.is_path:
        return [Endpoint(socket.AF_UNIX, encode(address.host), address.host, address.port)]
    try:
        found = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"Unable to resolve host <{address.host}>") from error
    name = _reverse(found[0][4]) or address.host
    return [Endpoint(family, sockaddr, name, address.port) for family, _type, _proto, _name, sockaddr in found]


def _reverse(sockaddr: Tuple[object, ...]) -> Optional[str]:
    try:
        return socket.getnameinfo(sockaddr, socket.NI_NAMEREQD)[0]  # type: ignore[arg-type]
    except OSError:
        return None


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
