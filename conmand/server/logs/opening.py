"""Opening the file of a console's log: what may block or fail, for a thread. Nothing here touches a ``ConsoleLog``."""

from __future__ import annotations

import os
import re
import stat
import time
from typing import Optional, Tuple

from conman.text import decode, encode
from conmand.config.model import LogOptions
from conmand.server.daemonlog import LockedError, open_locked

FileId = Tuple[int, int]
"""Device and inode: the file itself, whatever it is called by now."""

BEGINNING_BYTES = 1200
"""Enough for the first line, which a notice may make 1,023 bytes long."""

_FIRST_LINE = re.compile(rb"\r\n<ConMan> Console \[.*\] log opened at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ")


class Opened:
    """What came of opening a log: ``fd`` is -1 and ``complaint`` says why, or ``complaint`` is ``None``.

    ``readable`` means that it is a file and can be read back; ``length`` is its length in bytes, ``begun`` when it was
    begun, in seconds since the epoch, if that was asked for.
    """

    __slots__ = ("path", "fd", "complaint", "readable", "file_id", "length", "begun")

    def __init__(
        self,
        path: str,
        fd: int,
        complaint: Optional[str],
        readable: bool = False,
        file_id: Optional[FileId] = None,
        length: int = 0,
        begun: Optional[float] = None,
    ) -> None:
        self.path = path
        self.fd = fd
        self.complaint = complaint
        self.readable = readable
        self.file_id = file_id
        self.length = length
        self.begun = begun

    def discard(self) -> None:
        """Close it: nobody wants it any more."""
        if self.fd >= 0:
            os.close(self.fd)


def open_log_file(path: str, options: LogOptions, *, truncate: bool = False, dated: bool = False) -> Opened:
    """Open ``path`` for appending, with its directories and its lock; never raises ``OSError``."""
    try:
        fd, readable = _open(path, options, truncate)
    except LockedError:
        return Opened(path, -1, f'Unable to lock "{path}"')
    except OSError as error:
        if error.filename not in (None, encode(path)):
            return Opened(path, -1, f'Cannot create directory "{decode(error.filename)}": {error.strerror}')
        return Opened(path, -1, f'Unable to open logfile "{path}": {error.strerror}')
    found = os.fstat(fd)
    begun = _begun(fd, found) if dated and readable else None
    return Opened(path, fd, None, readable, (found.st_dev, found.st_ino), found.st_size, begun)


def _open(path: str, options: LogOptions, truncate: bool) -> Tuple[int, bool]:
    """The file's descriptor, and whether it can be read back."""
    access = os.O_RDWR if _is_file_or_nothing(path) else os.O_WRONLY
    while True:
        try:
            fd = open_locked(path, 0o600, truncate=truncate, lock=options.lock, flags=os.O_NONBLOCK, access=access)
        except PermissionError:
            if access == os.O_WRONLY:
                raise
            access = os.O_WRONLY  # a file that we may only write
        else:
            return fd, access == os.O_RDWR


def _is_file_or_nothing(path: str) -> bool:
    """A pipe opened for both directions would have us for its reader."""
    try:
        return stat.S_ISREG(os.stat(encode(path)).st_mode)
    except OSError:
        return True


def _begun(fd: int, found: os.stat_result) -> float:
    """When the file was begun: by the line that every log begins with, the original's too; else when last written."""
    if not found.st_size:
        return time.time()
    try:
        line = _FIRST_LINE.match(os.pread(fd, BEGINNING_BYTES, 0))
        if line is not None:
            return time.mktime(time.strptime(line[1].decode("ascii"), "%Y-%m-%d %H:%M:%S"))
    except (OSError, ValueError, OverflowError):
        pass
    return found.st_mtime
