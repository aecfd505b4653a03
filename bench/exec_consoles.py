"""``python -m bench.exec_consoles``: consoles of ipmitool scripts under both daemons, against simulated BMCs:
how long until all sessions are up, how many processes they take, and what memory is their own. The original runs its
expect script; ours runs its own script's dialogue inside the daemon. The BMCs share the machine.

The original's script gives up on BMCs that do not answer the question for their cipher suites, which these do not. So
that there is something to compare, its ipmitool is a wrapper that names the suite, in a mount name space of its own
(which takes root); ours is told to try that suite only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from bench import processes, report
from bench.__main__ import RESULTS, original_conmand
from bench.exec_scripts import WRAPPER, original_script, private_kib
from bench.measure import Sample
from bench.report import Row
from bench.site import BenchmarkFailed, Daemon, Subject, our_command
from tests.fakes.bmc import Bmc
from tests.fakes.bmc_fleet import fleet
from tests.fakes.installed import Installed

# The original's script allows 5 s for a login; those that need longer, because all log in at once, wait a minute.
LIMIT_SECONDS = 200.0
POLL_SECONDS = 0.05

ROWS = {
    "exec up": Row("scripts: exec to all sessions up", "s", most_ratio=lambda _consoles: 1.0),
    "exec processes": Row("scripts: processes per console", "", digits=2, most=1.05),
    "exec private": Row("scripts: private memory of them, per console", "MB", 1e-3, 2, most=1.6),
    "exec daemon": Row("scripts: private memory of the daemon, per console", "kB", digits=1, most=20),
    "exec cpu": Row("scripts: CPU of the daemon until all are up, per console", "ms", 1000, 2, most=5),
    "exec stop": Row("scripts: stop, no process left", "s"),
}

_IN_NAMESPACE = 'mount --make-rprivate / && mount --bind "$1" "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True)
class Found:
    """What a daemon came to with all its consoles up, or as many as came."""

    up: int
    up_seconds: float
    processes: int  # besides the daemon's own
    private_kib: float  # of those
    daemon_kib: float
    daemon_cpu_seconds: float
    stop_seconds: float


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.exec_consoles", description=__doc__)
    parser.add_argument("--consoles", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each daemon")
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the table")
    options = parser.parse_args(arguments)
    subjects = [report.OURS]
    if not options.without_original:
        if os.geteuid() == 0 and os.access(original_script(), os.X_OK):
            subjects.append(report.ORIGINAL)
        else:
            sys.stderr.write(f"the original is not measured: that takes root, and {original_script()}\n")
    processes.raise_descriptor_limit()
    try:
        samples = list(run(options.consoles, options.repeats, subjects))
    except BenchmarkFailed as error:
        sys.stderr.write(f"benchmark given up: {error}\n")
        return 1
    table = report.lines(samples, ROWS)
    sys.stdout.write(report.as_text(table))
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "exec_consoles.md").write_text(report.as_markdown(table), encoding="utf-8")
    return 0


def run(consoles: int, repeats: int, subjects: List[str]) -> Iterator[Sample]:
    for repeat in range(repeats):
        for subject in subjects if repeat % 2 else reversed(subjects):
            sys.stderr.write(f"{repeat + 1}/{repeats} {consoles} consoles, {subject}\n")
            # Each daemon with one console first: what the others add is what a console costs.
            alone, found = of(subject, 1), of(subject, consoles)
            yield from samples(subject, consoles, alone, found)


def samples(subject: str, consoles: int, alone: Found, found: Found) -> Iterator[Sample]:
    note = "" if found.up == consoles else f"{found.up} of {consoles} up after {LIMIT_SECONDS:g} s"
    others = max(1, found.up - 1)
    values = {
        "up": None if note else found.up_seconds,
        "processes": found.processes / max(1, found.up),
        "private": found.private_kib / max(1, found.up),
        "daemon": (found.daemon_kib - alone.daemon_kib) / others,
        "cpu": (found.daemon_cpu_seconds - alone.daemon_cpu_seconds) / others,
        "stop": found.stop_seconds,
    }
    for name, value in values.items():
        yield Sample(f"exec {name} {consoles}", subject, value, note)


def of(subject: str, consoles: int) -> Found:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conman-bench-")))
        (directory / "logs").mkdir()
        bmcs = stack.enter_context(fleet(directory / "bmcs", consoles)).bmcs
        if subject == report.OURS:
            command, scripts = our_command(), ours(directory, bmcs)
        else:
            command, scripts = tuple(originals_command(directory)), originals(bmcs)
        (directory / "conman.conf").write_text(configuration(directory, scripts))
        daemon = Daemon(Subject(subject, command), directory)
        ended = stack.enter_context(ExitStack())
        ended.callback(daemon.close)
        up, up_seconds = wait_until_up(directory, daemon, consoles)
        daemon.wait_until_settled(5)
        own, *tools = daemon.pids()
        figures = (
            len(tools),
            float(sum(map(private_kib, tools))),
            float(private_kib(own)),
            own_cpu_seconds(own),
        )
        stopping = time.monotonic()
        ended.close()
        wait_until_gone(tools)
        return Found(up, up_seconds, *figures, time.monotonic() - stopping)


def ours(directory: Path, bmcs: List[Bmc]) -> List[List[str]]:
    (directory / "prefix").mkdir()
    installed = Installed(directory / "prefix")
    installed.settings("ipmitool", cipher_suites=[3])
    return [installed.argv("ipmitool", bmc.host, bmc.user, bmc.password) for bmc in bmcs]


def originals(bmcs: List[Bmc]) -> List[List[str]]:
    return [[str(original_script()), bmc.host, bmc.user, bmc.password] for bmc in bmcs]


def originals_command(directory: Path) -> List[str]:
    """Its daemon, where ipmitool is the wrapper. All that this starts becomes the daemon, with one pid."""
    tool = shutil.which("ipmitool", path="/usr/bin:/bin")
    assert tool is not None, "ipmitool is not installed"
    wrapper, copy = directory / "wrapper", directory / "ipmitool"
    shutil.copy(tool, copy)
    wrapper.write_text(WRAPPER.format(copy=copy))
    wrapper.chmod(0o755)
    return ["unshare", "-m", "sh", "-ec", _IN_NAMESPACE, "sh", str(wrapper), tool, str(original_conmand())]


def configuration(directory: Path, scripts: List[List[str]]) -> str:
    lines = [
        f'server loopback=on nofile=-1 logdir="{directory}/logs"',
        'global log="%N" logopts="timestamp"',
        *(f'console name="node{number:04d}" dev="{" ".join(argv)}"' for number, argv in enumerate(scripts)),
    ]
    return "\n".join(lines) + "\n"


def wait_until_up(directory: Path, daemon: Daemon, consoles: int) -> tuple[int, float]:
    """How many sessions are open in the end, and the seconds from exec until all were: their logs say so."""
    waiting = [directory / "logs" / f"node{number:04d}" for number in range(consoles)]
    while time.monotonic() - daemon.started < LIMIT_SECONDS:
        waiting = [log for log in waiting if not log.exists() or b"Connection established via " not in log.read_bytes()]
        if not waiting:
            return consoles, time.monotonic() - daemon.started
        time.sleep(POLL_SECONDS)
    if len(waiting) == consoles:
        raise BenchmarkFailed(f"no console comes up: {(directory / 'messages').read_text()[-2000:]}")
    return consoles - len(waiting), LIMIT_SECONDS


def own_cpu_seconds(pid: int) -> float:
    """Without that of children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_gone(pids: List[int]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def is_running(pid: int) -> bool:
    """Also false of one that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    sys.exit(main())
