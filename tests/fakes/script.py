"""A script run as the daemon runs one: on one non-blocking end of a socket pair, in a bare environment."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from types import TracebackType

# Exactly what conmand 0.3.1 gives its children.
ENVIRONMENT = {"IFS": " \t\n", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "dumb"}


class Script:
    """Use as a context manager: on leaving, the daemon's end is closed and the process ended if it still runs."""

    def __init__(self, *argv: str, cwd: str = "/", blocking: bool = False) -> None:
        self.socket, theirs = socket.socketpair()
        theirs.setblocking(blocking)
        self.received = b""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=ENVIRONMENT,
            cwd=cwd,
            restore_signals=False,
            start_new_session=True,
        )
        theirs.close()

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_until(self, wanted: bytes, seconds: float = 30) -> bytes:
        """Everything received up to and including ``wanted``, which is then forgotten."""
        deadline = time.monotonic() + seconds
        while wanted not in self.received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise AssertionError(f"no {wanted!r} within {seconds} s, but {self.received!r}")
            data = self.socket.recv(65536)
            if not data:
                raise AssertionError(f"no {wanted!r} before the end, but {self.received!r}")
            self.received += data
        end = self.received.index(wanted) + len(wanted)
        found, self.received = self.received[:end], self.received[end:]
        return found

    def read_to_end(self, seconds: float = 30) -> bytes:
        """Everything up to the end of file: the process and all it started have closed the socket."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise AssertionError(f"no end of file within {seconds} s, but {self.received!r}")
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                received, self.received = self.received, b""
                return received
            self.received += data

    def close(self) -> None:
        self.socket.close()

    def wait(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def descendants(pid: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found
