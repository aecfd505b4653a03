"""Bursts of printable characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import ConsoleSettings, TestDevice, TestOptions, UnixDevice
from conmand.consoles.base import State
from conmand.consoles.testconsole import PIECE_BYTES, TestConsole, burst, delay_seconds
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink

CYCLE = bytes(range(0x21, 0x7F))


def console(loop: ManualLoop, options: TestOptions) -> tuple[TestConsole, RecordingSink]:
    sink = RecordingSink()
    return TestConsole(ConsoleSettings("t", TestDevice(options)), sink, FakeServices(loop)), sink


def test_the_default_is_1024_bytes_at_once_and_every_100_ms() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, TestOptions())
        device.start()
        assert len(sink.published) == 1024
        await loop.advance(1.0)
        assert sink.published == (CYCLE * 120)[: 11 * 1024]
        device.stop()
        await loop.advance(10)
        assert len(sink.published) == 11 * 1024
        assert loop.timers() == []

    run(test)


def test_a_long_burst_comes_in_pieces_as_from_the_original() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, TestOptions(burst_bytes=20_000))
        pieces = []
        device.sink.publish = pieces.append  # type: ignore[method-assign]
        device.start()
        assert [len(piece) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 20_000 - 2 * PIECE_BYTES]
        assert b"".join(pieces) == (CYCLE * 213)[:20_000]
        device.stop()

    run(test)


@pytest.mark.parametrize("options", [TestOptions(probability_percent=0), TestOptions(burst_bytes=0)])
def test_some_options_mean_silence(options: TestOptions) -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, options)
        device.start()
        await loop.advance(2)
        assert sink.published == b""
        device.stop()

    run(test)


def test_a_client_that_came_before_the_start_does_not_double_the_bursts() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, TestOptions())
        assert device.client_attached() == 'Console [t] is currently disconnected from "test:"'
        device.retry_now()
        device.start()
        assert len(loop.timers()) == 1
        device.stop()

    run(test)


def test_it_is_always_up_and_what_is_typed_vanishes() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, TestOptions(probability_percent=0))
        device.start()
        device.send(b"hello")
        device.send_break()
        assert device.state is State.UP
        assert device.client_attached() is None
        device.stop()

    run(test)


@given(st.lists(st.integers(0, 1000), max_size=8))
def test_bursts_continue_each_other(lengths: list[int]) -> None:
    position, text = 0, b""
    for length in lengths:
        piece, position = burst(position, length)
        assert len(piece) == length
        text += piece
    assert text == (CYCLE * (len(text) // len(CYCLE) + 1))[: len(text)]


@pytest.mark.parametrize(
    "options, fraction, seconds",
    [
        (TestOptions(), 0.5, 0.1),
        (TestOptions(min_delay_ms=5), 0.5, 0.1),
        (TestOptions(max_delay_ms=500), 0.5, 0.5),
        (TestOptions(max_delay_ms=500, min_delay_ms=500), 0.5, 0.5),
        (TestOptions(max_delay_ms=500, min_delay_ms=900), 0.5, 0.5),
        (TestOptions(max_delay_ms=500, min_delay_ms=100), 0.0, 0.1),
        (TestOptions(max_delay_ms=500, min_delay_ms=100), 1.0, 0.5),
        (TestOptions(max_delay_ms=500, min_delay_ms=100), 0.5, 0.3),
        (TestOptions(max_delay_ms=0), 0.5, 0.001),
    ],
)
def test_the_delay_between_bursts(options: TestOptions, fraction: float, seconds: float) -> None:
    assert delay_seconds(options, fraction) == pytest.approx(seconds)


def test_other_options_are_those_of_the_next_burst() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop, TestOptions(burst_bytes=1))
        device.start()
        assert device.adopt(ConsoleSettings("t", TestDevice(TestOptions(burst_bytes=5))))
        await loop.advance(0.1)
        assert sink.published == CYCLE[:6]
        assert not device.adopt(ConsoleSettings("t", UnixDevice("/s")))
        device.stop()

    run(test)
