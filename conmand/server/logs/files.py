"""All console logs together: opened in threads, reopened on SIGHUP, switched to other files, stamped at intervals."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from conmand.server.logs.console_log import ConsoleLog, Opened, Sighting
from conmand.server.logs.lanes import HUNG_SECONDS, Lanes, NoThread

BATCH = 64
"""Logs per turn: one at a time, 9,000 of them would cost a second of waiting for threads."""

OPENING_SECONDS = HUNG_SECONDS
"""After this long the consoles start without their logs; what they say waits in the backlog for the file. Where
something hangs, nobody waits for what comes after it."""

DELETED_SECONDS = 5.0
"""How often it is asked whether the files of logs that have grown are still in their directories."""

Opener = Callable[[], Opened]


class LogFiles:
    """Opens logs, each by one thread at a time: a second opening of a file that is being opened waits for the first.

    A thread that hangs in one log keeps neither other logs nor the daemon's end waiting.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lanes: Optional[Lanes] = None) -> None:
        self._loop = loop
        self._lanes = lanes or Lanes(loop)
        self._being_opened: Set[ConsoleLog] = set()
        self._to_open_again: Set[ConsoleLog] = set()
        self._awaited: List[_Awaited] = []
        self._closed = False

    async def open(self, logs: Sequence[ConsoleLog], *, truncate: bool = False) -> None:
        """Open ``logs`` and return when they are, but for those where something hangs."""
        awaited = _Awaited(self._loop)
        for log in logs:
            if log in self._being_opened:
                self._to_open_again.add(log)
                continue
            path = log.expanded_path()
            if not self._lanes.hangs(path or ""):
                awaited.logs.add(log)
            # Before the open: closing any descriptor of a file ends our locks on it, and it may be the same file.
            log.close_file()
            self._submit(log, path, partial(log.open_file, truncate=truncate, path=path), log.opened)
        await self._until_opened(awaited)

    async def reopen(self, logs: Sequence[ConsoleLog]) -> None:
        """Close and open every log, its name expanded anew; what its console says between goes to the new file."""
        for log in logs:
            log.look()
        for start in range(0, len(logs), BATCH):
            await self.open(logs[start : start + BATCH])

    def retry(self, log: ConsoleLog) -> None:
        """Try to open one log again, without waiting for it."""
        if log in self._being_opened:
            self._to_open_again.add(log)
            return
        log.close_file()
        path = log.expanded_path()
        self._submit(log, path, partial(log.open_file, path=path), log.opened)

    def switch(self, log: ConsoleLog, opener: Opener, done: Callable[[ConsoleLog, Opened], None]) -> bool:
        """Let ``opener`` open another file in a thread, while the log goes on in its own; then call ``done``.

        Returns whether it was begun: a log that is being opened cannot be switched.
        """
        if log in self._being_opened or self._closed:
            return False
        self._submit(log, log.path, opener, partial(done, log))
        return True

    def look_for_deleted(self, logs: Iterable[ConsoleLog]) -> None:
        """Have the kernel asked, in threads, which of ``logs`` have lost their files, and make those anew."""
        by_lane: Dict[str, List[Tuple[ConsoleLog, Sighting]]] = {}
        for log in logs:
            sighting = log.sighting()
            if sighting is not None and log not in self._being_opened:
                by_lane.setdefault(self._lanes.lane_of(log.path), []).append((log, sighting))
        for seen in by_lane.values():
            path = seen[0][0].path
            if not self._lanes.hangs(path):
                sightings = [sighting for _log, sighting in seen]
                self._lanes.submit(path, partial(_have_names, sightings), partial(self._seen, seen), _raise)

    def _seen(self, seen: List[Tuple[ConsoleLog, Sighting]], have_names: List[bool]) -> None:
        for (log, sighting), has_name in zip(seen, have_names):
            if not log.is_stopped and log.seen(sighting, has_name):
                self.retry(log)

    async def all_opened(self) -> None:
        """Wait until no log is being opened."""
        while self._being_opened:
            awaited = _Awaited(self._loop)
            awaited.logs.update(self._being_opened)
            self._awaited.append(awaited)
            await awaited.done

    def close(self) -> None:
        self._closed = True
        self._lanes.close()

    async def _until_opened(self, awaited: _Awaited) -> None:
        awaited.logs.intersection_update(self._being_opened)  # without a thread, some have failed already
        if awaited.logs:
            self._awaited.append(awaited)
            await asyncio.wait([awaited.done], timeout=OPENING_SECONDS)

    def _submit(self, log: ConsoleLog, path: Optional[str], opener: Opener, done: Callable[[Opened], None]) -> None:
        def opened(result: Opened) -> None:
            self._being_opened.discard(log)
            done(result)
            if log in self._to_open_again and not self._closed:
                self._to_open_again.discard(log)
                self.retry(log)
            if log not in self._being_opened:
                self._tell_waiting(log)

        def failed(error: BaseException) -> None:
            # Without threads every log tries again by its own timer. The original exits (errata A2).
            cause = error.strerror if isinstance(error, OSError) else repr(error)
            opened(Opened(path or "", -1, f"Unable to open logfile for [{log.name}]: {cause}"))

        self._being_opened.add(log)
        self._lanes.submit(path or "", opener, opened, failed, Opened.discard)

    def _tell_waiting(self, log: ConsoleLog) -> None:
        for awaited in self._awaited:
            awaited.logs.discard(log)
            if not awaited.logs:
                if not awaited.done.done():  # whoever waited has been cancelled
                    awaited.done.set_result(None)
                self._awaited = [other for other in self._awaited if other is not awaited]


class _Awaited:
    """Logs that somebody waits for."""

    __slots__ = ("logs", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.logs: Set[ConsoleLog] = set()
        self.done: asyncio.Future[None] = loop.create_future()


def _have_names(sightings: List[Sighting]) -> List[bool]:
    return [sighting.has_name() for sighting in sightings]


def _raise(error: BaseException) -> None:
    if not isinstance(error, NoThread):  # next time, perhaps
        raise error


async def look_for_deleted(logs: Sequence[ConsoleLog], files: LogFiles) -> None:
    """Make files anew that somebody has deleted, or moved away with their directory and then deleted; until cancelled.

    The original goes on writing into a deleted file until the next SIGHUP.
    """
    while True:
        await asyncio.sleep(DELETED_SECONDS)
        all_logs = tuple(logs)
        for start in range(0, len(all_logs), BATCH):
            files.look_for_deleted(all_logs[start : start + BATCH])
            await asyncio.sleep(0)


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
        for count, log in enumerate(tuple(logs)):  # which may change at each turn of the loop
            if not log.is_stopped:
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
