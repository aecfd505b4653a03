"""One console's log file: opened and reopened, processed, written at once, replayed, and whole when the disk is not.

``write`` is the hot path: one clock look-up, one pass of the line processor, one write(2). Everything that may hang or
fail (directories, opening, locking) is in ``open_file``, which blocks and is called in a thread.

A log that cannot be written keeps what it is given in a backlog of bounded size, says so once, and is tried again; what
the backlog cannot hold is counted, and the log gets a line that tells how much is missing where. The original discards
everything until the next SIGHUP (errata C1 to C3).

Accounts are kept in bytes of the device, and hold at every moment: read = logged + waiting + lost. While all is well
only what was read is counted, one addition for each read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional, Tuple

from conmand.config.model import LogOptions
from conmand.proto.logline import LineProcessor
from conmand.proto.logline import State as State
from conmand.server import notices
from conmand.server.daemonlog import DaemonLog
from conmand.server.logs.backlog import Backlog
from conmand.server.logs.backlog import BacklogBudget as BacklogBudget
from conmand.server.logs.clock import LogClock
from conmand.server.logs.open_files import OpenFiles
from conmand.server.logs.opening import FileId, open_log_file
from conmand.server.logs.opening import Opened as Opened
from conmand.server.logs.tail import LogTail

if TYPE_CHECKING:
    import asyncio

MAX_BACKLOG_BYTES = 256 * 1024
"""Per log. At 100 bytes a line this is 2,600 lines of a console that cannot be written."""

RETRY_SECONDS = (1.0, 60.0)
"""First and longest delay before a failing log is tried again."""


_STALE = {errno.ESTALE, errno.EIO, errno.ENXIO, errno.ENODEV, errno.EROFS}
"""The file, its server or its disk is gone, or was mounted anew: another descriptor may work, this one will not."""

_time, _write = time.time, os.write


class Sighting(NamedTuple):
    """A log's file at some moment."""

    fd: int
    file_id: FileId
    length: int
    bytes_logged: int

    def has_name(self) -> bool:
        """Whether the file is still in a directory. For a thread; the descriptor may have become another file's."""
        try:
            found = os.fstat(self.fd)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self.file_id or found.st_nlink > 0


class ConsoleLog:
    """The log of the console ``name``.

    ``resolve_path()`` expands the configured pattern, anew at each opening; it raises ``ValueError`` with the reason
    when that cannot be done.
    """

    __slots__ = (
        "name",
        "path",
        "bytes_read",
        "bytes_lost",
        "dated",
        "begun",
        "file_id",
        "_options",
        "_resolve_path",
        "_clock",
        "_daemon_log",
        "_budget",
        "_loop",
        "_fd",
        "_lines",
        "_tail",
        "_direct",
        "_readable",
        "_backlog",
        "_lost_bytes",
        "_lost_notices",
        "_complaint",
        "_retry_timer",
        "_retry_delay",
        "_retry_open",
        "_open_files",
        "_is_stale",
        "_last_seen",
        "_closed",
    )

    def __init__(
        self,
        name: str,
        options: LogOptions,
        resolve_path: Callable[[], str],
        *,
        clock: LogClock,
        daemon_log: DaemonLog,
        budget: BacklogBudget,
        loop: asyncio.AbstractEventLoop,
        retry_open: Callable[[ConsoleLog], None],
        open_files: Optional[OpenFiles] = None,
    ) -> None:
        self.name = name
        self.path = ""
        self.bytes_read = 0
        self.bytes_lost = 0
        self.dated = False  # whether anybody wants to know when the file was begun
        self.begun: Optional[float] = None
        self.file_id: Optional[FileId] = None
        self._options = options
        self._resolve_path = resolve_path
        self._clock = clock
        self._daemon_log = daemon_log
        self._budget = budget
        self._loop = loop
        self._retry_open = retry_open
        self._open_files = open_files or OpenFiles()
        self._fd = -1
        self._lines = LineProcessor(options.sanitize, options.timestamp)
        self._tail = LogTail()
        self._direct = False  # the file takes bytes and can be read back: it is the tail's end
        self._readable = False
        self._backlog: Optional[Backlog] = None  # exists only while the file cannot take bytes
        self._lost_bytes = 0  # since the last mark
        self._lost_notices = 0
        self._complaint: Optional[str] = None
        self._retry_timer: Optional[asyncio.TimerHandle] = None
        self._retry_delay = RETRY_SECONDS[0]
        self._is_stale = False  # the descriptor will never work again
        self._last_seen = (0, 0)  # how long the file was when it still had a name, and what was logged by then
        self._closed = False

    # What the console says.

    def write(self, data: bytes) -> None:
        """Append console output. This is where the daemon spends its time: every call less counts."""
        clock = self._clock
        second = int(_time())
        if second != clock.second:
            clock.turn(second)
        self.bytes_read += len(data)
        lines = self._lines
        before = lines.state
        out = lines.process(data, clock.text)
        if not self._direct or not out:
            self._put(out, data, before)
            return
        try:
            written = _write(self._fd, out)  # as _write_file, without the call
        except OSError as error:
            self._leave_file(out, 0, data, before)
            self._write_failed(error)
        else:
            if written != len(out):
                self._leave_file(out, written, data, before)
                self._retry_later()

    def notice(self, text: str) -> None:
        """Append a ``<ConMan>`` line."""
        before = self._lines.state
        self._put(self._lines.notice(notices.framed(text)), b"", before)

    def stamp(self, now: float) -> None:
        """Append the periodic ``log at`` line (``server timestamp``)."""
        self.notice(notices.log_stamp(self.name, now))

    def _put(self, out: bytes, data: bytes, before: State) -> None:
        """``out`` is what came of ``data``, empty for a notice, when the lines were in the state ``before``."""
        if self._direct:
            if out:
                self._write_file(out, data, before)
            return
        self._tail.append(out)
        if self._backlog is not None or self._fd < 0:
            self._keep(out, 0, data, before)
            return
        try:
            written = _write(self._fd, out)
        except OSError as error:
            self._write_failed(error)
            self._keep(out, 0, data, before)
        else:
            if written != len(out):  # a pipe is full
                self._keep(out, written, data, before)
                self._retry_later()

    def _write_file(self, out: bytes, data: bytes, before: State) -> None:
        try:
            written = _write(self._fd, out)
        except OSError as error:
            self._leave_file(out, 0, data, before)
            self._write_failed(error)
        else:
            if written != len(out):
                self._leave_file(out, written, data, before)
                self._retry_later()  # the disk has filled up; the next attempt will say so

    def _leave_file(self, out: bytes, written: int, data: bytes, before: State) -> None:
        """The file takes no more: from here on the tail is told, beginning with what the file did not take."""
        self._collect()
        self._tail.append(out[written:])
        self._keep(out, written, data, before)

    def _collect(self) -> None:
        if self._direct:
            self._direct = False
            self._tail.leave_file()

    def reconfigure(self, options: LogOptions, resolve_path: Callable[[], str]) -> None:
        """Go on with these. ``sanitize`` and ``timestamp`` count for what is written from now on; lock and name once
        the file is opened anew, which is the caller's to see to."""
        if options != self._options:
            state = self._lines.state
            self._lines = LineProcessor(options.sanitize, options.timestamp)
            self._lines.state = state
        self._options, self._resolve_path = options, resolve_path

    # What clients ask for.

    @property
    def is_stopped(self) -> bool:
        """Whether it is closed for good."""
        return self._closed

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def replay(self) -> Optional[bytes]:
        """The last bytes put into the log, at most 4096, written to disk or not; ``None`` while no log is open."""
        return self.tail if self.is_open else None

    @property
    def tail(self) -> bytes:
        """As ``replay``, whether a log is open or not."""
        return self._tail.last_bytes

    @property
    def total_bytes(self) -> int:
        """How much was ever put into the log."""
        return self._tail.total_bytes

    @property
    def bytes_waiting(self) -> int:
        """How much of what the device said waits for the file, whole or in part."""
        return 0 if self._backlog is None else self._backlog.device_bytes

    @property
    def bytes_logged(self) -> int:
        """How much of what the device said is in the log: with the other counts it makes ``bytes_read``."""
        return self.bytes_read - self.bytes_waiting - self.bytes_lost

    @property
    def file_bytes(self) -> Optional[int]:
        """How long the file was after our last write; ``None`` unless it is a file and takes what it is given."""
        return self._tail.file_bytes

    @property
    def has_grown(self) -> bool:
        """Whether the file got anything but the line that says it was opened."""
        return self._tail.file_has_grown

    @property
    def complaint(self) -> Optional[str]:
        """Why the log cannot be written, or ``None``."""
        return self._complaint

    # Opening.

    def expanded_path(self) -> Optional[str]:
        """Where the log belongs now; ``None`` if its name cannot be expanded."""
        try:
            return self._resolve_path()
        except ValueError:
            return None

    def open_file(self, *, truncate: bool = False, path: Optional[str] = None) -> Opened:
        """Open the file; blocks, runs in a thread, touches nothing of this object. Give its result to ``opened``.

        ``path`` is what ``expanded_path`` has just said.
        """
        try:
            path = path or self._resolve_path()
        except ValueError as error:
            return Opened("", -1, str(error))
        return open_log_file(path, self._options, truncate=truncate, dated=self.dated)

    def opened(self, result: Opened) -> None:
        """Take over what ``open_file`` found: continue in the new file, or complain once and try again later."""
        if self._closed:
            result.discard()
            return
        self.close_file(elsewhere=result.path != self.path)
        self.path = result.path
        if result.fd < 0:
            self._complain(result.complaint or "")
            self._retry_later()
            return
        self._fd = result.fd
        self._readable = result.readable
        self.file_id, self.begun = result.file_id, result.begun
        if self.file_id is not None:
            self._open_files.opened(self.file_id)
        # The line that says so is the first of the file, before what was waiting for it. It is put in front of that
        # whether or not there is room: what waited must not make way for it.
        line = self._lines.notice(notices.framed(notices.log_opened(self.name, time.time())))
        self._tail.append(line)
        if self._backlog is None:
            self._backlog = Backlog(self._budget)
        self._backlog.put_in_front(line)
        self._last_seen = result.length, self.bytes_logged
        self._drain()

    def sighting(self) -> Optional[Sighting]:
        """For asking whether the file has been deleted; ``None`` if nothing was logged since the last time."""
        length = self.file_bytes
        if length is None or self.file_id is None or self.bytes_logged == self._last_seen[1]:
            return None
        return Sighting(self._fd, self.file_id, length, self.bytes_logged)

    def seen(self, sighting: Sighting, has_name: bool) -> bool:
        """Whether the log has been closed because its file was deleted: it must be opened again."""
        if sighting.file_id != self.file_id or not self._direct:
            return False
        if has_name:
            self._last_seen = sighting.length, sighting.bytes_logged
            return False
        self.close_file()
        return True

    def look(self) -> None:
        """As ``sighting`` and ``seen``, at once. For the moment before many logs are opened anew: whoever has moved
        their files may have compressed and deleted some by the time that it is their turn."""
        sighting = self.sighting()
        if sighting is not None and sighting.has_name():
            self.seen(sighting, True)

    def _has_name(self) -> bool:
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:
            return True

    def _rescue(self, *, elsewhere: bool, for_good: bool) -> None:
        """If the file has been deleted, what was written since it was last seen with a name waits for the next one."""
        file = self.file_id
        if self._fd < 0 or not self._readable or file is None:
            return
        length, logged = self._last_seen
        device_bytes = self.bytes_logged - logged
        if not device_bytes or self._has_name():
            return
        if elsewhere and self._open_files.is_shared(file):
            return  # whoever stays with the file's name has ours too
        told = f'Console [{self.name}] logfile "{self.path}" has been deleted'
        if for_good:
            self._daemon_log.warning(f"{told}, and {device_bytes} bytes with it")
            self.bytes_lost += device_bytes
            return
        self._daemon_log.warning(f"{told}; it is made anew")
        self._collect()
        waiting, self._backlog = self._backlog, Backlog(self._budget)
        room = min(MAX_BACKLOG_BYTES - (0 if waiting is None else len(waiting.text)), self._budget.left_bytes)
        text: Optional[bytes] = None
        with contextlib.suppress(OSError):
            end = os.fstat(self._fd).st_size
            begin = min(self._open_files.to_rescue(file, length), end)
            if end - begin <= room:
                text = os.pread(self._fd, end - begin, begin)
                self._open_files.rescued(file, end)
        if text is not None:
            self._backlog.append(text, device_bytes)
        else:
            self._lost_bytes += device_bytes
            self.bytes_lost += device_bytes
        if waiting is not None:
            self._backlog.append(bytes(waiting.text), waiting.device_bytes)
            waiting.written(len(waiting.text))

    def close_file(self, *, elsewhere: bool = False) -> None:
        """Close the file, until ``opened``; what is written meanwhile waits for the next one. That has the same name,
        unless ``elsewhere``."""
        self._cancel_retry()
        self._is_stale = False
        if self._closed:
            self._tail.forget_file()
        else:
            self._rescue(elsewhere=elsewhere, for_good=False)
            self._collect()
        if self._fd >= 0:
            if self.file_id is not None:
                self._open_files.left(self.file_id)
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError as error:
                self._daemon_log.warning(f'Unable to close logfile "{self.path}": {error.strerror}')

    def stop(self) -> None:
        """Write what can be written, and close for good."""
        if self._backlog is not None and self._fd >= 0:
            self._drain()
        self._rescue(elsewhere=True, for_good=True)
        self._closed = True
        self.close_file()
        if self._backlog is not None:
            count = len(self._backlog.text)
            plural = "" if count == 1 else "s"
            self._daemon_log.warning(f"Destroying [{self.path}] with {count} byte{plural} of unwritten data")
            self._budget.left_bytes += count  # other logs go on
            if self._lost_bytes or self._lost_notices:
                lost = notices.log_lost(self.name, self._lost_bytes, self._lost_notices)
                self._daemon_log.warning(f"{lost[: -len(' here')]} at its end")

    # Bytes that cannot be written now.

    def _write_failed(self, error: OSError) -> None:
        self._complain(f"Unable to write to [{self.path}]: {error.strerror}", info=True)
        self._is_stale = error.errno in _STALE
        self._retry_later()

    def _complain(self, complaint: str, *, info: bool = False) -> None:
        """Log a complaint unless it is the same as the last: a full disk is one message a log, not one a line."""
        if complaint != self._complaint:
            self._complaint = complaint
            (self._daemon_log.info if info else self._daemon_log.warning)(complaint)

    def _keep(self, out: bytes, written: int, data: bytes, before: State) -> None:
        """Let wait what is left of ``out``, or as much of it as there is room for."""
        if self._backlog is None:
            self._backlog = Backlog(self._budget)
        backlog = self._backlog
        # The oldest bytes stay: what came first tells why the rest came, and the file goes on where it stopped.
        losing = bool(self._lost_bytes or self._lost_notices)
        room = 0 if losing else max(min(MAX_BACKLOG_BYTES - len(backlog.text), self._budget.left_bytes), 0)
        end, fed = len(out), len(data)
        if end - written > room:
            if not losing:
                self._daemon_log.warning(
                    f"Console [{self.name}] log cannot be written: losing what exceeds {len(backlog.text) + room} bytes"
                )
            end, fed = self._cut(out, written, written + room, data, before)
            self._lost_bytes += len(data) - fed
            self.bytes_lost += len(data) - fed
            self._lost_notices += not data
        backlog.append(out[written:end], fed - self._fed(out, written, data, before))

    def _cut(self, out: bytes, written: int, end: int, data: bytes, before: State) -> Tuple[int, int]:
        """Where to cut ``out`` at ``end`` or before, and how much of ``data`` its beginning stands for."""
        if not data:
            return written, 0  # no half notices
        fed = self._fed(out, end, data, before)
        if out is data:
            return end, fed
        return max(written, self._lines.length_of(before, data[:fed], self._clock.text)), fed

    def _fed(self, out: bytes, length: int, data: bytes, before: State) -> int:
        """How much of ``data`` the first ``length`` bytes of ``out``, which came of it, stand for."""
        if out is data or not length:
            return length
        return self._lines.fed_for(length, before, data, self._clock.text) if data else 0

    def _drain(self) -> None:
        """Write the backlog as far as it goes; when it is through, mark what was lost."""
        backlog = self._backlog
        while backlog is not None and backlog.text:
            try:
                written = os.write(self._fd, backlog.text)
            except OSError as error:
                self._write_failed(error)
                return
            backlog.written(written)
        self._backlog = None
        lost = self._lost_bytes
        if lost or self._lost_notices:
            mark = notices.log_lost(self.name, lost, self._lost_notices)
            self._lost_bytes = self._lost_notices = 0
            self.notice(mark)
            if self._backlog is not None:
                return  # not even the mark: it waits at the head of a new backlog
        if self._readable:
            self._direct = True
            self._tail.go_on_in(self._fd)
        self._retry_delay = RETRY_SECONDS[0]
        if self._complaint is not None:
            self._complaint = None
            self._daemon_log.notice(f"Console [{self.name}] log is written again, {lost} bytes were lost")

    def _retry_later(self) -> None:
        if self._retry_timer is None:
            self._retry_timer = self._loop.call_later(self._retry_delay, self._retry)
            self._retry_delay = min(2 * self._retry_delay, RETRY_SECONDS[1])

    def _retry(self) -> None:
        self._retry_timer = None
        if self._fd < 0 or self._is_stale:
            self._retry_open(self)
        elif self._backlog is not None:
            self._drain()
            if self._backlog is not None:
                self._retry_later()

    def _cancel_retry(self) -> None:
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
