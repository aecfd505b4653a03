"""Rotation of console logs by the daemon itself: when a log goes on in another file, and how.

A log is rotated by size or age: its file is renamed, and a thread opens the new one while the console's output still
goes to the old; then the event loop takes the new descriptor in one step, so no byte is lost or written twice. A log
whose name has a date goes on in the file that its name means now. One task looks at all logs once a second and asks the
kernel only about those that have grown; what is compared for the others is one number.

Numbers and compression of the old files are ``retention``'s. Names are the file's with ``.1``, ``.2.gz`` and so on, as
logrotate(8) has them, so its files count.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
import time
from functools import partial
from typing import Dict, FrozenSet, Iterable, List, Optional, Set, Tuple

from conmand.config.settings import RotationSettings
from conmand.errors import reason
from conmand.server.daemonlog import DaemonLog
from conmand.server.logs import rotated_files
from conmand.server.logs.console_log import ConsoleLog
from conmand.server.logs.files import BATCH, LogFiles
from conmand.server.logs.opening import FileId, Opened
from conmand.server.logs.retention import Retention, Spawner

LOOK_SECONDS = 1.0
"""How often logs are looked at: one may exceed its size by what comes in a second."""

RETRY_SECONDS = 60.0
"""After a failure, until the next attempt; the log goes on in the file it has."""

_UNITS = {**dict.fromkeys("dgGjmuUVwWyY", "day"), "H": "hour", "M": "minute"}
"""Which specifiers change a name, and when. Seconds name an opening: they alone begin no new file."""

_SPECIFIER = re.compile(r"%(.)", re.DOTALL)


class _Entry:
    """What is remembered of a log."""

    __slots__ = ("log", "units", "expected", "bytes_seen", "tidied", "not_before", "is_late")

    def __init__(self, log: ConsoleLog, pattern: str) -> None:
        self.log = log
        self.units = units_of(pattern)
        self.expected = log.expanded_path()
        self.bytes_seen = -1
        self.tidied = ""  # the path whose rotated files have been looked at
        self.not_before = 0.0  # by the loop's clock
        self.is_late = False  # its name has changed, and it could not follow yet


class _Move:
    """Logs that go on in another file together."""

    __slots__ = ("base", "left", "failed")

    def __init__(self, base: str) -> None:
        self.base = base
        self.left = 0
        self.failed = False


class Rotation:
    """Looks after the logs it is given until they are stopped; costs nothing while the settings ask for none of it.

    ``add`` a log before it is opened, or its age counts from now.
    """

    def __init__(
        self,
        settings: RotationSettings,
        files: LogFiles,
        loop: asyncio.AbstractEventLoop,
        daemon_log: DaemonLog,
        children: Spawner,
        retention: Optional[Retention] = None,
    ) -> None:
        self._settings = settings
        self._files = files
        self._loop = loop
        self.retention = retention or Retention(settings, loop, daemon_log, children, self._busy)
        self._entries: Dict[ConsoleLog, _Entry] = {}
        self._moves: Set[str] = set()
        self._task: Optional[asyncio.Task[None]] = None
        self._moved = asyncio.Event()

    def add(self, log: ConsoleLog, pattern: str) -> None:
        """Look after ``log``, whose configured name is ``pattern``; again, if that has changed."""
        if self._is_wanted:
            log.dated = self._settings.age_seconds is not None
            self._entries[log] = _Entry(log, pattern)

    def start(self) -> None:
        """Begin to look, if the settings ask for it."""
        if self._task is None and self._is_wanted:
            self._task = self._loop.create_task(self._look_after())

    def configure(self, settings: RotationSettings, logs: Iterable[Tuple[ConsoleLog, str]]) -> None:
        """Go by other settings from now on, and look after all ``logs``, each with its pattern."""
        self._settings = self.retention.settings = settings
        self._entries.clear()
        for log, pattern in logs:
            self.add(log, pattern)
        self.start()

    @property
    def _is_wanted(self) -> bool:
        return self._settings.is_on or self._settings.roll_over

    async def close(self) -> None:
        """Begin nothing more, and do not wait for what is being done: it can be left at any point."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.retention.close()

    async def settled(self) -> None:
        """Wait until no log is between two files, and all old ones are in order."""
        while self._moves:
            self._moved.clear()
            await self._moved.wait()
        await self.retention.settled()

    def _busy(self) -> FrozenSet[FileId]:
        """The files that logs are being written to. Called from threads too: a list is copied in one step."""
        return frozenset(log.file_id for log in list(self._entries) if log.file_id is not None)

    # Looking.

    async def _look_after(self) -> None:
        last = time.localtime()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.time()
            local = time.localtime(now)
            await self.look(now, changed_units(last, local))
            last = local

    async def look(self, now: float, units: FrozenSet[str] = frozenset()) -> None:
        """Look at every log once. ``units`` of local time have changed since the last look."""
        due: List[_Entry] = []
        new: List[_Entry] = []
        for count, entry in enumerate(list(self._entries.values()), 1):
            if entry.log.is_stopped:
                self._entries.pop(entry.log, None)
                continue
            if self._settings.is_on:
                if self._is_due(entry, now) and entry.not_before <= self._loop.time():
                    due.append(entry)
                elif entry.log.path != entry.tidied and entry.log.is_open:
                    new.append(entry)
            if self._settings.roll_over and (entry.is_late or not units.isdisjoint(entry.units)):
                self._follow_name(entry)
            if count % BATCH == 0:
                await asyncio.sleep(0)
        if due:
            self._rotate_all(due)
        if new:
            await self._look_back(new)

    def _is_due(self, entry: _Entry, now: float) -> bool:
        log, settings = entry.log, self._settings
        if settings.age_seconds is not None:
            if log.is_open and (log.begun is None or log.begun > now):
                log.begun = now  # opened before anybody asked, or under a clock that was ahead
            if log.begun is not None and now - log.begun >= settings.age_seconds and log.has_grown:
                return True
        if settings.size_bytes is None or log.bytes_read == entry.bytes_seen:
            return False
        entry.bytes_seen = log.bytes_read
        size = log.file_bytes
        return size is not None and size >= settings.size_bytes and log.has_grown

    async def _look_back(self, new: List[_Entry]) -> None:
        """Once for each file: what earlier daemons have left of it."""
        names = self._names()
        for count, entry in enumerate(new, 1):
            entry.tidied = entry.log.path
            if self._clash(entry.log.path, names) is None:
                self.retention.tidy(entry.log.path)
            if count % BATCH == 0:
                await asyncio.sleep(0)

    # Rotating.

    def _rotate_all(self, due: List[_Entry]) -> None:
        names = self._names()
        sharing: Dict[str, List[_Entry]] = {}
        for entry in self._entries.values():
            sharing.setdefault(entry.log.path, []).append(entry)
        for base in dict.fromkeys(entry.log.path for entry in due):
            clash = self._clash(base, names)
            if clash is not None:
                self.retention.complain(base, f'Log "{base}" is not rotated: "{clash}" is a log too')
            elif base not in self._moves and self.retention.begin_move(base):
                self._rotate(base, sharing[base])
                continue
            for entry in sharing[base]:
                entry.bytes_seen = -1  # look again

    def _names(self) -> Set[Optional[str]]:
        return {name for entry in self._entries.values() for name in (entry.expected, entry.log.path)}

    def _clash(self, base: str, names: Set[Optional[str]]) -> Optional[str]:
        """A log that has the name that a rotated file of ``base`` would get."""
        numbered = (rotated_files.numbered(base, number) for number in range(1, self._settings.keep + 2))
        return next((name for name in numbered if name in names), None)

    def _rotate(self, base: str, entries: List[_Entry]) -> None:
        """Let all logs that share the file ``base`` go on in a new one; the first in the thread renames it."""
        move = _Move(base)
        self._moves.add(base)
        for entry in entries:
            opener = partial(_rotate_and_open, entry.log, base, entry.log.file_id, self._settings.keep)
            self._switch(entry, opener, move)
        if not move.left:
            self._end(move)

    def _switch(self, entry: _Entry, opener: partial[Opened], move: Optional[_Move]) -> None:
        if self._files.switch(entry.log, opener, partial(self._switched, entry, move)):
            if move is not None:
                move.left += 1
        else:
            entry.bytes_seen, entry.is_late = -1, move is None

    def _switched(self, entry: _Entry, move: Optional[_Move], log: ConsoleLog, result: Opened) -> None:
        entry.is_late = False
        if result.fd >= 0:
            log.opened(result)
            entry.expected = result.path
        elif result.complaint is not None:
            entry.not_before = self._loop.time() + RETRY_SECONDS
            entry.bytes_seen, entry.is_late = -1, move is None
            self.retention.complain(result.path, f"{result.complaint}; the log goes on in its old file")
        if move is not None:
            move.left -= 1
            move.failed |= result.fd < 0
            if not move.left:
                self._end(move)

    def _end(self, move: _Move) -> None:
        self._moves.discard(move.base)
        self._moved.set()
        if not move.failed:
            self.retention.complain(move.base, None)
        self.retention.end_move(move.base)

    # Names with a date.

    def _follow_name(self, entry: _Entry) -> None:
        """Let a log go on in the file that its name means now, if that is another."""
        log = entry.log
        path = log.expanded_path()
        if path is None or path == log.path or not log.is_open or log.path in self._moves:
            entry.is_late = path is not None and path != log.path and log.is_open
        elif entry.not_before <= self._loop.time():
            entry.is_late = False
            self._switch(entry, partial(_open_another, log, path, log.file_id), None)


def units_of(pattern: str) -> FrozenSet[str]:
    """Which changes of local time change the name that ``pattern`` stands for."""
    return frozenset(_UNITS[letter] for letter in _SPECIFIER.findall(pattern) if letter in _UNITS)


def changed_units(before: time.struct_time, now: time.struct_time) -> FrozenSet[str]:
    if before[:3] != now[:3]:
        return frozenset({"day", "hour", "minute"})
    if (before.tm_hour, before.tm_gmtoff) != (now.tm_hour, now.tm_gmtoff):
        return frozenset({"hour", "minute"})
    return frozenset({"minute"} if before.tm_min != now.tm_min else ())


# In threads.


def _rotate_and_open(log: ConsoleLog, base: str, file_id: Optional[FileId], keep: int) -> Opened:
    """Rename the file ``base`` if it is the one that ``log`` has open, and open the next one."""
    path = log.expanded_path()
    if path != base:
        return _open_another(log, path or base, file_id)  # its name has changed since: nothing is in the way
    try:
        real, found = rotated_files.real_file(base)
        moved = found is not None and (found.st_dev, found.st_ino) == file_id and stat.S_ISREG(found.st_mode)
        if moved:
            rotated_files.rotate(real, keep)
    except OSError as error:
        return Opened(base, -1, f'Unable to rotate logfile "{base}": {reason(error)}')
    result = _open_another(log, base, file_id)
    if moved and found is not None:
        if result.fd >= 0:
            rotated_files.like(result.fd, found)
        else:
            with contextlib.suppress(OSError):
                rotated_files.undo_rotate(real)
    return result


def _open_another(log: ConsoleLog, path: str, file_id: Optional[FileId]) -> Opened:
    """Open ``path``, unless it is the file that ``log`` has: to close that once more would end our lock on it."""
    try:
        _real, found = rotated_files.real_file(path)
    except OSError:
        found = None  # opening it will say why
    if found is not None and (found.st_dev, found.st_ino) == file_id:
        return Opened(path, -1, None)
    return log.open_file(path=path)
