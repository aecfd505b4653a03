"""Reading the consoles that nobody watches in batches, instead of waking up for every line.

A wake-up costs more than a line: at 10,000 lines a second, one by one, the daemon spends most of its time falling
asleep and getting up. Almost all consoles are only logged at any moment, and a log may be fifty milliseconds late. So
their descriptors are in an epoll set of their own. When the first one of them speaks they are read at once; after that
the set is looked at every fifty milliseconds, with all that has come until then, and only when a look finds nothing
does the event loop wait for it again. Floods are read without a pause, and consoles with a client by the loop itself,
at once: keys must echo.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from typing import Dict, List, Optional

from conmand.consoles.base import READ_BYTES, Readable

BATCH_SECONDS = 0.050
"""How long what a console says may wait unread, in its kernel buffer."""

FLOOD_BYTES = 4095
"""A read of this size may have emptied a full buffer (a terminal's has 4 KiB): the set is looked at again at once."""

MAX_EVENTS = 64
"""Consoles read in a row; between two such rows the loop serves everybody else."""


_read = os.read
_READABLE = select.EPOLLIN
_CLOSED = select.EPOLLRDHUP
_URGENT = select.EPOLLPRI


class BatchPoller:
    """A set of non-blocking descriptors, each with a reader that gets its bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: Dict[int, Readable] = {}
        self._unfinished: List[int] = []  # have more to read, or their end
        self._next_look: Optional[asyncio.Handle] = None
        self._wait_for_events()

    def add(self, fd: int, reader: Readable) -> None:
        self._readers[fd] = reader
        # A socket tells of each change once, which spares the kernel a second look at it. Then a read that may have
        # left something behind has to be followed by another; so has one of a connection with urgent data (a terminal
        # server's telnet Synch), since a read stops in front of that. A terminal hands out its input in pieces as it
        # likes, and so has to tell as long as there is any.
        once = select.EPOLLET if stat.S_ISSOCK(os.fstat(fd).st_mode) else 0
        self._epoll.register(fd, _READABLE | _CLOSED | _URGENT | once)

    def remove(self, fd: int) -> None:
        """Nothing happens if ``fd`` is not in the set; it must not have been closed."""
        if self._readers.pop(fd, None) is not None:
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
        readers = self._readers
        flood = len(events) == MAX_EVENTS
        if self._unfinished:
            events += [(fd, 0) for fd in self._unfinished]
            self._unfinished = []
        for fd, mask in events:
            reader = readers.get(fd)
            if reader is None:
                continue  # another reader of this batch has removed it
            try:
                data = _read(fd, READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._end(fd, reader, error)
                continue
            if data:
                if mask != _READABLE or len(data) == READ_BYTES:
                    self._unfinished.append(fd)
                    flood = True
                elif len(data) >= FLOOD_BYTES:
                    flood = True
                try:
                    reader.received(data)
                except Exception as mistake:
                    self._report(fd, mistake)
            else:
                self._end(fd, reader, None)
        if flood:
            self._next_look = self._loop.call_soon(self._look)
        elif events:
            self._next_look = self._loop.call_later(BATCH_SECONDS, self._look)
        else:
            self._wait_for_events()

    def _end(self, fd: int, reader: Readable, error: Optional[OSError]) -> None:
        try:
            reader.ended(error)
        except Exception as mistake:
            self._report(fd, mistake)

    def _report(self, fd: int, mistake: Exception) -> None:
        """A mistake of ours in one console; the others of the batch are not to suffer."""
        self._loop.call_exception_handler({"message": f"reading descriptor {fd} failed", "exception": mistake})
