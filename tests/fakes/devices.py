"""Console devices that tests play themselves: peers behind a Unix socket or TCP port, a serial line, programs."""

from __future__ import annotations

import os
import socket
import struct
import tty
from pathlib import Path
from typing import Optional

from tests.fakes.files import PATIENCE_SECONDS


class Peer:
    """The far end of a Unix-socket or telnet console: listens, takes the daemon's connection, talks."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._listening.settimeout(PATIENCE_SECONDS)
        self._connection: Optional[socket.socket] = None
        self._unread = b""

    @classmethod
    def on_unix_socket(cls, path: Path) -> Peer:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(path))
        listening.listen(16)
        return cls(listening)

    @classmethod
    def on_tcp_port(cls, port: int = 0) -> Peer:
        return cls(socket.create_server(("127.0.0.1", port)))

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def accept(self) -> None:
        """Take the daemon's connection, in place of the one before."""
        connection, _address = self._listening.accept()
        connection.settimeout(PATIENCE_SECONDS)
        self.hang_up()
        self._connection = connection
        self._unread = b""

    @property
    def connection(self) -> socket.socket:
        assert self._connection is not None, "no daemon has connected"
        return self._connection

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive_until(self, marker: bytes) -> bytes:
        """What comes up to and with ``marker``."""
        while marker not in self._unread:
            try:
                data = self.connection.recv(65536)
            except socket.timeout:
                data = b""
            assert data, f"no {marker!r} came: {self._unread!r}"
            self._unread += data
        end = self._unread.index(marker) + len(marker)
        block, self._unread = self._unread[:end], self._unread[end:]
        return block

    def receive_end(self) -> bytes:
        """What comes until the daemon closes."""
        try:
            while True:
                data = self.connection.recv(65536)
                if not data:
                    break
                self._unread += data
        except ConnectionResetError:
            pass
        block, self._unread = self._unread, b""
        return block

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def stop_listening(self) -> None:
        self._listening.close()

    def close(self) -> None:
        self.hang_up()
        self.stop_listening()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()


class SerialLine:
    """A terminal for the daemon to open as its serial port; the test has the other end."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)

    def send(self, data: bytes) -> None:
        assert os.write(self._ours, data) == len(data)

    def receive_until(self, marker: bytes) -> bytes:
        data = b""
        while marker not in data:
            data += os.read(self._ours, 65536)
        return data

    @property
    def port_fd(self) -> int:
        """The port itself, for a look at its settings."""
        return self._theirs

    def hang_up(self) -> None:
        """The device goes away, as a USB adapter that is pulled."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def close(self) -> None:
        self.hang_up()
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1

    def __enter__(self) -> SerialLine:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()


def reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def write_program(path: Path, text: str) -> Path:
    """An executable script for a process console."""
    path.write_text(text)
    path.chmod(0o755)
    return path


ECHO_PROGRAM = """\
#!/usr/bin/env python3
# Says hello, then returns each line in upper case; descriptor 0 may be non-blocking, as under the original.
import os, select
os.write(1, b"hello\\r\\n")
while True:
    select.select([0], [], [])
    data = os.read(0, 4096)
    if not data:
        break
    os.write(1, data.upper())
"""
