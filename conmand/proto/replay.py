"""The last bytes of one console's log stream, kept for clients that ask what happened before they came."""

from __future__ import annotations

import mmap
from typing import List, Optional, Tuple

REPLAY_BYTES = 4096
"""How much a replay shows at most. Source: ConMan 0.3.1."""

SMALL_BYTES = 512
"""Up to this much a ring is one short string; a console that says little never gets more."""

SLOTS_PER_BLOCK = 256


class _Slots:
    """Memory for full rings, one page each, in anonymous blocks of a MiB.

    9,000 buffers of 4 KiB that grow one beside the other leave the heap full of holes: twice their size was measured.
    Pages that no ring has written to cost nothing.
    """

    def __init__(self) -> None:
        self._free: List[Tuple[mmap.mmap, int]] = []

    def take(self) -> Tuple[mmap.mmap, int]:
        """A block, and where in it the slot begins."""
        if not self._free:
            block = mmap.mmap(-1, SLOTS_PER_BLOCK * REPLAY_BYTES)
            self._free = [(block, slot * REPLAY_BYTES) for slot in reversed(range(SLOTS_PER_BLOCK))]
        return self._free.pop()

    def give_back(self, block: mmap.mmap, begin: int) -> None:
        self._free.append((block, begin))


_SLOTS = _Slots()


class ReplayRing:
    """Keeps the last ``REPLAY_BYTES`` appended bytes: at first as a short string, then in a slot of its own."""

    __slots__ = ("_small", "_block", "_begin", "_next", "_end", "_wrapped", "_passed")

    def __init__(self) -> None:
        self._small = b""
        self._block: Optional[mmap.mmap] = None
        self._begin = 0
        self._next = 0  # where the next byte goes; the oldest one is there once the ring has wrapped
        self._end = 0
        self._wrapped = False
        self._passed = 0  # bytes appended so far are this and _next: so counting costs nothing in the common case

    @property
    def total_bytes(self) -> int:
        """How much was ever appended."""
        return self._passed + self._next

    def skip(self, count: int) -> None:
        """Count ``count`` bytes that are too old to be kept, as they come before what is appended next."""
        self._passed += count

    def append(self, data: bytes) -> None:
        end = self._next + len(data)
        if end < self._end:  # never true while there is no slot
            self._block[self._next : end] = data  # type: ignore[index]
            self._next = end
        else:
            self._append_otherwise(data)

    def tail(self) -> bytes:
        """What is kept, oldest byte first."""
        if self._block is None:
            return self._small
        newest = self._block[self._begin : self._next]
        return self._block[self._next : self._end] + newest if self._wrapped else newest

    def _append_otherwise(self, data: bytes) -> None:
        """``append`` for a ring that is still small, and for data that reaches the slot's end."""
        total = self.total_bytes + len(data)
        self._store(data)
        self._passed = total - self._next

    def _store(self, data: bytes) -> None:
        if self._block is None:
            if len(self._small) + len(data) <= SMALL_BYTES:
                self._small += data
                return
            self._block, self._begin = _SLOTS.take()
            self._next, self._end = self._begin, self._begin + REPLAY_BYTES
            data, self._small = self._small + data, b""
        data = data[-REPLAY_BYTES:]
        first = min(len(data), self._end - self._next)
        self._block[self._next : self._next + first] = data[:first]
        self._next += first
        if self._next == self._end:
            self._wrapped = True
            self._next = self._begin + len(data) - first
            self._block[self._begin : self._next] = data[first:]

    def __del__(self) -> None:
        if self._block is not None:
            _SLOTS.give_back(self._block, self._begin)
