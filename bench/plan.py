"""How large a benchmark is: every number that is not measured stands here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

LINE_BYTES = 100
"""Of one console line, its CR LF included."""

STAMP_BYTES = 20
"""What ``logopts timestamp`` puts before each line."""

REPLAY_BYTES = 4096
"""What a daemon keeps of each log for a replay."""


@dataclass(frozen=True)
class Plan:
    sizes: Tuple[int, ...] = (100, 1_000, 9_000)
    """Numbers of consoles for the CPU time. The last is also the size for start, memory and query."""

    even_sizes: Tuple[int, ...] = (100, 1_000)
    """Numbers of consoles at which the lines also come one by one, evenly, which makes the most wake-ups of them."""

    key_sizes: Tuple[int, ...] = (100, 1_000)
    throughput_size: int = 100

    lines: int = 100_000
    lines_per_second: float = 10_000
    tick_seconds: float = 0.001
    """Lines come in bursts so far apart, ten at a time to ten consoles."""

    flood_lines: int = 300_000
    """For the throughput: sent as fast as the daemon takes them."""

    keystrokes: int = 600
    key_pause_seconds: float = 0.015
    """Between an echo and the next key, give or take a half."""

    queries: int = 5
    repeats: int = 3

    limit_seconds: float = 60
    """For each thing that is waited for: a start, a run, an end. What is not done by then is reported as such."""


FULL = Plan()

QUICK = Plan(
    sizes=(50, 500),
    even_sizes=(50,),
    key_sizes=(50,),
    throughput_size=50,
    lines=10_000,
    flood_lines=20_000,
    keystrokes=100,
    repeats=1,
)

TINY = Plan(
    sizes=(2, 4),
    even_sizes=(2,),
    key_sizes=(2,),
    throughput_size=2,
    lines=200,
    flood_lines=200,
    keystrokes=5,
    key_pause_seconds=0,
    queries=1,
    repeats=1,
)
"""Shows that every part runs; its figures mean nothing."""
