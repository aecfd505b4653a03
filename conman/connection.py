"""Reaching a daemon and putting a request to it, with a blocking socket.

What the lines say is ``conman.handshake``'s; this module connects, sends and receives, and words what failed. The
texts are the original's; exit statuses are the command line's.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import List, Optional

from conman.address import Address, Endpoint, resolve
from conman.errors import ConnectError, RefusedError
from conman.handshake import ClientHandshake, Ended, Garbled, Granted, HandshakeEvent, Refused
from conman.protocol import Greeting, Ok, Request, RequestCommand
from conman.text import decode

READ_BYTES = 65536


@dataclass(frozen=True)
class Connection:
    """A request that was granted. ``rest`` is what has been read behind the answer; the socket is the caller's."""

    sock: socket.socket
    endpoint: Endpoint
    ok: Ok
    rest: bytes

    def read_to_end(self) -> bytes:
        """What follows up to the end, which this closes the socket at. Raises ``ConnectError``."""
        try:
            return self.rest + _read_to_end(self.sock)
        except OSError as error:
            raise _unreadable(self.endpoint, error) from error
        finally:
            self.sock.close()


def connect(
    address: Address, greeting: Greeting, request: Request, *, timeout_seconds: Optional[float] = None
) -> Connection:
    """Connect, greet, ask. ``None`` waits for as long as the network does; the limit is for each single step.

    Raises ``ConnectError``, or ``RefusedError`` with everything that the daemon says about it.
    """
    endpoints = resolve(address)
    sock, endpoint = _connect_any(endpoints, timeout_seconds)
    try:
        event = _ask(sock, endpoint, ClientHandshake(greeting, request), request)
        if isinstance(event, Granted):
            return Connection(sock, endpoint, event.ok, event.rest)
        raise _refusal(sock, endpoint, event)
    except BaseException:
        sock.close()
        raise


def _connect_any(endpoints: List[Endpoint], timeout_seconds: Optional[float]) -> tuple[socket.socket, Endpoint]:
    failure: Optional[OSError] = None
    for endpoint in endpoints:
        try:
            sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        except OSError as error:  # the system has no such family
            failure = failure or error
            continue
        try:
            sock.settimeout(timeout_seconds)
            sock.connect(endpoint.sockaddr)
            if endpoint.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # keys are single bytes
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a monitor would never notice a lost server
            return sock, endpoint
        except OSError as error:
            sock.close()
            failure = failure or error
    assert failure is not None, "a name that resolves has an address"
    raise ConnectError(f"Unable to connect to <{endpoints[0].full_label}>: {_reason(failure)}") from failure


def _ask(sock: socket.socket, endpoint: Endpoint, handshake: ClientHandshake, request: Request) -> HandshakeEvent:
    half_closes = request.command is RequestCommand.QUERY
    requests_left = 2  # greeting and request
    while True:
        to_send = handshake.data_to_send()
        if to_send:
            try:
                sock.sendall(to_send)
            except OSError as error:
                raise ConnectError(f"Unable to send greeting to <{endpoint.label}>: {_reason(error)}") from error
            requests_left -= 1
            if half_closes and not requests_left:
                _half_close(sock, endpoint)
        try:
            data = sock.recv(READ_BYTES)
        except OSError as error:
            raise _unreadable(endpoint, error) from error
        events = handshake.receive(data)
        if events:
            return events[0]


def _half_close(sock: socket.socket, endpoint: Endpoint) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        raise ConnectError(
            f"Unable to close write-half of connection to <{endpoint.label}>: {_reason(error)}"
        ) from error


def _refusal(sock: socket.socket, endpoint: Endpoint, event: HandshakeEvent) -> Exception:
    if isinstance(event, Refused):
        details = event.rest
        with contextlib.suppress(OSError):  # what has come is what there is
            details += _read_to_end(sock)
        return RefusedError(event.code, event.message, decode(details))
    if isinstance(event, Garbled):
        return ConnectError(f"Received invalid response from <{endpoint.label}>")
    assert isinstance(event, Ended)
    return ConnectError(f"Connection terminated by <{endpoint.label}>")


def _unreadable(endpoint: Endpoint, error: OSError) -> ConnectError:
    return ConnectError(
        f"Unable to read response from <{endpoint.label}>:\n  {_reason(error)} (blocked by TCP-Wrappers?)"
    )


def _read_to_end(sock: socket.socket) -> bytes:
    blocks: List[bytes] = []
    while True:
        data = sock.recv(READ_BYTES)
        if not data:
            return b"".join(blocks)
        blocks.append(data)


def _reason(error: OSError) -> str:
    """strerror(3)'s words; a time-out has none in Python 3.9."""
    if isinstance(error, socket.timeout):
        return "Connection timed out"
    return os.strerror(error.errno) if error.errno else str(error)
