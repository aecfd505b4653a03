"""A console daemon, ours or the original's, started on a configuration in a private directory and stopped by its pid.

Both run in the foreground and write their log to standard error, which a thread collects: tests wait for a line of it,
never for a time. A daemon that dies, or does not stop with the expected status, fails the test that started it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import original_conmand

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = "ours"
ORIGINAL = "original"

WORKERS = os.environ.get("CONMAN_TEST_WORKERS", "")
"""Number of workers with which every daemon of ours is started; empty means that the test says so itself."""

_SET_CONSTANTS = """\
import importlib, json, sys
for name, value in json.loads(sys.argv.pop(1)).items():
    module, _, constant = name.rpartition(".")
    assert hasattr(importlib.import_module(module), constant), name
    setattr(importlib.import_module(module), constant, value)
"""

_WORKER_WITH_OTHER_CONSTANTS = f"""\
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
{_SET_CONSTANTS}
from conmand.server.workers import bootstrap
bootstrap.main()
"""

_WITH_OTHER_CONSTANTS = f"""\
import os, sys
preload = [f"LD_PRELOAD={{os.environ['LD_PRELOAD']}}"] if "LD_PRELOAD" in os.environ else []
constants = sys.argv[1]
{_SET_CONSTANTS}
from conmand.server.workers import process
process.COMMAND = ("/usr/bin/env", *preload, sys.executable, "-I", "-c", {_WORKER_WITH_OTHER_CONSTANTS!r}, constants)
from conmand.cli import main
sys.exit(main())
"""


def our_command(constants: Optional[Mapping[str, object]] = None) -> List[str]:
    """Starts ours; ``constants`` overrides limits that a test cannot wait for ("conmand.module.NAME": value)."""
    workers = ["--workers", WORKERS] if WORKERS else []
    if constants:
        return [sys.executable, "-c", _WITH_OTHER_CONSTANTS, json.dumps(dict(constants)), *workers]
    return [sys.executable, "-m", "conmand", *workers]


def command_of(kind: str, constants: Optional[Mapping[str, object]] = None) -> List[str]:
    return our_command(constants) if kind == OURS else [str(original_conmand())]


def environment() -> Dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


def unused_port() -> int:
    """A port that was free a moment ago, for the original, which cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Daemon:
    """A running daemon. Use as a context manager; leaving it stops the daemon and checks its exit status."""

    def __init__(
        self, kind: str, argv: List[str], directory: Path, environ: Optional[Mapping[str, str]] = None
    ) -> None:
        self.kind = kind
        self.port = 0
        self._lines: List[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            argv,
            cwd=directory,
            env={**environment(), **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self._collector.start()

    def _collect(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line.decode("utf-8", "surrogateescape").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def owner_pid(self) -> int:
        """Of the process that owns the console, where there is only one: the daemon, or its only worker."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                if b"workers" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        return self.pid

    @property
    def lines(self) -> List[str]:
        """What it has logged so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, *texts: str, count: int = 1) -> str:
        """The log line that is the ``count``-th to contain all of ``texts``, waiting for it if need be."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._found(texts)) >= count, PATIENCE_SECONDS)
            lines = self._found(texts)
            assert len(lines) >= count, f"{texts} was not logged {count} times:\n" + "\n".join(self._lines)
            return lines[count - 1]

    def count(self, *texts: str) -> int:
        """How many lines contain all of ``texts`` so far."""
        with self._changed:
            return len(self._found(texts))

    def _found(self, texts: Sequence[str]) -> List[str]:
        return [line for line in self._lines if all(text in line for text in texts)]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for_end(self) -> None:
        """Until it has ended by itself."""
        self._process.wait(PATIENCE_SECONDS)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask it to stop, if nobody has yet, and return its exit status. The log is complete then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("the daemon did not stop:\n" + "\n".join(self.lines)) from None
        self._collector.join(PATIENCE_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *failure: object) -> None:
        status = self.stop()
        if failure[0] is None:
            log = "\n".join(self.lines)
            assert status == 0, f"the daemon ended with status {status}:\n{log}"
            assert "Internal error" not in log and "Traceback" not in log, log


def start_daemon(
    kind: str,
    config: Path,
    *options: str,
    constants: Optional[Mapping[str, object]] = None,
    environ: Optional[Mapping[str, str]] = None,
    prefix: Sequence[str] = (),
) -> Daemon:
    """Start a daemon on ``config``, in its directory, on a port of its own; it accepts clients when this returns.

    ``prefix`` is a program that becomes ours, as of ``namespaces.mounted``.
    """
    if kind == OURS:
        arguments = ["-F", "-c", str(config), "-p", "0", *options]
        daemon = Daemon(kind, [*prefix, *our_command(constants), *arguments], config.parent, environ)
        daemon.port = int(daemon.wait_for("Listening on TCP port").rpartition(" ")[2])
        return daemon
    for _attempt in range(10):
        port = unused_port()
        arguments = ["-F", "-c", str(config), "-p", str(port), *options]
        daemon = Daemon(kind, [str(original_conmand()), *arguments], config.parent, environ)
        daemon.port = port
        try:
            daemon.wait_for("Starting ConMan daemon")
        except AssertionError:
            daemon.stop()
            if any("Unable to bind" in line for line in daemon.lines):
                continue  # another test was quicker
            raise
        return daemon
    raise AssertionError("no port stays free for the original")


_MASKS: List[Tuple[bytes, bytes]] = [
    (rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]{2,5}\.", b"DATE TIME ZONE."),
    (rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", b"DATE TIME "),
    (rb" at \d\d-\d\d \d\d:\d\d\.", b" at MM-DD HH:MM."),
    (rb"\bpid \d+", b"pid N"),
    (rb"localhost:\d+", b"localhost:PORT"),
    (rb"127\.0\.0\.1:\d+", b"127.0.0.1:PORT"),
    (rb"\(idle \d+s\)", b"(idle N)"),
    (rb" after \d+s\b", b" after N"),
]


def masked(data: bytes, directory: Path) -> bytes:
    """``data`` without what differs from run to run: times, pids, ports, the private directory."""
    data = data.replace(os.fsencode(str(directory)), b"DIR")
    for pattern, word in _MASKS:
        data = re.sub(pattern, word, data)
    return data


def masked_log(daemon: Daemon, directory: Path) -> List[str]:
    """The daemon's log, masked, without its start and end, where versions differ (errata H)."""
    text = masked("\n".join(daemon.lines).encode("utf-8", "surrogateescape"), directory)
    own = ("ConMan daemon", "Listening on", "Open file limit", "Exiting on signal")
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    lines = [line for line in lines if line and not any(word in line for word in own)]
    if WORKERS:
        # Workers open their consoles at the same time, each in its order.
        first_client = next((place for place, line in enumerate(lines) if "Client <" in line), len(lines))
        lines[:first_client] = sorted(lines[:first_client])
    return lines
