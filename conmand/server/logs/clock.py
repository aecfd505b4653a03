"""The wall clock of the log files, formatted once a second instead of once a line."""

from __future__ import annotations

import time


class LogClock:
    """``text`` is ``YYYY-MM-DD HH:MM:SS `` in local time, with its trailing blank: 20 bytes, true for ``second``.

    Callers on the hot path compare ``second`` themselves and call ``turn`` only when it has passed.
    """

    __slots__ = ("second", "text")

    def __init__(self) -> None:
        self.second = -1
        self.text = b""

    def turn(self, second: int) -> None:
        self.second = second
        self.text = _format(second)


def _format(second: int) -> bytes:
    return time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(second)).encode("ascii")
