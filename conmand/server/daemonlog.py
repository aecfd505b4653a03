"""The daemon's own log: its lines' form, where they go, and what happens while its file cannot be written.

Before the daemon has detached, and with ``-F`` for good, lines go to standard error without a date. In the background
they go to ``server logfile`` and to syslog. Source of every form here: conmand(8) section "daemon log", ConMan 0.3.1.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import syslog
import time
from typing import Callable, List, Optional

from conman.text import encode
from conmand.config.model import LogLevel
from conmand.errors import reason

MAX_LINE_BYTES = 1023
PREFIX_COLUMNS = 11
MAX_HELD_LINES = 1000
"""Lines kept while the file cannot be opened (ours: the original drops them, errata E19)."""


def prefix(level: LogLevel) -> str:
    """``ERROR:     `` and the like, always 11 columns."""
    return f"{level.name}:".ljust(PREFIX_COLUMNS)


def format_line(level: LogLevel, text: str, stamp: bytes = b"") -> bytes:
    """One whole line, cut at 1023 bytes. Line ends in ``text`` (a client chooses some of it) are left out."""
    return (stamp + encode(prefix(level)) + _visible(text))[:MAX_LINE_BYTES] + b"\n"


def _visible(text: str) -> bytes:
    return encode(text).translate(None, b"\r\n\0")


class DaemonLog:
    """Where the rest of the daemon writes its messages."""

    def __init__(self, *, stderr_fd: int = 2, level: LogLevel = LogLevel.INFO) -> None:
        self.level = level
        self._stderr: Optional[int] = stderr_fd
        self._fd: Optional[int] = None
        self._to_file = False
        self._to_syslog = False
        self._held: List[bytes] = []
        self.observer: Optional[Callable[[LogLevel, str], None]] = None

    def error(self, text: str) -> None:
        self.write(LogLevel.ERROR, text)

    def warning(self, text: str) -> None:
        self.write(LogLevel.WARNING, text)

    def notice(self, text: str) -> None:
        self.write(LogLevel.NOTICE, text)

    def info(self, text: str) -> None:
        self.write(LogLevel.INFO, text)

    def debug(self, text: str) -> None:
        self.write(LogLevel.DEBUG, text)

    def write(self, level: LogLevel, text: str) -> None:
        if self.observer is not None:
            self.observer(level, text)
        if self._to_syslog:
            # syslog(3) takes one line of text; a client's name may hold anything.
            syslog.syslog(level, _visible(text).decode("utf-8", "replace"))
        if level > self.level:
            return
        if self._stderr is not None:
            _write_all(self._stderr, format_line(level, text))
        if self._to_file:
            self._write_file(format_line(level, text, _stamp()))

    def _write_file(self, line: bytes) -> None:
        # Once a line waits, those after it wait too, so that they stay in order.
        if self._fd is not None and not self._held and _write_all(self._fd, line):
            return
        if len(self._held) < MAX_HELD_LINES:
            self._held.append(line)

    def detach_from_terminal(self) -> None:
        """From now on nothing goes to standard error."""
        self._stderr = None

    def start_syslog(self, facility: int) -> None:
        syslog.openlog(os.path.basename(sys.argv[0]), syslog.LOG_PID, facility)
        self._to_syslog = True

    def use_syslog(self, facility: Optional[int]) -> None:
        """From now on, ``None`` for not at all."""
        if self._to_syslog:
            syslog.closelog()
            self._to_syslog = False
        if facility is not None:
            self.start_syslog(facility)

    def drop_file(self) -> None:
        """There is to be no log file any more."""
        self.close_file()
        self._to_file = False
        self._held = []

    def close_file(self) -> None:
        """Close the log file; lines wait in memory until ``adopt``."""
        self._to_file = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def adopt(self, opened: OpenedLog) -> None:
        """Go on in the file that ``open_log`` opened, with the lines that waited; or warn, and go on holding them."""
        self.close_file()
        if opened.complaint is not None:
            self.warning(opened.complaint)
            return
        self._fd = opened.fd
        held, self._held = self._held, []
        for line in held:
            self._write_file(line)

    @property
    def file_is_failing(self) -> bool:
        """Lines are being held back; another ``open_file`` may help."""
        return self._to_file and (self._fd is None or bool(self._held))

    def fileno(self) -> Optional[int]:
        """A descriptor that the interpreter's own last words may go to."""
        return self._stderr if self._stderr is not None else self._fd

    @property
    def on_stderr(self) -> bool:
        """Whether whoever started the daemon still sees these lines."""
        return self._stderr is not None


class OpenedLog:
    """What came of opening the log file: a descriptor, or a complaint."""

    __slots__ = ("fd", "complaint")

    def __init__(self, fd: Optional[int], complaint: Optional[str]) -> None:
        self.fd = fd
        self.complaint = complaint


def open_log(path: str, *, truncate: bool = False) -> OpenedLog:
    """Open the daemon's log at ``path``, already expanded. Blocks; touches no ``DaemonLog``."""
    try:
        return OpenedLog(open_locked(path, 0o644, truncate=truncate), None)
    except LockedError:
        return OpenedLog(None, f'Unable to lock daemon logfile "{path}"')
    except OSError as error:
        return OpenedLog(None, f'Unable to open daemon logfile "{path}": {reason(error)}')


class LockedError(Exception):
    """Another process has the file locked."""


def make_directories(path: bytes) -> None:
    """Make the directory ``path`` and what is missing above it, each with 0755; raises ``OSError``.

    os.makedirs() gives its mode to the last one only: with ``-F`` and a umask of 0, the others were everybody's.
    """
    missing: List[bytes] = [] if not path or os.path.isdir(path) else [path]
    while missing and not os.path.exists(os.path.dirname(missing[-1]) or b"."):
        missing.append(os.path.dirname(missing[-1]))
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:  # another thread was faster, or it is no directory
            if not os.path.isdir(directory):
                raise


def open_locked(
    path: str, mode: int, *, truncate: bool = False, lock: bool = True, flags: int = 0, access: int = os.O_WRONLY
) -> int:
    """Open ``path`` for appending, create it with ``mode`` and its directories with 0755, lock it.

    Raises ``OSError``, or ``LockedError`` when another process holds the lock; the file is then as it was, as it is
    truncated only once it is ours.
    """
    name = encode(path)
    make_directories(os.path.dirname(name))
    fd = os.open(name, access | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC | flags, mode)
    try:
        if lock:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise LockedError(path) from error
        if truncate and stat.S_ISREG(os.fstat(fd).st_mode):  # a pipe or a device has nothing to truncate
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _stamp() -> bytes:
    return time.strftime("%Y-%m-%d %H:%M:%S ").encode("ascii")


def _write_all(fd: int, line: bytes) -> bool:
    try:
        return os.write(fd, line) == len(line)
    except OSError:
        return False
