"""What a console or a server module tells others, written down."""

from __future__ import annotations

import asyncio
import os
from typing import Callable, List, Tuple

from conmand.config.model import LogLevel
from conmand.server.daemonlog import DaemonLog


class _Awaitable:
    """Something that grows, and can be waited for."""

    def __init__(self) -> None:
        self._waiting: List[Tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        await future

    def _grown(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)


class RecordingSink(_Awaitable):
    """The hub's side of a console."""

    def __init__(self) -> None:
        super().__init__()
        self.published = b""
        self.announced: List[str] = []
        self.reported: List[Tuple[LogLevel, str]] = []
        self.levels: List[LogLevel] = []  # of the announcements
        self.flow: List[str] = []

    def publish(self, data: bytes) -> None:
        self.published += data
        self._grown()

    @property
    def record(self) -> Callable[[bytes], None]:
        return self.publish

    def announce(self, level: LogLevel, text: str) -> None:
        self.announced.append(text)
        self.levels.append(level)
        self._grown()

    def report(self, level: LogLevel, text: str) -> None:
        self.reported.append((level, text))
        self._grown()

    def congested(self) -> None:
        self.flow.append("congested")
        self._grown()

    def relieved(self) -> None:
        self.flow.append("relieved")
        self._grown()


class RecordingLog(DaemonLog):
    """A daemon's log that goes nowhere. ``lines`` are ``(level, text)``."""

    def __init__(self, level: LogLevel = LogLevel.DEBUG) -> None:
        super().__init__(stderr_fd=-1, level=level)
        self.lines: List[Tuple[LogLevel, str]] = []
        self.growth = _Awaitable()
        self.observer = self._observe

    def _observe(self, level: LogLevel, text: str) -> None:
        self.lines.append((level, text))
        self.growth._grown()

    async def until(self, text: str) -> None:
        """Until a line contains ``text``."""
        await self.growth.until(lambda: any(text in line for line in self.texts))

    @property
    def texts(self) -> List[str]:
        return [text for _level, text in self.lines]


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
