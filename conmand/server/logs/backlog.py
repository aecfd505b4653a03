"""What a log could not take yet, in order, and how many of the device's bytes each piece of it stands for.

A log's text is not what the device said: stamps are put in, line ends change, unprintable bytes become two. Loss is
counted in the device's bytes, so a backlog remembers for each few KiB of text how many of them it came from: they are
logged when the last byte of that text is written.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, List

MAX_ALL_BACKLOGS_BYTES = 128 * 1024 * 1024
"""All logs of the daemon together, so that a full disk under 9,000 consoles does not become a full memory."""

PIECE_BYTES = 4096
"""Text that is counted as one piece: counts for each byte that a slow device says would cost more than the text."""


class BacklogBudget:
    """What all backlogs of a daemon may hold together."""

    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int = MAX_ALL_BACKLOGS_BYTES) -> None:
        self.left_bytes = left_bytes


class Backlog:
    """``text`` is what waits; ``device_bytes`` how much of the device's output that is."""

    __slots__ = ("text", "device_bytes", "_pieces", "_front_bytes", "_budget")

    def __init__(self, budget: BacklogBudget) -> None:
        self.text = bytearray()
        self.device_bytes = 0
        self._pieces: Deque[List[int]] = deque()  # bytes of text, bytes of the device
        self._front_bytes = 0  # of what was put in front, while none of it is written
        self._budget = budget

    def append(self, text: bytes, device_bytes: int) -> None:
        """``device_bytes`` is 0 for a notice. Whether there is room is the caller's to ask."""
        self.text += text
        self._budget.left_bytes -= len(text)
        pieces = self._pieces
        if pieces and pieces[-1][0] < PIECE_BYTES and (not self._front_bytes or len(pieces) > 1):
            pieces[-1][0] += len(text)
            pieces[-1][1] += device_bytes
        elif text:
            pieces.append([len(text), device_bytes])
        else:
            return  # it leaves nothing to be written, and nothing waits before it
        self.device_bytes += device_bytes

    def put_in_front(self, text: bytes) -> None:
        """Put words of our own before everything, whether or not there is room: what waits must not make way.

        They take the place of those that were put there before, if the file has got nothing of them: a file that can be
        opened again and again but not written must not fill the memory with the news.
        """
        if self._front_bytes:
            self.written(self._front_bytes)
        self.text[:0] = text
        self._budget.left_bytes -= len(text)
        self._pieces.appendleft([len(text), 0])
        self._front_bytes = len(text)

    def written(self, count: int) -> None:
        """The first ``count`` bytes of the text are in the file."""
        self._front_bytes = 0
        del self.text[:count]
        self._budget.left_bytes += count
        pieces = self._pieces
        while count:
            piece = pieces[0]
            if piece[0] > count:
                piece[0] -= count
                return
            count -= piece[0]
            self.device_bytes -= piece[1]
            pieces.popleft()
