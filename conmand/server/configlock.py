"""Finding the daemon of a configuration, and being the only one: a POSIX read lock on the configuration file.

The lock is the original's, so that either program's ``-k``, ``-q`` and ``-r`` find a daemon of the other. It is held by
the process that took it and lost when that process closes *any* descriptor of the file: nothing but ``LockedFile`` may
open the configuration in a running daemon. Source: conmand(8), "config lock"; the mends are errata E5 to E7.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import random
import stat
import struct
import threading
import time
from typing import Iterator, List, Optional, Set

from conman.text import decode, encode
from conmand.errors import FatalError, reason

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid

RACE_ATTEMPTS = 3

SETTLED_SECONDS = 0.3
"""A file that was written within this time may be half of what it will be: "cp", or a script that prints it."""
MAX_WRITING_SECONDS = 10.0

MAX_LINKS = 40
"""On the way to the file, as for the kernel: path_resolution(7)."""


def open_configuration(path: str, *, shown: Optional[str] = None) -> int:
    """The descriptor of the configuration file. Raises ``FatalError``, with the path as ``shown``."""
    try:
        return os.open(encode(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise FatalError(f'Unable to open "{shown or path}": {reason(error)}') from error


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


class LockedFile:
    """The configuration of a running daemon: the file it was started with, or the one that has taken its place since.

    Editors replace a file instead of changing it, and whoever looks for the daemon has only the new one to look at: so
    the lock follows. Methods block, and may be called in any thread.
    """

    def __init__(self, fd: int, path: str, directory: str) -> None:
        """``fd`` is open and locked, and is closed with this. A relative ``path`` starts at ``directory``."""
        self._fd = fd
        self._name = path
        self._path = encode(path if path.startswith("/") else f"{directory}/{path}")
        self._turn = threading.Lock()

    def places(self) -> Set[str]:
        """Where a new file may appear: the path, every link on its way, and where that ends."""
        return set(map(decode, _way(self._path)))

    def is_in_place(self) -> bool:
        """Whether what is at the path is the file that we have locked. Not so if nothing can be seen there."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except OSError:
            return False

    def follow(self) -> Optional[str]:
        """Lock the file that is at the path by now; returns a warning if some other program has locked it too.

        Raises ``FatalError`` if that cannot be had; then the old one stays locked.
        """
        with self._turn:
            return self._follow()

    def read(self) -> bytes:
        """The content of the file that is at the path by now, which is locked then. Raises ``FatalError``.

        Waits until it is left alone: half a file is a right one where it is cut at a line's end, and would end the
        consoles of the other half.
        """
        for _attempt in range(math.ceil(MAX_WRITING_SECONDS / SETTLED_SECONDS)):
            with self._turn:
                self._follow()
                content = self._content()
                age = time.time() - os.fstat(self._fd).st_mtime  # negative where a file server's clock is ahead
            if not 0 <= age < SETTLED_SECONDS:
                return content
            time.sleep(SETTLED_SECONDS - age)
        raise FatalError(f'Unable to read "{self._name}": it is being written')

    def mode(self) -> int:
        """The file's type and permissions, as in ``st_mode``. Raises ``FatalError``."""
        with self._turn:
            if self._fd < 0:
                raise FatalError(f'Unable to look at "{self._name}": the daemon is stopping')
            return os.fstat(self._fd).st_mode

    def _content(self) -> bytes:
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
        except OSError as error:
            raise FatalError(f'Unable to read "{self._name}" again: {reason(error)}') from error
        return read_configuration(self._fd, self._name)

    def close(self) -> None:
        with self._turn:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _follow(self) -> Optional[str]:
        if self._fd < 0:
            raise FatalError(f'Unable to read "{self._name}": the daemon is stopping')
        ours = os.fstat(self._fd)
        # A descriptor of the same file would end the lock when it is closed: none is opened without need.
        if self.is_in_place():
            return None
        fd = open_configuration(decode(self._path), shown=self._name)
        try:
            found = os.fstat(fd)
            if os.path.samestat(ours, found):  # put back, between two looks
                os.close(fd)
                fd = -1
                return lock_configuration(self._fd, self._name)
            if stat.S_ISDIR(found.st_mode):
                raise FatalError(f'Unable to read "{self._name}": {os.strerror(errno.EISDIR)}')
            if not stat.S_ISREG(found.st_mode):
                raise FatalError(f'Unable to read "{self._name}": it is no file')
            warning = lock_configuration(fd, self._name)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        self._fd, fd = fd, self._fd
        os.close(fd)
        return warning


def _way(path: bytes) -> Iterator[bytes]:
    """The links by which the absolute ``path`` leads to a file, and the file: each may be replaced by another."""
    done, names = b"", path.split(b"/")
    for _step in range(MAX_LINKS):
        while names:
            name = names.pop(0)
            if name == b"..":
                done = os.path.dirname(done)
            elif name not in (b"", b"."):
                try:
                    target = os.readlink(done + b"/" + name)
                except OSError:  # no link
                    done += b"/" + name
                else:
                    break
        else:
            yield done
            return
        yield done + b"/" + name
        names = [*target.split(b"/"), *names]
        if target.startswith(b"/"):
            done = b""


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
