"""The replay ring holds the last 4096 bytes, whatever the pieces they came in."""

from __future__ import annotations

import sys
from typing import List

from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.replay import REPLAY_BYTES, SMALL_BYTES, ReplayRing

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


def test_a_ring_that_holds_little_takes_little_memory() -> None:
    ring = ReplayRing()
    ring.append(b"x" * SMALL_BYTES)
    assert sys.getsizeof(ring) + sys.getsizeof(ring.tail()) < SMALL_BYTES + 200


def test_a_ring_that_has_gone_leaves_nothing_to_the_next() -> None:
    ring = ReplayRing()
    ring.append(b"old" * REPLAY_BYTES)
    del ring
    ring = ReplayRing()
    ring.append(b"new" * 300)
    assert ring.tail() == b"new" * 300


def test_rings_do_not_touch_each_other() -> None:
    rings = [ReplayRing() for _ in range(600)]  # more than a block of slots
    for number, ring in enumerate(rings):
        ring.append(b"%04d" % number * 2000)
    for number, ring in enumerate(rings):
        assert ring.tail() == b"%04d" % number * (REPLAY_BYTES // 4)


@given(st.lists(sizes, max_size=20))
def test_what_was_ever_appended_is_counted(lengths: List[int]) -> None:
    ring = ReplayRing()
    for count, length in enumerate(lengths, 1):
        ring.append(bytes(length))
        assert ring.total_bytes == sum(lengths[:count])
