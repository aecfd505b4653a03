"""``python -m bench.ipmi``: both daemons on simulated BMCs (ipmi_sim), one after the other: how long until all sessions
are up, and what they cost, at rest and with every node printing a line a second. The BMCs share the machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from bench import processes, report
from bench.__main__ import RESULTS, original_conmand
from bench.measure import Sample
from bench.report import Row
from bench.site import BenchmarkFailed, Daemon, Subject, our_command
from tests.fakes.bmc_fleet import IPMIOPTS, Fleet, dev, fleet

LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.02
LINE = b"Linux node says what it does, once a second, in a line of one hundred bytes, its end being included\r\n"

ROWS = {
    "ipmi up": Row("IPMI: exec to all sessions up", "s", most_ratio=lambda _consoles: 1.0),
    "ipmi pss": Row("IPMI: PSS of the daemon, per console", "MB", 1e-6, 3, most=0.5),
    "ipmi fds": Row("IPMI: descriptors, per console", "", digits=1),
    "ipmi idle": Row("IPMI: CPU of a second at rest", "ms", 1000, 1),
    "ipmi lines": Row("IPMI: CPU of a second with a line from each", "ms", 1000, 1),
    "ipmi lost": Row("IPMI: lines lost", "lines", digits=0, most=0),
    "ipmi stop": Row("IPMI: stop, all sessions closed", "s"),
}


@dataclass(frozen=True)
class Plan:
    bmcs: int
    idle_seconds: float
    lines: int
    line_seconds: float
    repeats: int


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ipmi", description=__doc__)
    parser.add_argument("--bmcs", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=15, help="at rest, and again with lines")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each daemon")
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the table")
    options = parser.parse_args(arguments)
    plan = Plan(options.bmcs, options.seconds, options.seconds, 1.0, options.repeats)
    subjects = [Subject(report.OURS, our_command())]
    if not options.without_original:
        subjects.append(Subject(report.ORIGINAL, (str(original_conmand()),)))
    processes.raise_descriptor_limit()
    try:
        samples = list(run(plan, subjects))
    except BenchmarkFailed as error:
        sys.stderr.write(f"benchmark given up: {error}\n")
        return 1
    table = report.lines(samples, ROWS)
    sys.stdout.write(report.as_text(table))
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "ipmi.md").write_text(report.as_markdown(table), encoding="utf-8")
    return 0


def run(plan: Plan, subjects: List[Subject]) -> Iterator[Sample]:
    for repeat in range(plan.repeats):
        for subject in subjects if repeat % 2 else reversed(subjects):
            sys.stderr.write(f"{repeat + 1}/{plan.repeats} {plan.bmcs} BMCs, {subject.label}\n")
            yield from measure(plan, subject)


def measure(plan: Plan, subject: Subject) -> Iterator[Sample]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conman-bench-")))
        (directory / "logs").mkdir()
        bmcs = stack.enter_context(fleet(directory / "bmcs", plan.bmcs))
        (directory / "conman.conf").write_text(configuration(directory, bmcs))
        daemon = Daemon(subject, directory)
        ended = stack.enter_context(ExitStack())
        ended.callback(daemon.close)
        up_seconds = wait_until_up(directory, daemon, plan.bmcs)
        yield Sample(f"ipmi up {plan.bmcs}", subject.label, up_seconds)
        daemon.wait_until_settled(LIMIT_SECONDS)
        yield Sample(f"ipmi idle {plan.bmcs}", subject.label, cpu_per_second(daemon, plan.idle_seconds))
        busy, lost = with_lines(plan, daemon, bmcs, directory)
        yield Sample(f"ipmi lines {plan.bmcs}", subject.label, busy)
        yield Sample(f"ipmi lost {plan.bmcs}", subject.label, lost)
        yield Sample(f"ipmi pss {plan.bmcs}", subject.label, daemon.pss_bytes() / plan.bmcs)
        yield Sample(f"ipmi fds {plan.bmcs}", subject.label, descriptors(daemon) / plan.bmcs)
        stopping = time.monotonic()
        ended.close()
        yield Sample(f"ipmi stop {plan.bmcs}", subject.label, time.monotonic() - stopping)


def configuration(directory: Path, bmcs: Fleet) -> str:
    lines = [
        f'server loopback=on nofile=-1 logdir="{directory}/logs"',
        f'global log="%N" logopts="timestamp" ipmiopts="{IPMIOPTS}"',
        *(f'console name="node{number:04d}" dev="{dev(bmc)}"' for number, bmc in enumerate(bmcs.bmcs)),
    ]
    return "\n".join(lines) + "\n"


def wait_until_up(directory: Path, daemon: Daemon, consoles: int) -> float:
    """Seconds from exec until the daemon has said so of all; its messages are a file that can be read any time."""
    messages = directory / "messages"
    while time.monotonic() - daemon.started < LIMIT_SECONDS:
        if messages.read_bytes().count(b"] connected to <") >= consoles:
            return time.monotonic() - daemon.started
        time.sleep(POLL_SECONDS)
    raise BenchmarkFailed(f"not all of {consoles} consoles come up: {messages.read_text()[-2000:]}")


def cpu_per_second(daemon: Daemon, seconds: float) -> float:
    before, start = daemon.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (daemon.cpu_seconds() - before) / (time.monotonic() - start)


def with_lines(plan: Plan, daemon: Daemon, bmcs: Fleet, directory: Path) -> Tuple[float, float]:
    """CPU seconds of a second in which every node prints a line, and how many lines were lost."""
    before, start = daemon.cpu_seconds(), time.monotonic()
    for number in range(plan.lines):
        bmcs.nodes.send(LINE)
        time.sleep(max(0.0, start + (number + 1) * plan.line_seconds - time.monotonic()))
    used = (daemon.cpu_seconds() - before) / (time.monotonic() - start)
    expected, deadline = plan.lines * plan.bmcs, time.monotonic() + 10
    while logged(directory) < expected and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return used, expected - logged(directory)


def logged(directory: Path) -> int:
    return sum(Path(entry.path).read_bytes().count(LINE) for entry in os.scandir(directory / "logs"))


def descriptors(daemon: Daemon) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in daemon.pids())


if __name__ == "__main__":
    sys.exit(main())
