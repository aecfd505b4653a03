"""The user's own log of a session (``-l``): what the server sends, between two lines that say when."""

from __future__ import annotations

import os
import time
from typing import Optional

from conman.errors import ConmanError
from conman.text import encode


class SessionLog:
    """Does nothing if no path was given. Appended to, created for the user alone. Source: ConMan 0.3.1."""

    def __init__(self, path: Optional[str]) -> None:
        self._path = path
        self._fd = -1

    def open(self) -> None:
        """Raises ``ConmanError``, as all that follow do when the log cannot be written."""
        if self._path is None:
            return
        try:
            self._fd = os.open(encode(self._path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConmanError(f'Unable to open "{self._path}": {error.strerror}') from error
        self._mark("started")

    def write(self, data: bytes) -> None:
        if self._fd < 0:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise ConmanError(f'Unable to write to "{self._path}": {error.strerror}') from error

    def finish(self) -> None:
        """A session has ended normally."""
        self._mark("finished")
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _mark(self, event: str) -> None:
        date = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        self.write(f"\r\n<ConMan> Log {event} at {date}.\r\n".encode())
