"""Reading the consoles that nobody watches in batches, instead of waking up for every line.

A wake-up costs more than a line: at 10,000 lines a second, one by one, the daemon spends most of its time falling asleep
and getting up. Almost all consoles are only logged at any moment, and a log may be two milliseconds late. So their
descriptors are in an epoll set of their own. When the first one of them speaks they are read at once; after that the
set is looked at every two milliseconds, with all that has come until then, and only when a look finds nothing does the
event loop wait for it again. Consoles with a client are read by the loop itself, at once: keys must echo.
"""

from __future__ import annotations

import asyncio
import select
from typing import Callable, Dict, Optional

BATCH_SECONDS = 0.002
"""How long what a console says may wait unread. Its kernel buffer holds 4 KiB (a terminal) to 200 KiB (a socket)."""

MAX_EVENTS = 256
"""Consoles read in a row; between two such rows the loop serves everybody else."""


class BatchPoller:
    """A set of descriptors with a callback each, called when there is something to read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: Dict[int, Callable[[], None]] = {}
        self._next_look: Optional[asyncio.Handle] = None
        self._wait_for_events()

    def add(self, fd: int, readable: Callable[[], None]) -> None:
        self._callbacks[fd] = readable
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Nothing happens if ``fd`` is not in the set; it must not have been closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _wait_for_events(self) -> None:
        self._next_look = None
        self._loop.add_reader(self._epoll.fileno(), self._first_event)

    def _first_event(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._look()

    def _look(self) -> None:
        events = self._epoll.poll(0, MAX_EVENTS)
        callbacks = self._callbacks
        for fd, _mask in events:
            callback = callbacks.get(fd)
            if callback is None:
                continue  # another callback of this batch has removed it
            try:
                callback()
            except Exception as error:  # our mistake; the other consoles of the batch are not to suffer
                self._loop.call_exception_handler({"message": f"reading descriptor {fd} failed", "exception": error})
        if len(events) == MAX_EVENTS:
            self._next_look = self._loop.call_soon(self._look)
        elif events:
            self._next_look = self._loop.call_later(BATCH_SECONDS, self._look)
        else:
            self._wait_for_events()
