"""What the daemon lends its consoles, as far as a test wants it real."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from conmand.consoles.base import READ_BYTES, Readable, Services


class FakeChildren:
    """Starts nothing; remembers what it was asked."""

    def __init__(self) -> None:
        self.spawned: List[List[str]] = []
        self.killed: List[Tuple[int, int]] = []

    def spawn(self, argv: List[str], **_descriptors: Any) -> int:
        self.spawned.append(list(argv))
        return 100_000 + len(self.spawned)

    def kill(self, pid: int, signal_number: int) -> None:
        self.killed.append((pid, signal_number))


class FakeResolver:
    """Answers at once with ``answer``: socket addresses, an error to raise, or a future to wait for."""

    def __init__(self, answer: Union[List[Tuple[int, Any]], BaseException, None] = None) -> None:
        self.answer = answer
        self.asked: List[Tuple[str, int]] = []
        self.hold: Optional[asyncio.Future[None]] = None

    async def resolve(self, host: str, port: int) -> List[Tuple[int, Any]]:
        self.asked.append((host, port))
        if self.hold is not None:
            await self.hold
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return [(socket.AF_INET, (host, port))]


class FakeWatcher:
    """``appear(path)`` says that a path came into being."""

    def __init__(self) -> None:
        self.watched: Dict[str, List[Callable[[], None]]] = {}

    def watch(self, path: str, appeared: Callable[[], None]) -> None:
        self.watched.setdefault(path, []).append(appeared)

    def unwatch(self, path: str, appeared: Callable[[], None]) -> None:
        if appeared in self.watched.get(path, []):
            self.watched[path].remove(appeared)

    def appear(self, path: str) -> None:
        for appeared in list(self.watched.get(path, [])):
            appeared()


class LoopPoller:
    """Reads each descriptor at once, on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add(self, fd: int, reader: Readable) -> None:
        self._loop.add_reader(fd, self._read, fd, reader)

    def _read(self, fd: int, reader: Readable) -> None:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            reader.ended(error)
            return
        if data:
            reader.received(data)
        else:
            reader.ended(None)

    def remove(self, fd: int) -> None:
        self._loop.remove_reader(fd)


class FakeServices(Services):
    """All fake by default; ``children=...`` and so on put real ones in."""

    children: Any
    resolver: Any
    watcher: Any

    def __init__(self, loop: asyncio.AbstractEventLoop, **real: Any) -> None:
        super().__init__(
            loop,
            real.get("poller") or LoopPoller(loop),
            real.get("children") or FakeChildren(),
            real.get("resolver") or FakeResolver(),
            real.get("watcher") or FakeWatcher(),
        )
