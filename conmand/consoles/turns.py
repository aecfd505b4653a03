"""Turns to connect: a site's consoles are started together, and fail together when a switch does."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Deque, Optional


class Turns:
    """At most ``limit`` at a time, in order of arrival; a turn that lasts longer than ``seconds`` counts no more.

    Up to ``most`` at a time, if that is given, while they are quick: each turn of at most ``quick_seconds`` makes room
    for one more, and one that outlasts its time takes such room away again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        seconds: float,
        *,
        most: int = 0,
        quick_seconds: float = 0.0,
    ) -> None:
        self._loop = loop
        self._limit = self._free = limit
        self._seconds = seconds
        self._extra = 0  # room that quick turns have made
        self._most_extra = max(most - limit, 0)
        self._quick_seconds = quick_seconds
        self._waiting: Deque[Turn] = deque()

    def ask(self) -> Turn:
        """A turn to wait for; it is to be ended in any case."""
        turn = Turn(self)
        self._waiting.append(turn)
        self._go_on()
        return turn

    def limit(self, limit: int) -> None:
        """At most so many from now on; who has a turn keeps it."""
        self._free += limit - self._limit
        self._limit = limit
        self._go_on()

    def _go_on(self) -> None:
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.come.done():  # else who waited has been cancelled, and has yet to say so
                self._free -= 1
                turn.begin(self._loop.time(), self._loop.call_later(self._seconds, turn.end))

    def _ended(self, seconds: float) -> None:
        """A turn has, after so long."""
        room = 1
        if self._extra < self._most_extra and seconds <= self._quick_seconds:
            self._extra += 1
            room = 2
        elif self._extra and seconds >= self._seconds:
            self._extra -= 1
            room = 0
        self._free += room
        self._go_on()


class Turn:
    """``come`` is done when it is this one's turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._has_ended = False
        self._began = 0.0
        self._timer: Optional[asyncio.TimerHandle] = None
        self.come: asyncio.Future[None] = turns._loop.create_future()

    def begin(self, now: float, timer: asyncio.TimerHandle) -> None:
        self._began, self._timer = now, timer
        self.come.set_result(None)

    def hurry(self) -> None:
        """Somebody waits for this one: before all others."""
        if not self._has_ended and not self.come.done():
            self._turns._waiting.remove(self)
            self._turns._waiting.appendleft(self)

    def end(self) -> None:
        """Idempotent."""
        if self._has_ended:
            return
        self._has_ended = True
        if self._timer is None:
            self.come.cancel()  # it is passed over: to look for it in a long queue would take longer
            return
        self._timer.cancel()
        self._turns._ended(self._turns._loop.time() - self._began)
