"""The table: medians of both daemons, their ratio, and whether it keeps the limit the project has set itself."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from bench.measure import PER_LINES, Sample
from bench.plan import LINE_BYTES, Plan
from bench.site import REPOSITORY
from conman import __version__


@dataclass(frozen=True)
class Row:
    """How a kind of figure is shown. ``scale`` makes the unit of it; a limit is in the unit, or a ratio."""

    title: str
    unit: str
    scale: float = 1
    digits: int = 2
    most: Optional[float] = None
    most_ratio: Optional[Callable[[int], Optional[float]]] = None
    is_context: bool = False
    """Tells how a figure came about; shown after the others and without a ratio."""


def _cpu_ratio(consoles: int) -> Optional[float]:
    return {100: 0.7, 1_000: 0.1, 9_000: 0.1}.get(consoles)


def _no_worse(_consoles: int) -> float:
    return 1.0


ROWS: Dict[str, Row] = {
    "cpu": Row(f"CPU per {PER_LINES:,} lines of {LINE_BYTES} bytes", "s", most_ratio=_cpu_ratio),
    "even cpu": Row("the same, lines one by one and not in bursts", "s", most_ratio=_cpu_ratio),
    "keys median": Row("keystroke to echo under load, median", "ms", 1000, 3, most_ratio=_no_worse),
    "keys p99": Row("keystroke to echo under load, 99th percentile", "ms", 1000, 3, most_ratio=_no_worse),
    "start": Row("start, exec to first answer", "s", most=1.5),
    "connected": Row("start, exec to all consoles connected", "s"),
    "query": Row("query of all names", "s", digits=3, most=0.2),
    "pss idle": Row("PSS after the start", "MB", 1e-6, 1, most=80),
    "pss run": Row("PSS after the lines", "MB", 1e-6, 1, most=80),
    "pss full": Row("PSS with full replay buffers", "MB", 1e-6, 1, most=80),
    "throughput": Row("most lines a second", "lines/s", digits=0),
    "lost": Row("lines lost", "lines", digits=0, most=0),
    "even lost": Row("lines lost, one by one", "lines", digits=0, most=0),
    "flood lost": Row("lines lost, sent as fast as taken", "lines", digits=0, most=0),
    "late": Row("last line in the log, after it was due", "s", is_context=True),
    "even late": Row("last line in the log, one by one", "s", is_context=True),
    "load": Row("rate of the load", "lines/s", digits=0, is_context=True),
    "even load": Row("rate of the load, one by one", "lines/s", digits=0, is_context=True),
    "keys load": Row("rate of the load during keystrokes", "lines/s", digits=0, is_context=True),
    "bunch": Row("lines in a burst of the load", "lines", digits=1, is_context=True),
    "even bunch": Row("lines in a burst, one by one", "lines", digits=1, is_context=True),
    "noise": Row("share of the machine that others used", "%", 100, 0, is_context=True),
    "even noise": Row("share that others used, one by one", "%", 100, 0, is_context=True),
}

ORIGINAL, OURS = "original", "ours"


@dataclass(frozen=True)
class Line:
    """One line of the table, as text."""

    title: str
    consoles: int
    ratio: str
    ours: str
    original: str
    limit: str
    verdict: str
    note: str
    is_context: bool

    @property
    def cells(self) -> Tuple[str, ...]:
        consoles = f"{self.consoles:,}"
        return (self.title, consoles, self.ratio, self.ours, self.original, self.limit, self.verdict, self.note)


HEADINGS = ("measured", "consoles", "ours/original", "ours", "original", "limit", "", "notes")


def lines(samples: Iterable[Sample], rows: Mapping[str, Row] = ROWS) -> List[Line]:
    """The table's lines in the order of ``rows``."""
    by_row: Dict[str, Dict[str, List[Sample]]] = {}
    for sample in samples:
        by_row.setdefault(sample.row, {}).setdefault(sample.subject, []).append(sample)
    made = [_line(rows, row, subjects) for row, subjects in by_row.items()]
    titles = [row.title for row in rows.values()]
    return sorted(made, key=lambda line: (titles.index(line.title), line.consoles))


def _line(rows: Mapping[str, Row], key: str, subjects: Dict[str, List[Sample]]) -> Line:
    kind, _, consoles_text = key.rpartition(" ")
    row, consoles = rows[kind], int(consoles_text)
    ours, original = (_median(subjects.get(label, ())) for label in (OURS, ORIGINAL))
    ratio = ours / original if ours is not None and original else None
    most_ratio = row.most_ratio(consoles) if row.most_ratio else None
    limit, verdict = "", ""
    if row.most is not None:
        limit = f"{row.most:g} {row.unit}"
        verdict = _verdict(None if ours is None else ours * row.scale, row.most)
    elif most_ratio is not None:
        limit = f"ratio {most_ratio:g}"
        verdict = _verdict(ratio, most_ratio)
    return Line(
        row.title,
        consoles,
        f"{ratio:.2f}" if ratio is not None and not row.is_context else "",
        _range(row, subjects.get(OURS, ())),
        _range(row, subjects.get(ORIGINAL, ())),
        limit,
        verdict,
        "; ".join(sorted({f"{s.subject}: {s.note}" for group in subjects.values() for s in group if s.note})),
        row.is_context,
    )


def _verdict(value: Optional[float], most: float) -> str:
    if value is None:
        return ""
    return "kept" if value <= most else "BROKEN"


def _values(samples: Iterable[Sample]) -> List[float]:
    return [sample.value for sample in samples if sample.value is not None]


def _median(samples: Iterable[Sample]) -> Optional[float]:
    values = _values(samples)
    return statistics.median(values) if values else None


def _range(row: Row, samples: Iterable[Sample]) -> str:
    """``MEDIAN UNIT (LEAST to MOST)``; ``-`` if there is no figure."""
    values = [value * row.scale for value in _values(samples)]
    if not values:
        return "-"
    text = f"{statistics.median(values):,.{row.digits}f} {row.unit}"
    least, most = (f"{value:,.{row.digits}f}" for value in (min(values), max(values)))
    return text if least == most else f"{text} ({least} to {most})"


def conditions(plan: Plan) -> str:
    """On what the figures depend."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    bursts = f"a burst each {plan.tick_seconds * 1000:g} ms"
    runs = f"{plan.repeats} alternating run{'' if plan.repeats == 1 else 's'}"
    return (
        f"conman-py {_revision()}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, Linux {platform.release()}, "
        f"load average {load}. {plan.lines_per_second:,.0f} lines a second over Unix-socket consoles, {bursts}, "
        f"timestamped logs; medians (least to most) of {runs}."
    )


def _revision() -> str:
    """The commit that was measured, with ``-dirty`` if the files differ from it."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__


def as_text(table: List[Line]) -> str:
    """Columns for a terminal, notes below their line."""
    shown = [HEADINGS[:-1]] + [line.cells[:-1] for line in table]
    widths = [max(len(cells[column]) for cells in shown) for column in range(len(HEADINGS) - 1)]
    out: List[str] = []
    for cells, line in zip(shown, [None, *table]):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
        if line is not None and line.note:
            out.append(f"    {line.note}")
    return "\n".join(out) + "\n"


def as_markdown(table: List[Line]) -> str:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(line.cells for line in table)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
