"""A client of the daemon that speaks the raw protocol, so that transcripts are exact to the byte."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Optional, Type

from tests.fakes.files import PATIENCE_SECONDS

GREETING = b"HELLO USER='root' TTY='pts/7'\n"


class RawClient:
    """A connection to the client port. Reads wait for what is expected and fail with what was received instead."""

    def __init__(
        self,
        port: int,
        *,
        receive_buffer_bytes: Optional[int] = None,
        host: str = "127.0.0.1",
        source: Optional[str] = None,
    ) -> None:
        """``host`` is a literal address, or the path of a Unix socket; ``source`` the address to come from."""
        is_path = host.startswith("/")
        self._sock = socket.socket(
            socket.AF_UNIX if is_path else socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM
        )
        if source is not None:
            self._sock.bind((source, 0))
        if receive_buffer_bytes is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._sock.settimeout(PATIENCE_SECONDS)
        self._sock.connect(host if is_path else (host, port))
        self._unread = b""
        self.received = b""
        """Everything so far."""

    @property
    def own_port(self) -> int:
        return int(self._sock.getsockname()[1])

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def receive_until(self, marker: bytes) -> bytes:
        """What comes up to and with ``marker``; what follows stays for the next call."""
        while marker not in self._unread:
            assert self._receive(), f"closed before {marker!r}: {self._unread!r}"
        end = self._unread.index(marker) + len(marker)
        block, self._unread = self._unread[:end], self._unread[end:]
        return block

    def receive_count(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        while len(self._unread) < count:
            assert self._receive(), f"closed before {count} bytes: {self._unread!r}"
        block, self._unread = self._unread[:count], self._unread[count:]
        return block

    def receive_all(self) -> bytes:
        """What comes up to the end of the connection."""
        while self._receive():
            pass
        block, self._unread = self._unread, b""
        return block

    def receive_pending(self) -> bytes:
        """What has come and was not read; nothing is waited for. For proving that something did not come."""
        self._sock.setblocking(False)
        try:
            while self._receive():
                pass
        except BlockingIOError:
            pass
        finally:
            self._sock.settimeout(PATIENCE_SECONDS)
        block, self._unread = self._unread, b""
        return block

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(65536)
        except socket.timeout:
            raise AssertionError(f"nothing more came after {self.received[-2000:]!r}") from None
        except ConnectionResetError:
            data = b""
        self._unread += data
        self.received += data
        return bool(data)

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a TCP reset instead of an end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], where: Optional[TracebackType]
    ) -> None:
        self.close()


def ask(port: int, request: bytes, greeting: bytes = GREETING) -> bytes:
    """Greet, send ``request``, and return everything the daemon says after its first ``OK``."""
    with RawClient(port) as client:
        client.send(greeting)
        assert client.receive_until(b"\n") == b"OK\n"
        client.send(request)
        return client.receive_all()


def open_session(port: int, request: bytes, *, user: str = "root", tty: str = "pts/7") -> RawClient:
    """Greet and send a CONNECT or MONITOR that must succeed; the reply is in ``received``, what follows is unread."""
    client = RawClient(port)
    client.send(f"HELLO USER='{user}' TTY='{tty}'\n".encode())
    assert client.receive_until(b"\n") == b"OK\n"
    client.send(request)
    reply = client.receive_until(b"\n")
    assert reply.startswith(b"OK"), client.received
    return client
