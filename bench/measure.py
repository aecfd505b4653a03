"""The measurements. Each runs one daemon at one site and yields ``Sample``s; ``run`` alternates between the daemons."""

from __future__ import annotations

import os
import random
import socket
import statistics
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Sequence, Set

from bench import processes
from bench.load import Sent
from bench.plan import LINE_BYTES, REPLAY_BYTES, STAMP_BYTES, Plan
from bench.site import Site, Subject, running

PER_LINES = 100_000
"""CPU times are given for so many lines."""

POLL_SECONDS, POLL_CONSOLE_SECONDS = 0.02, 20e-6
"""Between looks at the logs' sizes, so that looking (10 us a log) takes no part of the machine that matters."""

STANDSTILL_SECONDS = 5.0
"""Logs that did not grow for so long have lost what they still lack."""

QUERY = b"QUERY\n"

NAMES = ("cpu", "start", "memory", "query", "keys", "throughput")
"""What can be asked for singly."""


@dataclass(frozen=True)
class Sample:
    """One figure of one daemon. ``value`` is ``None`` if there is none, and ``note`` says why, or how it came about."""

    row: str
    subject: str
    value: Optional[float]
    note: str = ""


@dataclass(frozen=True)
class Run:
    """What one run of numbered lines cost."""

    logged: int
    lines: int
    cpu_seconds: float
    seconds: float
    sent: Sent

    foreign_share: float
    """The part of the machine that others used meanwhile, 0 to 1: how noisy the figures are."""


def run(plan: Plan, subjects: Sequence[Subject], names: Set[str], progress: Callable[[str], None]) -> Iterator[Sample]:
    for repeat in range(plan.repeats):
        # Whatever drifts on the machine, each daemon goes first as often as the other.
        order = list(subjects) if repeat % 2 == 0 else list(reversed(subjects))
        for size in plan.sizes:
            for subject in order:
                if "cpu" in names or (size == plan.sizes[-1] and names & {"start", "memory", "query"}):
                    progress(f"{repeat + 1}/{plan.repeats} {size} consoles, {subject.label}")
                    yield from at_size(plan, subject, size, names)
        for size in plan.key_sizes if "keys" in names else ():
            for subject in order:
                progress(f"{repeat + 1}/{plan.repeats} keystrokes at {size} consoles, {subject.label}")
                yield from keystrokes(plan, subject, size)
        for subject in order if "throughput" in names else ():
            progress(f"{repeat + 1}/{plan.repeats} throughput, {subject.label}")
            yield from throughput(plan, subject)


def at_size(plan: Plan, subject: Subject, size: int, names: Set[str]) -> Iterator[Sample]:
    """CPU time per line; at the largest size also start, memory and query, which the smaller ones say little about."""
    largest = size == plan.sizes[-1]
    with running(subject, size, plan.limit_seconds) as site:
        if largest:
            yield Sample(f"start {size}", subject.label, site.serving_seconds)
            yield Sample(f"connected {size}", subject.label, site.connected_seconds)
            yield Sample(f"pss idle {size}", subject.label, site.daemon.pss_bytes())
            if "query" in names:
                for _ in range(plan.queries):
                    yield query(plan, subject, site)
        if not names & {"cpu", "memory"}:
            return
        yield from cpu(plan, subject, site)
        if largest and "memory" in names:
            yield Sample(f"pss run {size}", subject.label, site.daemon.pss_bytes())
            fill_replay_buffers(plan, site)
            yield Sample(f"pss full {size}", subject.label, site.daemon.pss_bytes())


def cpu(plan: Plan, subject: Subject, site: Site) -> Iterator[Sample]:
    yield from cpu_samples(plan, subject, site, "", plan.tick_seconds)
    if site.consoles in plan.even_sizes:
        yield from cpu_samples(plan, subject, site, "even ", 0.0)


def cpu_samples(plan: Plan, subject: Subject, site: Site, kind: str, tick_seconds: float) -> Iterator[Sample]:
    result = print_lines(site, plan.lines, plan.lines_per_second, tick_seconds, plan.limit_seconds)
    label, consoles = subject.label, site.consoles
    if not result.logged:
        yield Sample(f"{kind}cpu {consoles}", label, None, "nothing was logged")
        return
    note = ""
    if result.logged < result.lines:
        note = f"extrapolated: {result.logged} of {result.lines} lines logged in {result.seconds:.0f} s"
    yield Sample(f"{kind}cpu {consoles}", label, result.cpu_seconds * PER_LINES / result.logged, note)
    yield Sample(f"{kind}lost {consoles}", label, result.lines - result.logged)
    yield Sample(f"{kind}late {consoles}", label, result.seconds - plan.lines / plan.lines_per_second)
    yield Sample(f"{kind}load {consoles}", label, result.sent.lines / result.sent.seconds)
    yield Sample(f"{kind}bunch {consoles}", label, result.sent.lines / result.sent.wakes)
    yield Sample(f"{kind}noise {consoles}", label, result.foreign_share)


def print_lines(
    site: Site, lines: int, rate: float, tick_seconds: float, limit_seconds: float, group: int = 1
) -> Run:
    """Let the devices print, ``group`` lines in a write, and wait until all is in the logs or the time is over."""
    logged_before = site.count_logged()
    expected = site.log_bytes() + lines * (LINE_BYTES + STAMP_BYTES)
    cpu_before = site.daemon.cpu_seconds()
    load_before, own_before = processes.cpu_seconds([site.load.pid]), time.process_time()
    busy_before, start = processes.busy_seconds(), time.monotonic()
    site.load.send(lines, rate, tick_seconds, group)
    nominal = lines / rate if rate else 0.0
    sent = site.load.sent(nominal + limit_seconds)
    seconds = wait_until_logged(site, expected, start + nominal + limit_seconds) - start
    used = site.daemon.cpu_seconds() - cpu_before
    accounted = used + processes.cpu_seconds([site.load.pid]) - load_before + time.process_time() - own_before
    foreign = processes.busy_seconds() - busy_before - accounted
    foreign_share = max(0.0, foreign / (time.monotonic() - start) / (os.cpu_count() or 1))
    return Run(site.count_logged() - logged_before, lines, used, seconds, sent, foreign_share)


def wait_until_logged(site: Site, expected_bytes: int, deadline: float) -> float:
    """Wait until the logs have that size or grow no more, or until ``deadline``; returns when they grew last."""
    grown = time.monotonic()
    size = site.log_bytes()
    while size < expected_bytes and time.monotonic() < min(deadline, grown + STANDSTILL_SECONDS):
        time.sleep(POLL_SECONDS + POLL_CONSOLE_SECONDS * site.consoles)
        before, size = size, site.log_bytes()
        if size > before:
            grown = time.monotonic()
    return grown


def fill_replay_buffers(plan: Plan, site: Site) -> None:
    """Let every console print as much as a daemon keeps for a replay."""
    group = REPLAY_BYTES // (LINE_BYTES + STAMP_BYTES) + 1
    expected = site.log_bytes() + site.consoles * group * (LINE_BYTES + STAMP_BYTES)
    site.load.send(site.consoles * group, 5 * plan.lines_per_second, plan.tick_seconds, group)
    site.load.sent(plan.limit_seconds)
    wait_until_logged(site, expected, time.monotonic() + plan.limit_seconds)


def query(plan: Plan, subject: Subject, site: Site) -> Sample:
    """Seconds from connect to the last byte of a list of all names."""
    row = f"query {site.consoles}"
    start = time.monotonic()
    with site.daemon.connect(plan.limit_seconds) as sock:
        sock.sendall(QUERY)
        parts = []
        while True:
            part = sock.recv(1 << 20)
            if not part:
                break
            parts.append(part)
        seconds = time.monotonic() - start
    names = b"".join(parts).count(b"CONSOLE=")
    if names != site.consoles:
        return Sample(row, subject.label, None, f"fails: {names} of {site.consoles} names")
    return Sample(row, subject.label, seconds)


def keystrokes(plan: Plan, subject: Subject, size: int) -> Iterator[Sample]:
    """Time from a key's way into the client's socket to its echo on it, while the other consoles print."""
    with running(subject, size, plan.limit_seconds, with_echo=True) as site:
        assert site.echo is not None, "asked for"
        site.echo.settimeout(plan.limit_seconds)
        with site.daemon.connect(plan.limit_seconds) as client:
            client.sendall(b"CONNECT CONSOLE='echo'\n")
            read_line(client)
            site.load.start_loop(plan.lines_per_second, plan.tick_seconds)
            try:
                delays = [echo_delay(client, site.echo, key) for key in keys(plan)]
            except socket.timeout:
                yield Sample(f"keys median {size}", subject.label, None, "no echo within the time limit")
                return
            sent = site.load.stop_loop()
    delays.sort()
    yield Sample(f"keys median {size}", subject.label, statistics.median(delays))
    yield Sample(f"keys p99 {size}", subject.label, delays[min(len(delays) - 1, len(delays) * 99 // 100)])
    yield Sample(f"keys load {size}", subject.label, sent.lines / sent.seconds)


def keys(plan: Plan) -> Iterator[bytes]:
    """Keys at a typist's irregular pace, so that they do not fall into step with the load's ticks."""
    chance = random.Random(1)
    for number in range(plan.keystrokes):
        time.sleep(plan.key_pause_seconds * chance.uniform(0.5, 1.5))
        yield b"%c" % (0x61 + number % 26)


def echo_delay(client: socket.socket, device: socket.socket, key: bytes) -> float:
    """One key there and back. Both ends are ours and take turns, so no third process is in the figure."""
    start = time.monotonic()
    client.sendall(key)
    device.sendall(device.recv(64))
    echoed = client.recv(4096)
    delay = time.monotonic() - start
    assert echoed == key, f"{echoed!r} came back for {key!r}"
    return delay


def read_line(sock: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        part = sock.recv(1)
        if not part:
            break
        received += part
    return received


def throughput(plan: Plan, subject: Subject) -> Iterator[Sample]:
    """Lines a second from the first send to the last byte in the logs, sent as fast as the daemon takes them."""
    size = plan.throughput_size
    with running(subject, size, plan.limit_seconds) as site:
        result = print_lines(site, plan.flood_lines, 0, 0, plan.limit_seconds)
        yield Sample(f"throughput {size}", subject.label, result.logged / result.seconds)
        yield Sample(f"flood lost {size}", subject.label, result.lines - result.logged)
