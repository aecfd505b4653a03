"""Test consoles (``dev="test:"``): bursts of printable characters at intervals, for load tests without hardware."""

from __future__ import annotations

import random
from typing import Tuple

from conmand.config.model import ConsoleSettings, TestDevice, TestOptions
from conmand.consoles.base import Console

PIECE_BYTES = 8191
"""A long burst is published in pieces of this size, as the original does."""

DEFAULT_DELAY_MS = 100

_CYCLE = bytes(range(0x21, 0x7F))  # '!' to '~', no line ends


class TestConsole(Console):
    """Always up; what is typed vanishes."""

    __test__ = False
    __slots__ = ("_position",)

    @property
    def _options(self) -> TestOptions:
        device = self.settings.device
        assert isinstance(device, TestDevice)
        return device.options

    @property
    def label(self) -> str:
        return '"test:"'

    def _open(self) -> None:
        self._position = 0
        self._came_up()
        self._fire()

    def _fire(self) -> None:
        options = self._options
        if random.uniform(0, 100) < options.probability_percent:
            remaining = options.burst_bytes
            while remaining:
                piece, self._position = burst(self._position, min(remaining, PIECE_BYTES))
                remaining -= len(piece)
                self.sink.publish(piece)
        self._timer = self.services.loop.call_later(delay_seconds(options, random.uniform(0, 1)), self._fire)

    def _adopt_device(self, settings: ConsoleSettings) -> bool:
        return isinstance(settings.device, TestDevice)  # the next burst is another one

    def _shut(self) -> None:
        pass


def burst(position: int, length: int) -> Tuple[bytes, int]:
    """``length`` bytes of the endless cycle from ``position`` on, and the position after them."""
    repeats = (position + length) // len(_CYCLE) + 1
    return (_CYCLE * repeats)[position : position + length], (position + length) % len(_CYCLE)


def delay_seconds(options: TestOptions, fraction: float) -> float:
    """The time to the next burst; ``fraction`` in [0, 1] picks it between the two bounds. At least 1 ms."""
    longest, shortest = options.max_delay_ms, options.min_delay_ms
    if longest is None:
        milliseconds: float = DEFAULT_DELAY_MS
    elif shortest is None or shortest >= longest:
        milliseconds = longest
    else:
        milliseconds = shortest + (longest - shortest) * fraction
    return max(milliseconds, 1) / 1000
