"""The pid file: written early, removed on every orderly way out. Source: conmand(8), "pid file"."""

from __future__ import annotations

import os
from typing import List, Optional

from conman.text import encode
from conmand.errors import reason
from conmand.server.configlock import looks_like_daemon
from conmand.server.daemonlog import make_directories


class PidFile:
    """The file at ``path``; with ``None`` nothing is done. A file that is another daemon's by now is not removed."""

    def __init__(self, path: Optional[str]) -> None:
        self._path = path
        self._written: Optional[os.stat_result] = None

    def write(self) -> Optional[str]:
        """Write our pid; returns a warning when that fails, without which the daemon then goes on."""
        if self._path is None:
            return None
        name = encode(self._path)
        try:
            if os.path.lexists(name):
                os.unlink(name)
            make_directories(os.path.dirname(name))
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            return f'Unable to open pidfile "{self._path}": {reason(error)}'
        try:
            self._written = os.fstat(fd)  # first: what could not be written is to be removed all the same
            os.write(fd, b"%d\n" % os.getpid())
        except OSError as error:
            return f'Unable to write to pidfile "{self._path}": {reason(error)}'
        finally:
            os.close(fd)
        return None

    def remove(self) -> Optional[str]:
        """Remove the file that ``write`` made; returns a message when that fails."""
        if self._path is None or self._written is None:
            return None
        name = encode(self._path)
        try:
            if os.path.samestat(os.stat(name), self._written):
                os.unlink(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            return f'Unable to delete pid file "{self._path}": {reason(error)}'
        self._written = None
        return None


def read_pid(path: str, warnings: List[str]) -> Optional[int]:
    """The pid of the running daemon that a pid file names, or ``None``; adds to ``warnings`` what is odd about it."""
    try:
        with open(encode(path), "rb") as file:
            text = file.read(64)
    except OSError:
        return None
    if not text:
        warnings.append(f'Unable to read from pidfile "{path}"')
        return None
    try:
        pid = int(text.split(b"\n")[0])
    except ValueError:
        warnings.append(f'Unable to obtain pid from pidfile "{path}"')
        return None
    # A stale file may name a process that has nothing to do with us by now (errata E6).
    return pid if pid > 1 and os.path.exists(f"/proc/{pid}") and looks_like_daemon(pid) else None
