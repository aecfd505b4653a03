"""The consoles' devices, as a process of its own: Unix sockets that print numbered lines at a given rate.

Run as ``python -m bench.load DIRECTORY CONSOLES``; it binds DIRECTORY/00000 and so on. Commands come in on standard
input and answers go out on standard output, one line each:

    (start)                  listening
    accept                   connected SECONDS      when every socket was connected to once
    send LINES RATE TICK N   JSON of ``Sent``       LINES in all, round robin, N of them in each send
    loop RATE TICK           looping                sends until ``stop``, the same lines over and over
    stop                     JSON of ``Sent``       of the loop; nothing is sent after it

It shares the machine with what is measured, so the sending is one loop over prepared calls, without an event loop. It
wakes up every TICK seconds (0: for each line) and sends what is due by then. How lines bunch decides how often a daemon
wakes up for them, so that ``Sent`` tells it.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import queue
import select
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Callable, Dict, Iterable, Iterator, List, Tuple

from bench.plan import LINE_BYTES

HELD_SECONDS = 0.001
"""Before the next attempt to send to a socket that is full."""

Send = Tuple[Callable[[bytes], int], bytes]


@dataclass(frozen=True)
class Sent:
    """What came of a command to send. ``held`` counts attempts that found a socket full, ``wakes`` how often the load
    woke up to send: it wants to once a tick, and a machine that is busy elsewhere makes larger bursts of the lines."""

    lines: int
    seconds: float
    held: int
    wakes: int


def line(console: int, number: int) -> bytes:
    """The line ``number`` (from 0) of a console, as its device prints it."""
    return b"%05d %07d " % (console, number) + b"." * (LINE_BYTES - 16) + b"\r\n"


class Devices:
    def __init__(self, directory: str, count: int) -> None:
        self._listening = [self._listen(os.path.join(directory, f"{index:05d}")) for index in range(count)]
        self._connected: List[socket.socket] = []
        self._numbers = [0] * count
        self._stop = threading.Event()

    @staticmethod
    def _listen(path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        sock.listen(4)
        return sock

    def accept(self) -> None:
        """Accept one connection on each socket, and no more after it: a daemon that reconnects loses lines."""
        by_fd = {sock.fileno(): index for index, sock in enumerate(self._listening)}
        accepted: Dict[int, socket.socket] = {}
        with select.epoll() as epoll:
            for fd in by_fd:
                epoll.register(fd, select.EPOLLIN)
            while len(accepted) < len(by_fd):
                for fd, _events in epoll.poll():
                    listening = self._listening[by_fd[fd]]
                    accepted[by_fd[fd]], _address = listening.accept()
                    epoll.unregister(fd)
                    listening.close()
        self._connected = [accepted[index] for index in range(len(by_fd))]
        for sock in self._connected:
            sock.setblocking(False)

    def send(self, lines: int, rate: float, tick_seconds: float, group: int) -> Sent:
        """Send ``lines`` lines at ``rate`` lines a second (0: as fast as they are taken)."""
        return self._pace(self._prepare(lines, group), rate / group, tick_seconds, group)

    def loop(self, rate: float, tick_seconds: float) -> Sent:
        """Send lines at ``rate`` until ``stop``. The numbers repeat; nothing can be verified after it."""
        return self._pace(itertools.cycle(self._prepare(100 * len(self._connected), 1)), rate, tick_seconds, 1)

    def stop(self) -> None:
        self._stop.set()

    def _prepare(self, lines: int, group: int) -> List[Send]:
        count = len(self._connected)
        calls = [sock.send for sock in self._connected]
        sends: List[Send] = []
        for index in range(lines // group):
            console = index % count
            first = self._numbers[console]
            self._numbers[console] = first + group
            sends.append((calls[console], b"".join(line(console, first + offset) for offset in range(group))))
        return sends

    def _pace(self, sends: Iterable[Send], rate: float, tick_seconds: float, group: int) -> Sent:
        monotonic, sleep, stopped = time.monotonic, time.sleep, self._stop.is_set
        remaining: Iterator[Send] = iter(sends)
        held = 0
        done = 0
        wakes = 0
        start = monotonic()
        while not stopped():
            due = int((monotonic() - start) * rate) - done if rate else 100
            exhausted = True
            wakes += due > 0
            for call, data in itertools.islice(remaining, due):
                exhausted = False
                try:
                    taken = call(data)
                except BlockingIOError:
                    taken = 0
                done += 1
                while taken < len(data):
                    held += 1
                    sleep(HELD_SECONDS)
                    try:
                        taken += call(data[taken:])
                    except BlockingIOError:
                        if stopped():
                            break
            if due > 0 and exhausted:
                break
            if rate:
                next_due = start + max(done / rate + tick_seconds, (done + 1) / rate)
                sleep(max(0.0, next_due - monotonic()))
        return Sent(done * group, monotonic() - start, held, wakes)


def main(arguments: List[str]) -> int:
    devices = Devices(arguments[0], int(arguments[1]))
    commands: queue.SimpleQueue[List[str]] = queue.SimpleQueue()

    def read_commands() -> None:
        for text in sys.stdin:
            if text == "stop\n":
                devices.stop()
            else:
                commands.put(text.split())
        devices.stop()
        commands.put(["quit"])

    threading.Thread(target=read_commands, daemon=True).start()
    gc.disable()
    answer("listening")
    while True:
        name, *values = commands.get()
        if name == "quit":
            return 0
        if name == "accept":
            start = time.monotonic()
            devices.accept()
            answer(f"connected {time.monotonic() - start:.6f}")
        elif name == "send":
            answer(json.dumps(asdict(devices.send(int(values[0]), float(values[1]), float(values[2]), int(values[3])))))
        elif name == "loop":
            answer("looping")
            answer(json.dumps(asdict(devices.loop(float(values[0]), float(values[1])))))


def answer(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
