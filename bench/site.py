"""One daemon at one site: a private directory, a configuration, the devices, the daemon, and their end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Iterator, List, Optional, Sequence, Tuple

from bench import load, processes
from bench.plan import STAMP_BYTES

REPOSITORY = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.005
SETTLED_SECONDS = 0.5
"""A daemon that used no CPU time for this long has done what its start left to do."""

ANSWER_SECONDS = 30.0
"""For what the load does by itself."""

GREETING = b"HELLO USER='bench'\n"


class BenchmarkFailed(Exception):
    """A daemon or the load did not do what is to be measured."""


@dataclass(frozen=True)
class Subject:
    """A daemon to measure. ``argv`` takes the options of conmand(8)."""

    label: str
    argv: Sequence[str]


def our_command(python: str = sys.executable) -> Tuple[str, ...]:
    """This tree's daemon, run from byte code as an installed one is, also where Python is kept from writing any.

    Without, each start compiles all modules anew, which takes 90 ms.
    """
    subprocess.run([python, "-m", "compileall", "-q", "conman", "conmand", "conman_exec"], cwd=REPOSITORY, check=True)
    return (python, "-m", "conmand")


class LoadProcess:
    """``bench.load`` as a child, see there."""

    def __init__(self, directory: Path, consoles: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", str(directory), str(consoles)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._expect("listening")

    @property
    def pid(self) -> int:
        return self._process.pid

    def accept(self) -> None:
        """Start to accept; ``connected`` waits for the end of it."""
        self._command("accept")

    def connected(self, limit_seconds: float) -> None:
        self._expect("connected", limit_seconds)

    def send(self, lines: int, rate: float, tick_seconds: float, group: int = 1) -> None:
        """Start to send; ``sent`` waits for the end of it."""
        self._command(f"send {lines} {rate} {tick_seconds} {group}")

    def sent(self, limit_seconds: float) -> load.Sent:
        return load.Sent(**json.loads(self._answer(limit_seconds)))

    def start_loop(self, rate: float, tick_seconds: float) -> None:
        self._command(f"loop {rate} {tick_seconds}")
        self._expect("looping")

    def stop_loop(self) -> load.Sent:
        self._command("stop")
        return self.sent(ANSWER_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _command(self, text: str) -> None:
        stdin: Optional[IO[str]] = self._process.stdin
        assert stdin is not None, "opened as a pipe"
        stdin.write(text + "\n")
        stdin.flush()

    def _answer(self, limit_seconds: float) -> str:
        stdout = self._process.stdout
        assert stdout is not None, "opened as a pipe"
        readable, _, _ = select.select([stdout], [], [], limit_seconds)  # answers come singly: none is buffered
        if not readable:
            raise BenchmarkFailed(f"no answer from the load in {limit_seconds:g} s: the daemon hangs or is too slow")
        answer = stdout.readline()
        if not answer:
            raise BenchmarkFailed(f"the load ended with status {self._process.wait()}")
        return answer.rstrip("\n")

    def _expect(self, word: str, limit_seconds: float = ANSWER_SECONDS) -> None:
        answer = self._answer(limit_seconds)
        if answer.split()[0] != word:
            raise BenchmarkFailed(f"the load answered {answer!r} instead of {word!r}")


class Daemon:
    """A running daemon, in the foreground, with its messages in a file."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        self.port = free_port()
        self._messages = directory / "messages"
        with self._messages.open("wb") as stderr:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                [*subject.argv, "-F", "-c", str(directory / "conman.conf"), "-p", str(self.port)],
                cwd=REPOSITORY,  # where "python -m conmand" finds ours; all paths in the configuration are absolute
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def pids(self) -> List[int]:
        return processes.tree(self._process.pid)

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pids())

    def pss_bytes(self) -> int:
        return processes.pss_bytes(self.pids())

    def wait_until_serving(self, limit_seconds: float) -> float:
        """Wait for a connection to be accepted and a greeting to be answered; returns the seconds since exec."""
        while time.monotonic() - self.started < limit_seconds:
            try:
                with self.connect(limit_seconds):
                    return time.monotonic() - self.started
            except ConnectionRefusedError:
                if self._process.poll() is not None:
                    break
                time.sleep(POLL_SECONDS)
        raise BenchmarkFailed(f"the daemon does not serve:\n{self._messages.read_text('utf-8', 'replace')[-2000:]}")

    def wait_until_settled(self, limit_seconds: float) -> None:
        deadline = time.monotonic() + limit_seconds
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(SETTLED_SECONDS)
            now = self.cpu_seconds()
            if now == before:
                return
            before = now

    def connect(self, limit_seconds: float) -> socket.socket:
        """A connection whose greeting was answered."""
        sock = socket.create_connection(("127.0.0.1", self.port), limit_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(GREETING)
        answer = sock.recv(64)
        if answer != b"OK\n":
            sock.close()
            raise BenchmarkFailed(f"the greeting was answered with {answer!r}")
        return sock

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Site:
    directory: Path
    load: LoadProcess
    daemon: Daemon
    consoles: int
    serving_seconds: float
    connected_seconds: float
    """From exec until every console was connected."""
    echo: Optional[socket.socket]
    """The device end of the console ``echo``, for the caller to read and write."""

    def log_bytes(self) -> int:
        return sum(os.stat(entry).st_size for entry in os.scandir(self.directory / "logs"))

    def count_logged(self) -> int:
        """Lines that are in the logs whole and in order, over all consoles; the rest was lost or damaged."""
        logs = self.directory / "logs"
        return sum(count_whole(console, (logs / name(console)).read_bytes()) for console in range(self.consoles))


def count_whole(console: int, logged: bytes) -> int:
    """Lines in ``logged`` that are, after their timestamp, what the console printed, each later than the one before."""
    count = 0
    expected = 0
    for text in logged.split(b"\r\n"):
        body = text[STAMP_BYTES:] + b"\r\n"
        if body != load.line(console, expected):
            number = body[6:13]  # after a gap the lines may go on
            if not number.isdigit() or int(number) < expected or body != load.line(console, int(number)):
                continue
            expected = int(number)
        expected += 1
        count += 1
    return count


@contextmanager
def running(subject: Subject, consoles: int, limit_seconds: float, *, with_echo: bool = False) -> Iterator[Site]:
    """A site with all its consoles connected and its daemon at rest; if asked for, a console ``echo`` beside them."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conman-bench-")))
        (directory / "devices").mkdir()
        (directory / "logs").mkdir()
        (directory / "conman.conf").write_text(configuration(directory, consoles, with_echo))
        echo_listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if with_echo:
            echo_listening.bind(str(directory / "echo"))
            echo_listening.listen(1)
            echo_listening.settimeout(limit_seconds)
        devices = LoadProcess(directory / "devices", consoles)
        stack.callback(devices.close)
        daemon = Daemon(subject, directory)
        stack.callback(daemon.close)
        devices.accept()
        serving = daemon.wait_until_serving(limit_seconds)
        devices.connected(limit_seconds)
        connected = time.monotonic() - daemon.started
        echo = stack.enter_context(echo_listening.accept()[0]) if with_echo else None
        daemon.wait_until_settled(limit_seconds)
        yield Site(directory, devices, daemon, consoles, serving, connected, echo)


def configuration(directory: Path, consoles: int, with_echo: bool) -> str:
    lines = [
        f'server loopback=on nofile=-1 logdir="{directory}/logs"',
        'global log="%N" logopts="timestamp"',
        *(f'console name="{name(index)}" dev="unix:{directory}/devices/{index:05d}"' for index in range(consoles)),
    ]
    if with_echo:
        lines.append(f'console name="echo" dev="unix:{directory}/echo"')
    return "\n".join(lines) + "\n"


def name(console: int) -> str:
    return f"node{console:05d}"


def free_port() -> int:
    """A port that was free a moment ago: the start is timed from outside, before a daemon could tell its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
