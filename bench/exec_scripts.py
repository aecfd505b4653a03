"""``python -m bench.exec_scripts``: a BMC's console through the original's expect script and through ours.

Login time, processes and private memory per console, against simulated BMCs. These do not answer the question for their
cipher suites, at which the original gives up; so that there is something to compare, it is measured in a mount
name space where ipmitool is a wrapper that names the suite (which takes root). Ours tries the suites 17 and 3.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from tests.fakes.bmc import Bmc
from tests.fakes.installed import Installed
from tests.fakes.script import Script, descendants

REPOSITORY = Path(__file__).resolve().parents[1]
ORIGINAL, OURS, BARE = "original", "ours", "ours, relay = no"

# Until when a login is timed: what the script, or in its place ipmitool, says when the session is open.
OPEN = {ORIGINAL: b"established", OURS: b"established", BARE: b"SOL Session operational"}

WRAPPER = '#!/bin/sh\nexec "{copy}" -C 3 "$@"\n'


@dataclass(frozen=True)
class Figures:
    """``login_ms`` is a median; the others are means of consoles that are open at once, so that shared pages are."""

    login_ms: float
    processes: float
    private_kib: float


def parse(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.exec_scripts", description=__doc__)
    parser.add_argument("--logins", type=int, default=15, help="logins that are timed")
    parser.add_argument("--consoles", type=int, default=6, help="consoles that are open at once")
    parser.add_argument("--inside", nargs=2, metavar=("SCRIPT", "HOSTS"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parse(arguments)
    if options.inside:
        script, hosts = options.inside
        commands = [[script, host, "admin", "password"] for host in hosts.split(",")]
        print(json.dumps(asdict(in_own_namespace(commands, options.logins))))
        return 0
    figures = measure(options.logins, options.consoles)
    print(table(figures, options))
    return 0


def measure(logins: int, consoles: int) -> Dict[str, Figures]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bmcs = [stack.enter_context(Bmc(directory)) for _ in range(consoles)]
        hosts = [bmc.host for bmc in bmcs]
        figures = {}
        script = original_script()
        if os.geteuid() == 0 and os.access(script, os.X_OK):
            argv = ["unshare", "-m", sys.executable, "-m", "bench.exec_scripts", "--logins", str(logins)]
            argv += ["--inside", str(script), ",".join(hosts)]
            done = subprocess.run(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
            figures[ORIGINAL] = Figures(**json.loads(done.stdout))
        else:
            sys.stderr.write(f"the original is not measured: that takes root, and {script}; see CONMAN_ORIGINAL\n")
        for name in (OURS, BARE):
            prefix = directory / str(len(figures))
            prefix.mkdir()
            installed = Installed(prefix)
            command = installed.prefix / "bin" / "ipmitool_exp.py"
            more: List[str] = []
            if name == BARE:
                installed.settings("ipmitool", relay="no")
                more = ["-c", str(installed.settings_file)]
            figures[name] = of(name, [[str(command), *more, host, "admin", "password"] for host in hosts], logins)
        return figures


def original_script() -> Path:
    directory = os.environ.get("CONMAN_ORIGINAL") or REPOSITORY / ".peers" / "conman-0.3.1"
    return Path(directory) / "usr" / "share" / "conman" / "exec" / "ipmitool.exp"


def in_own_namespace(commands: List[List[str]], logins: int) -> Figures:
    """The original's figures; the process is in a mount name space that it may change."""
    tool = shutil.which("ipmitool", path="/usr/bin:/bin")
    assert tool is not None, "ipmitool is not installed"
    with tempfile.TemporaryDirectory() as directory:
        wrapper, copy = Path(directory, "wrapper"), Path(directory, "ipmitool")
        shutil.copy(tool, copy)
        wrapper.write_text(WRAPPER.format(copy=copy))
        wrapper.chmod(0o755)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", wrapper, tool], check=True)
        figures = of(ORIGINAL, commands, logins)
        subprocess.run(["umount", tool], check=True)
        return figures


def of(name: str, commands: List[List[str]], logins: int) -> Figures:
    milliseconds = [timed_login(name, commands[0]) for _ in range(logins)]
    with ExitStack() as stack:
        scripts = [stack.enter_context(Script(*command)) for command in commands]
        for script in scripts:
            script.read_until(OPEN[name])
        time.sleep(1)  # the relays have replaced the logins, and have gone to sleep
        families = [descendants(script.process.pid) for script in scripts]
        private = sum(private_kib(pid) for family in families for pid in family)
        return Figures(
            statistics.median(milliseconds), sum(map(len, families)) / len(families), private / len(families)
        )


def timed_login(name: str, command: List[str]) -> float:
    with Script(*command) as script:
        script.read_until(OPEN[name])
        milliseconds = (time.monotonic() - script.started) * 1000
        script.close()
        script.wait()
        return milliseconds


def private_kib(pid: int) -> int:
    """What of a process's memory is its own: clean and dirty private pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def table(figures: Dict[str, Figures], options: argparse.Namespace) -> str:
    lines = [
        f"A BMC's console: login (median of {options.logins}), and per console of {options.consoles} open at once",
        "",
        "| script | login, ms | processes | private memory, KiB |",
        "|---|---|---|---|",
    ]
    for name, found in figures.items():
        lines.append(f"| {name} | {found.login_ms:.0f} | {found.processes:.0f} | {found.private_kib:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
