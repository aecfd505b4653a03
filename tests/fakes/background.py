"""The daemon as its users start it: a command that returns when the daemon runs in the background."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from tests.fakes.daemons import OURS, command_of, environment, masked, unused_port
from tests.fakes.files import PATIENCE_SECONDS, read_with

Outcome = Tuple[int, bytes, bytes]
"""Status, standard output, standard error."""


def run(kind: str, arguments: List[str], directory: Path, *, mask: bool = True) -> Outcome:
    """Run the program to its end; with ``mask``, without what differs from run to run."""
    result = subprocess.run(
        [*command_of(kind), *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    if not mask:
        return result.returncode, result.stdout, result.stderr
    return result.returncode, masked(result.stdout, directory), masked(result.stderr, directory)


@dataclass(frozen=True)
class BackgroundDaemon:
    """``start`` is what its start gave the shell."""

    start: Outcome
    pid: int
    port: int

    def wait_for_end(self) -> int:
        """Its exit status; it became the test's own child when its shell's process ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def background(kind: str, config: Path, *options: str, logfile: Optional[Path] = None) -> Iterator[BackgroundDaemon]:
    """A daemon on ``config``, which names ``logfile``; it is stopped on leaving if it still runs."""
    directory = config.parent
    logfile = logfile or directory / "conmand.log"
    for _attempt in range(10):
        port = 0 if kind == OURS else unused_port()
        start = run(kind, ["-c", config.name, "-p", str(port), *options], directory)
        if b"Unable to bind" not in start[2]:
            break
    status, pid, _error = run(kind, ["-c", config.name, "-q"], directory, mask=False)
    assert status == 0, start
    try:
        log = read_with(logfile, b"Starting ConMan daemon")
        if kind == OURS:
            log = read_with(logfile, b"Listening on TCP port")
            port = int(re.findall(rb"Listening on TCP port (\d+)", log)[-1])
        daemon = BackgroundDaemon(start, int(pid), port)
        yield daemon
    finally:
        if os.path.exists(f"/proc/{int(pid)}"):
            os.kill(int(pid), signal.SIGTERM)
            assert daemon.wait_for_end() == 0
