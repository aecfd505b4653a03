"""Console devices that tests play themselves: peers behind a Unix socket or TCP port, a serial line, programs."""

from __future__ import annotations

import os
import select
import socket
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
    def on_tcp_port(cls, *, refusing: bool = False, host: str = "127.0.0.1") -> Peer:
        """With ``refusing`` connections are refused until ``listen``; the port is taken all the same."""
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.bind((host, 0))
        if not refusing:
            listening.listen(16)
        return cls(listening)

    def listen(self) -> None:
        self._listening.listen(16)

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
    """A terminal for the daemon to open as its serial port ``path``; the test has the other end.

    ``path`` is a link, which goes away with the device: the terminal's own name may soon be another's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ours = self._theirs = -1
        self.plug_in()

    def plug_in(self) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path.symlink_to(os.ttyname(self._theirs))

    def send(self, data: bytes) -> None:
        assert os.write(self._ours, data) == len(data)

    def receive_until(self, marker: bytes) -> bytes:
        data = b""
        while marker not in data:
            assert select.select([self._ours], [], [], PATIENCE_SECONDS)[0], f"no {marker!r} came: {data!r}"
            data += os.read(self._ours, 65536)
        return data

    @property
    def port_fd(self) -> int:
        """The port itself, for a look at its settings."""
        return self._theirs

    def unplug(self) -> None:
        """The device goes away, as a USB adapter that is pulled."""
        if self._ours >= 0:
            self.path.unlink()
            os.close(self._ours)
            os.close(self._theirs)
            self._ours = self._theirs = -1

    def __enter__(self) -> SerialLine:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.unplug()


def write_program(path: Path, text: str) -> Path:
    """An executable script for a process console."""
    path.write_text(text)
    path.chmod(0o755)
    return path
