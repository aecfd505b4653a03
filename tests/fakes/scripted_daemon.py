"""A daemon that a test plays by hand, for what real ones seldom do."""

from __future__ import annotations

import socket
import struct
from typing import Optional

from tests.fakes.files import PATIENCE_SECONDS


class ScriptedDaemon:
    """Listens on ``port``; ``accept`` takes one client at a time. Use as a context manager."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self._listening = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
        self._listening.settimeout(PATIENCE_SECONDS)
        self.port = int(self._listening.getsockname()[1])
        self._connection: Optional[socket.socket] = None

    def accept(self) -> None:
        self._connection, _address = self._listening.accept()
        self._connection.settimeout(PATIENCE_SECONDS)

    @property
    def connection(self) -> socket.socket:
        assert self._connection is not None, "no client has connected"
        return self._connection

    def read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            byte = self.connection.recv(1)
            assert byte, f"the client closed after {line!r}"
            line += byte
        return line

    def grant(self, reply: bytes = b"OK CONSOLE='n1'\n") -> bytes:
        """Take a client's connection up to its session; returns its request."""
        self.accept()
        self.read_line()
        self.connection.sendall(b"OK\n")
        request = self.read_line()
        self.connection.sendall(reply)
        return request

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def __enter__(self) -> ScriptedDaemon:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._connection is not None:
            self._connection.close()
        self._listening.close()
