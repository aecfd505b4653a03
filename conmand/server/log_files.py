"""All console logs together: opened in threads, reopened on SIGHUP, stamped at intervals."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import List, Sequence, Tuple

from conmand.server.console_log import ConsoleLog, Opened

BATCH = 64
"""Logs per hop to a thread: one at a time, 9,000 of them would cost a second of hops."""

MAX_THREADS = 4
HUNG_SECONDS = 10.0
"""After this long the consoles start without their logs; what they say waits in the backlog for the file."""


class LogFiles:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="logs")
        self._opening: set[asyncio.Future[None]] = set()

    async def open(self, logs: Sequence[ConsoleLog], *, truncate: bool = False) -> None:
        """Open ``logs`` and return when they are, or when it takes so long that something must hang."""
        if not logs:
            return
        opening = asyncio.ensure_future(self._open(list(logs), truncate))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        await asyncio.wait([opening], timeout=HUNG_SECONDS)

    async def _open(self, logs: List[ConsoleLog], truncate: bool) -> None:
        def open_all() -> List[Tuple[ConsoleLog, Opened]]:
            return [(log, log.open_file(truncate=truncate)) for log in logs]

        for log, result in await self._loop.run_in_executor(self._threads, open_all):
            log.opened(result)

    async def reopen(self, logs: Sequence[ConsoleLog]) -> None:
        """Close and open every log, its name expanded anew; what its console says between goes to the new file."""
        for start in range(0, len(logs), BATCH):
            batch = logs[start : start + BATCH]
            for log in batch:
                # Before the open: closing any descriptor of a file ends our locks on it, and it may be the same file.
                log.close_file()
            await self.open(batch)

    def retry(self, log: ConsoleLog) -> None:
        """Try to open one log again, without waiting for it."""
        opening = asyncio.ensure_future(self._open([log], False))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def close(self) -> None:
        for opening in list(self._opening):
            opening.cancel()
        self._threads.shutdown(wait=False)


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
