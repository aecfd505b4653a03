"""Finding the daemon of a configuration, and being the only one: a POSIX read lock on the configuration file.

The lock is the original's, so that either program's ``-k``, ``-q`` and ``-r`` find a daemon of the other. It is held by
the process that took it and lost when that process closes *any* descriptor of the file: nothing else may open the
configuration in a running daemon. Source: conmand(8), "config lock"; the mends are errata E5 to E7.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import time
from typing import List, Optional

from conman.text import encode
from conmand.errors import FatalError, reason

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid

RACE_ATTEMPTS = 3


def open_configuration(path: str) -> int:
    """The descriptor of the configuration file. Raises ``FatalError``."""
    try:
        return os.open(encode(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise FatalError(f'Unable to open "{path}": {reason(error)}') from error


def read_configuration(fd: int, path: str) -> bytes:
    try:
        chunks: List[bytes] = []
        while True:
            chunk = os.read(fd, 1 << 20)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    except OSError as error:
        raise FatalError(f'Unable to read "{path}": {reason(error)}') from error


def lock_owner(fd: int) -> Optional[int]:
    """The pid of another process that holds a lock on the file, or ``None``."""
    query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _whence, _start, _length, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, query))
    return None if kind == fcntl.F_UNLCK else pid


def daemon_pid(fd: int) -> Optional[int]:
    """The pid of the daemon that has the configuration in use, or ``None``; other programs may lock a file too."""
    owner = lock_owner(fd)
    return owner if owner is not None and looks_like_daemon(owner) else None


def lock_configuration(fd: int, path: str) -> Optional[str]:
    """Take the lock for the daemon's life; returns a warning if some other program holds one too.

    Two daemons that start at once may each see the other's lock; both let go and try again after a random time, so
    that never both run. Raises ``FatalError`` when a daemon has the configuration in use.
    """
    for attempt in range(RACE_ATTEMPTS):
        _refuse_if_in_use(fd, path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise FatalError(f'Unable to lock configuration "{path}"') from error
        owner = lock_owner(fd)
        if owner is None:
            return None
        if not looks_like_daemon(owner):
            return f'Configuration "{path}" is also locked by pid {owner}, which is no ConMan daemon'
        if attempt < RACE_ATTEMPTS - 1:
            fcntl.lockf(fd, fcntl.LOCK_UN)
            time.sleep(random.uniform(0.01, 0.1))
    fcntl.lockf(fd, fcntl.LOCK_UN)
    raise FatalError(f'Configuration "{path}" in use by pid {owner}')


def _refuse_if_in_use(fd: int, path: str) -> None:
    owner = daemon_pid(fd)
    if owner is not None:
        raise FatalError(f'Configuration "{path}" in use by pid {owner}')


def looks_like_daemon(pid: int) -> bool:
    """Whether ``pid`` is a ConMan daemon, ours or the original; a process that cannot be looked at counts as one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except FileNotFoundError:
        return not os.path.exists("/proc/self/cmdline") or pid <= 0
    except OSError:
        return True
    return any(b"conmand" in os.path.basename(word) for word in words[:4]) or b"".join(words) == b""
