"""The last bytes of one console's log stream, kept for clients that ask what happened before they came."""

from __future__ import annotations

import io

REPLAY_BYTES = 4096
"""How much a replay shows at most. Source: ConMan 0.3.1."""


class ReplayRing:
    """Keeps the last ``REPLAY_BYTES`` appended bytes, in memory of that size and hardly anything before they come.

    A file in memory, because writing to one is the cheapest way to overwrite bytes: assigning bytes to a slice of a
    bytearray first makes a bytearray of them. Before the ring is full its write position is the file's end.
    """

    __slots__ = ("_file", "_next")

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._next = 0

    def append(self, data: bytes) -> None:
        end = self._next + len(data)
        if end < REPLAY_BYTES:
            self._file.write(data)
            self._next = end
        else:
            self._wrap(data)

    def tail(self) -> bytes:
        """What is kept, oldest byte first."""
        kept = self._file.getvalue()
        return kept[self._next :] + kept[: self._next]

    def _wrap(self, data: bytes) -> None:
        """``append`` for data that reaches the ring's end: start anew with the oldest byte first.

        The copy is made once in ``REPLAY_BYTES``; in return there is one case, and the file has its exact size (one
        that has grown by appending is up to an eighth larger).
        """
        self._file = io.BytesIO((self.tail() + data[-REPLAY_BYTES:])[-REPLAY_BYTES:])
        self._next = 0
