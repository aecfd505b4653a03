"""The replay ring holds the last 4096 bytes, whatever the pieces they came in."""

from __future__ import annotations

import sys
from typing import List

from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.replay import REPLAY_BYTES, ReplayRing

sizes = st.one_of(st.integers(0, 300), st.integers(REPLAY_BYTES - 2, REPLAY_BYTES + 2), st.integers(0, 20000))


def stream(size: int) -> bytes:
    """Bytes in which every position can be told from its neighbours, also 256 and 4096 bytes away."""
    return b"".join(b"%d;" % number for number in range(size))[:size]


@given(st.lists(sizes, max_size=20))
def test_tail_is_the_end_of_everything_appended(lengths: List[int]) -> None:
    data, ring, position = stream(sum(lengths)), ReplayRing(), 0
    for length in lengths:
        ring.append(data[position : position + length])
        position += length
        assert ring.tail() == data[:position][-REPLAY_BYTES:]


def test_an_empty_ring_replays_nothing() -> None:
    assert ReplayRing().tail() == b""


def test_tail_does_not_consume() -> None:
    ring = ReplayRing()
    ring.append(b"text")
    assert ring.tail() == ring.tail() == b"text"


def test_a_full_ring_takes_hardly_more_memory_than_its_bytes() -> None:
    ring = ReplayRing()
    assert _memory(ring) < 200
    for _ in range(1000):
        ring.append(b"0123456789" * 10)
        assert _memory(ring) < 4096 + 600  # the most is just before it is full for the first time
    assert _memory(ring) < 4096 + 200


def _memory(ring: ReplayRing) -> int:
    return sys.getsizeof(ring) + sys.getsizeof(ring._file) + sys.getsizeof(ring._next)
