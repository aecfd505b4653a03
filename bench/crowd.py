"""Many devices and many clients, all of them in this process: for what a daemon hands out to many at once."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Dict, Iterator, List, Sequence

from bench.site import BenchmarkFailed, Daemon, Subject, name

READ_BYTES = 1 << 18
STANDSTILL_SECONDS = 3.0
"""Whoever hears nothing for so long has lost what is still missing."""


class Gathering:
    """Devices that accept, and the daemon whose consoles they are."""

    def __init__(self, daemon: Daemon, devices: List[socket.socket]) -> None:
        self.daemon = daemon
        self.devices = devices


@contextmanager
def gathered(subject: Subject, consoles: int, limit_seconds: float) -> Iterator[Gathering]:
    """A daemon at rest, connected to as many devices; logs are written."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="conman-bench-")))
        (directory / "logs").mkdir()
        lines = [f'server loopback=on nofile=-1 logdir="{directory}/logs"', 'global log="%N"']
        listening: List[socket.socket] = []
        for number in range(consoles):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.bind(str(directory / name(number)))
            sock.listen(4)
            listening.append(sock)
            lines.append(f'console name="{name(number)}" dev="unix:{directory / name(number)}"')
        (directory / "conman.conf").write_text("\n".join(lines) + "\n")
        daemon = Daemon(subject, directory)
        stack.callback(daemon.close)
        devices: List[socket.socket] = []
        for sock in listening:
            sock.settimeout(limit_seconds)
            devices.append(stack.enter_context(sock.accept()[0]))
            devices[-1].setblocking(False)
            sock.close()
        daemon.wait_until_serving(limit_seconds)
        daemon.wait_until_settled(limit_seconds)
        yield Gathering(daemon, devices)


def opened(daemon: Daemon, request: bytes, limit_seconds: float) -> socket.socket:
    """A session, its reply read. Raises ``BenchmarkFailed`` if it is refused."""
    sock = daemon.connect(limit_seconds)
    sock.sendall(request)
    reply = b""
    while not reply.endswith(b"\n"):
        part = sock.recv(1)
        if not part:
            raise BenchmarkFailed(f"{request!r} was answered with {reply[:200]!r}")
        reply += part
    if not reply.startswith(b"OK"):
        sock.close()
        raise BenchmarkFailed(f"{request!r} was answered with {reply[:200]!r}")
    return sock


def receive_everywhere(socks: Sequence[socket.socket], wanted_bytes: int, limit_seconds: float) -> List[int]:
    """Read until each has ``wanted_bytes``, or none gets more; returns how many bytes each has got."""
    got = [0] * len(socks)
    with select.epoll() as epoll:
        numbers: Dict[int, int] = {}
        for number, sock in enumerate(socks):
            sock.setblocking(False)
            numbers[sock.fileno()] = number
            epoll.register(sock.fileno(), select.EPOLLIN)
        left = len(socks)
        deadline = time.monotonic() + limit_seconds
        while left and time.monotonic() < deadline:
            events = epoll.poll(STANDSTILL_SECONDS)
            if not events:
                break
            for fd, _event in events:
                number = numbers[fd]
                try:
                    size = len(socks[number].recv(READ_BYTES))
                except BlockingIOError:
                    continue
                got[number] += size
                if not size or got[number] >= wanted_bytes:
                    epoll.unregister(fd)
                    left -= 1
    return got
