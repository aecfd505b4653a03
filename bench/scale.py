"""``python -m bench.scale``: what many consoles, many clients and several processes cost, original and ours in one run.

The table and the plot are left in ``bench/results``, or in the directory of ``--results``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from bench import processes, report
from bench.__main__ import original_conmand
from bench.crowd import gathered, opened, receive_everywhere
from bench.measure import PER_LINES, Sample, print_lines
from bench.plot import Chart, Line, drawn
from bench.site import REPOSITORY, BenchmarkFailed, Subject, our_command, running

RESULTS = REPOSITORY / "bench" / "results"

BROADCAST_BYTES = 1024


@dataclass(frozen=True)
class Plan:
    """How large everything is."""

    rate_consoles: int = 1_000
    rate_lines: int = 600_000
    """Sent as fast as they are taken: a Unix socket makes its device wait, so that what is lost is the daemon's."""

    rate_group: int = 10
    """Lines in one write of a device, so that the load leaves the cores to the daemon."""

    rate_runs: int = 3
    """Who gets the cores, the load or the daemon, is not the same in each."""

    paced_lines: int = 50_000
    paced_lines_per_second: float = 10_000
    growth: Tuple[int, ...] = (100, 300, 1_000, 3_000, 9_000)
    growth_lines: int = 30_000
    broadcast_consoles: int = 1_000
    broadcasts: int = 10
    monitors: int = 500
    flood_bytes: int = 1024 * 1024
    workers: Tuple[int, ...] = (1, 2, 4)
    tick_seconds: float = 0.001
    limit_seconds: float = 60


FULL = Plan()
QUICK = Plan(
    rate_lines=200_000, paced_lines=20_000, growth=(100, 1_000), growth_lines=10_000, broadcasts=3, monitors=100
)
TINY = Plan(4, 400, 10, 1, 200, 10_000, (2, 4), 200, 3, 1, 3, 2_000, (1, 2))
SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}
"""``tiny`` shows that every part runs; its figures mean nothing."""


@dataclass(frozen=True)
class Row:
    title: str
    unit: str
    scale: float = 1
    digits: int = 2


ROWS: Dict[str, Row] = {
    "rate": Row("most log lines a second, ten in a write", "lines/s", digits=0),
    "rate lost": Row("of these, lines lost", "lines", digits=0),
    "paced cpu": Row(f"CPU per {PER_LINES:,} lines, 10,000 a second", "s"),
    "cpu": Row(f"CPU per {PER_LINES:,} lines", "s"),
    "pss": Row("memory (PSS) after these lines", "MB", 1e-6, 1),
    "broadcast": Row("1 KB to all consoles, until the last has it", "ms", 1000, 1),
    "monitors": Row("flood to clients of one console, all together", "MB/s", 1e-6, 1),
    "monitors cpu": Row("CPU for each MB of it", "ms", 1000, 2),
    "monitors lost": Row("of it, lost", "%", 100, 1),
}
NAMES = ("rate", "growth", "broadcast", "monitors")


def workers_label(workers: int) -> str:
    return "ours" if workers == 1 else f"ours, {workers} workers"


def run(plan: Plan, original: Optional[Subject], python: str, names: Sequence[str]) -> Iterator[Sample]:
    command = our_command(python)
    ours = [Subject(workers_label(count), (*command, "--workers", str(count))) for count in plan.workers]
    first = [subject for subject in (original, ours[0]) if subject is not None]
    every = [subject for subject in (original, *ours) if subject is not None]
    steps: List[Tuple[str, str, Callable[[Subject], Iterator[Sample]], Sequence[Subject]]] = [
        ("rate", "most lines a second", lambda subject: log_rate(plan, subject), every),
        *(
            ("growth", f"{size} consoles", lambda subject, size=size: growth(plan, subject, size), first)
            for size in plan.growth
        ),
        ("broadcast", "broadcast", lambda subject: broadcast(plan, subject), every),
        ("monitors", "monitors of a flood", lambda subject: monitors(plan, subject), first),
    ]
    for name, title, measurement, subjects in steps:
        for subject in subjects if name in names else ():
            progress(f"{title}, {subject.label}")
            try:
                yield from measurement(subject)
            except (BenchmarkFailed, OSError) as error:
                progress(f"given up: {error}")


def log_rate(plan: Plan, subject: Subject) -> Iterator[Sample]:
    size = plan.rate_consoles
    with running(subject, size, plan.limit_seconds) as site:
        paced = print_lines(
            site, plan.paced_lines, plan.paced_lines_per_second, plan.tick_seconds, plan.limit_seconds
        )
        if paced.logged:
            yield Sample(f"paced cpu {size}", subject.label, paced.cpu_seconds * PER_LINES / paced.logged)
        for _ in range(plan.rate_runs):
            flood = print_lines(site, plan.rate_lines, 0, 0, plan.limit_seconds, plan.rate_group)
            if flood.logged:
                yield Sample(f"rate {size}", subject.label, flood.logged / flood.seconds)
            yield Sample(f"rate lost {size}", subject.label, flood.lines - flood.logged)


def growth(plan: Plan, subject: Subject, size: int) -> Iterator[Sample]:
    with running(subject, size, plan.limit_seconds) as site:
        done = print_lines(
            site, plan.growth_lines, plan.paced_lines_per_second, plan.tick_seconds, plan.limit_seconds
        )
        if done.logged:
            yield Sample(f"cpu {size}", subject.label, done.cpu_seconds * PER_LINES / done.logged)
        yield Sample(f"pss {size}", subject.label, site.daemon.pss_bytes())


def broadcast(plan: Plan, subject: Subject) -> Iterator[Sample]:
    size, data = plan.broadcast_consoles, b"." * BROADCAST_BYTES
    with gathered(subject, size, plan.limit_seconds) as gathering:
        request = b"CONNECT OPTION=BROADCAST OPTION=REGEX CONSOLE='.*'\n"
        with opened(gathering.daemon, request, plan.limit_seconds) as client:
            for _ in range(plan.broadcasts):
                start = time.monotonic()
                client.sendall(data)
                got = receive_everywhere(gathering.devices, len(data), plan.limit_seconds)
                seconds = time.monotonic() - start
                if min(got) < len(data):
                    note = f"{got.count(len(data))} consoles got all of it"
                    yield Sample(f"broadcast {size}", subject.label, None, note)
                    return
                yield Sample(f"broadcast {size}", subject.label, seconds)


def monitors(plan: Plan, subject: Subject) -> Iterator[Sample]:
    """One console prints as fast as it may; every client is to get all of it."""
    data, count = b"." * plan.flood_bytes, plan.monitors
    with gathered(subject, 1, plan.limit_seconds) as gathering:
        clients = []
        try:
            for _ in range(count):
                clients.append(opened(gathering.daemon, b"MONITOR CONSOLE='node00000'\n", plan.limit_seconds))
            gathering.daemon.wait_until_settled(plan.limit_seconds)
            (device,) = gathering.devices
            device.settimeout(plan.limit_seconds)
            flooder = threading.Thread(target=device.sendall, args=(data,), daemon=True)
            cpu, start = gathering.daemon.cpu_seconds(), time.monotonic()
            flooder.start()
            got = sum(min(one, len(data)) for one in receive_everywhere(clients, len(data), plan.limit_seconds))
            seconds = time.monotonic() - start
            flooder.join(plan.limit_seconds)
            cpu = gathering.daemon.cpu_seconds() - cpu
        finally:
            for client in clients:
                client.close()
    yield Sample(f"monitors {count}", subject.label, got / seconds)
    yield Sample(f"monitors cpu {count}", subject.label, cpu / max(got / 1e6, 1e-6))
    yield Sample(f"monitors lost {count}", subject.label, 1 - got / (count * len(data)))


# The table and the plot.


def medians(samples: Sequence[Sample]) -> Dict[Tuple[str, int], Dict[str, str]]:
    """For each row and size, what each subject made of it."""
    found: Dict[Tuple[str, int], Dict[str, List[Sample]]] = {}
    for sample in samples:
        kind, _, size = sample.row.rpartition(" ")
        found.setdefault((kind, int(size)), {}).setdefault(sample.subject, []).append(sample)
    order = list(ROWS)
    return {
        key: {subject: _shown(ROWS[key[0]], ones) for subject, ones in found[key].items()}
        for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    }


def _shown(row: Row, samples: Sequence[Sample]) -> str:
    values = [sample.value for sample in samples if sample.value is not None]
    if not values:
        return samples[0].note or "-"
    return f"{statistics.median(values) * row.scale:,.{row.digits}f} {row.unit}"


def as_markdown(samples: Sequence[Sample]) -> str:
    subjects = list(dict.fromkeys(sample.subject for sample in samples))
    rows = [("measured", "consoles or clients", *subjects), ("---",) * (len(subjects) + 2)]
    for (kind, size), shown in medians(samples).items():
        rows.append((ROWS[kind].title, f"{size:,}", *(shown.get(subject, "") for subject in subjects)))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def charts(samples: Sequence[Sample]) -> List[Chart]:
    """Of what grows with the number of consoles."""
    made = []
    for kind in ("cpu", "pss"):
        points: Dict[str, Dict[float, float]] = {}
        for sample in samples:
            row, _, size = sample.row.rpartition(" ")
            if row == kind and sample.value:
                points.setdefault(sample.subject, {})[float(size)] = sample.value * ROWS[kind].scale
        lines = tuple(Line(subject, tuple(sorted(found.items()))) for subject, found in points.items())
        if lines:
            made.append(Chart(ROWS[kind].title, "consoles", ROWS[kind].unit, lines))
    return made


def publish(samples: Sequence[Sample], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    table = as_markdown(samples)
    sys.stdout.write(table)
    (directory / "scale.md").write_text(table, encoding="utf-8")
    (directory / "scale.json").write_text(
        json.dumps([asdict(sample) for sample in samples], indent=1) + "\n", encoding="utf-8"
    )
    drawings = charts(samples)
    if drawings:
        (directory / "scale.svg").write_text(drawn(drawings), encoding="utf-8")


def progress(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="tiny only shows that it runs")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this; may be repeated")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for our daemon")
    parser.add_argument("--without-original", action="store_true", help="measure ours alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the table and the plot")
    options = parser.parse_args(arguments)
    original: Optional[Subject] = None
    if not options.without_original:
        program = original_conmand()
        if not os.access(program, os.X_OK):
            sys.stderr.write(
                f"cannot run the original's daemon {program}: no such program; set CONMAN_ORIGINAL to the directory "
                "that holds its usr/sbin/conmand, or measure ours alone with --without-original\n"
            )
            return 1
        original = Subject(report.ORIGINAL, (str(program),))
    processes.raise_descriptor_limit()
    samples: List[Sample] = []
    try:
        for sample in run(SIZES[options.size], original, options.python, options.only or NAMES):
            samples.append(sample)
    finally:
        if samples:
            publish(samples, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
