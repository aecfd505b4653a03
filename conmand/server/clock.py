"""The wall clock of the log files, formatted once a second instead of once a line."""

from __future__ import annotations

import time


class LogClock:
    """``stamp()`` is ``YYYY-MM-DD HH:MM:SS `` in local time, with its trailing blank: 20 bytes."""

    __slots__ = ("_second", "_stamp")

    def __init__(self) -> None:
        self._second = -1
        self._stamp = b""

    def stamp(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = _format(second)
        return self._stamp


def _format(second: int) -> bytes:
    return time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(second)).encode("ascii")
