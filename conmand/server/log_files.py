"""All console logs together: opened in threads, reopened on SIGHUP, stamped at intervals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Deque, Sequence, Set

from conmand.server.console_log import ConsoleLog, Opened

BATCH = 64
"""Logs per hop to a thread: one at a time, 9,000 of them would cost a second of hops."""

MAX_THREADS = 4
HUNG_SECONDS = 10.0
"""After this long the consoles start without their logs; what they say waits in the backlog for the file. All consoles
together: while one batch of logs hangs, nobody waits for the next."""


class LogFiles:
    """Opens logs, each by one thread at a time: a second opening of a file that is being opened waits for the first.

    A thread that hangs in one log keeps neither the others of its batch nor the daemon's end waiting.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="logs")
        self._being_opened: Set[ConsoleLog] = set()
        self._to_open_again: Set[ConsoleLog] = set()
        self._all_opened = asyncio.Event()
        self._hung: Set[asyncio.Future[None]] = set()
        self._watching: Set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self, logs: Sequence[ConsoleLog], *, truncate: bool = False) -> None:
        """Open ``logs`` and return when they are, or when it takes so long that something must hang."""
        if not logs:
            return
        watching = self._loop.create_task(self._open(logs, truncate))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        # Once something hangs, nobody waits for the next batch too: it may be on the same file server.
        await asyncio.wait([watching], timeout=0 if self._hung else None)

    async def _open(self, logs: Sequence[ConsoleLog], truncate: bool) -> None:
        waiting = deque(logs)
        opening = self._submit(waiting, truncate)
        await asyncio.wait([opening], timeout=HUNG_SECONDS)
        if not opening.done():
            self._hung.add(opening)
            opening.add_done_callback(self._hung.discard)
            self._pass_over_hung(waiting, truncate)

    async def reopen(self, logs: Sequence[ConsoleLog]) -> None:
        """Close and open every log, its name expanded anew; what its console says between goes to the new file."""
        for start in range(0, len(logs), BATCH):
            await self.open(logs[start : start + BATCH])

    def retry(self, log: ConsoleLog) -> None:
        """Try to open one log again, without waiting for it."""
        self._submit(deque([log]), truncate=False)

    async def all_opened(self) -> None:
        """Wait until no log is being opened."""
        while self._being_opened:
            self._all_opened.clear()
            await self._all_opened.wait()

    def close(self) -> None:
        self._closed = True
        for watching in list(self._watching):
            watching.cancel()
        self._threads.shutdown(wait=False)

    def _submit(self, waiting: Deque[ConsoleLog], truncate: bool) -> asyncio.Future[None]:
        """Let a thread open the logs in ``waiting``, which it empties."""
        for log in list(waiting):
            if log in self._being_opened:
                self._to_open_again.add(log)
                waiting.remove(log)
            else:
                self._being_opened.add(log)
                # Before the open: closing any descriptor of a file ends our locks on it, and it may be the same file.
                log.close_file()
        try:
            return self._loop.run_in_executor(self._threads, self._open_all, waiting, truncate)
        except RuntimeError:
            return self._without_thread(waiting)

    def _without_thread(self, waiting: Deque[ConsoleLog]) -> asyncio.Future[None]:
        """No thread can be started: every log tries again by its own timer. The original exits (errata A2)."""
        for log in list(waiting):
            waiting.remove(log)  # a thread that comes later finds nothing to do
            complaint = f"Unable to open logfile for [{log.name}]: {os.strerror(errno.EAGAIN)}"
            self._opened(log, Opened("", -1, complaint))
        done = self._loop.create_future()
        done.set_result(None)
        return done

    def _open_all(self, waiting: Deque[ConsoleLog], truncate: bool) -> None:
        """Runs in a thread."""
        while True:
            try:
                log = waiting.popleft()
            except IndexError:
                return
            result = log.open_file(truncate=truncate)
            # The loop may have ended while this thread hung.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._opened, log, result)

    def _opened(self, log: ConsoleLog, result: Opened) -> None:
        self._being_opened.discard(log)
        log.opened(result)
        if log in self._to_open_again and not self._closed:
            self._to_open_again.discard(log)
            self.retry(log)
        if not self._being_opened:
            self._all_opened.set()

    def _pass_over_hung(self, waiting: Deque[ConsoleLog], truncate: bool) -> None:
        """Give those behind a log that hangs to another thread."""
        rest: Deque[ConsoleLog] = deque()
        with contextlib.suppress(IndexError):
            while True:
                rest.append(waiting.popleft())
        self._being_opened.difference_update(rest)
        if rest:
            self._submit(rest, truncate)


async def stamp_at_intervals(logs: Sequence[ConsoleLog], minutes: int) -> None:
    """Write the ``log at`` line into every log at each multiple of the interval; runs until cancelled.

    The wall clock is asked at least once a minute, so that a clock that is set is followed.
    """
    due = first_stamp(time.time(), minutes)
    while True:
        now = time.time()
        if now < due:
            if due - now > 2 * 60 * minutes:  # the clock was set back
                due = first_stamp(now, minutes)
            await asyncio.sleep(min(due - now, 60.0))
            continue
        for count, log in enumerate(logs):
            log.stamp(now)
            if count % BATCH == BATCH - 1:
                await asyncio.sleep(0)  # 9,000 writes are no reason to keep a key waiting
        due += (int((now - due) // (60 * minutes)) + 1) * 60 * minutes


def first_stamp(now: float, minutes: int) -> float:
    """The next ``00:00 + k * minutes`` of local time after ``now``, in seconds since the epoch."""
    local = time.localtime(now)
    minute_of_day = local.tm_hour * 60 + local.tm_min
    next_minute = (minute_of_day // minutes + 1) * minutes
    due = time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, next_minute, 0, 0, 0, -1))
    # Where the clocks change, a local time may not exist or come twice, and mktime(3) choose the one that has passed.
    return due if due > now else due + (int((now - due) // (60 * minutes)) + 1) * 60 * minutes
