"""The running daemon as a program: what it says, and what it leaves when it goes."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from conmand.config.model import ConsoleSettings, Device, IpmiDevice, TestDevice, UnixDevice
from conmand.server import daemon as daemon_module
from conmand.server import site as site_module
from conmand.server.daemon import daemon_log_path, max_clients
from tests.fakes.files import read_with


class Running:
    """``conmand-py -F`` on a port of its own, its messages read line by line."""

    def __init__(self, directory: Path, text: str, *arguments: str) -> None:
        self.config = directory / "conman.conf"
        self.config.write_text(text)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conmand", "-F", "-c", str(self.config), "-p", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.lines: List[str] = []
        self.port = int(self.until("Listening on TCP port").rpartition(" ")[2])

    def until(self, text: str) -> str:
        assert self.process.stderr is not None
        while True:
            line = self.process.stderr.readline().decode()
            assert line, f"the daemon ended: {self.lines}"
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return self.lines[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, rest = self.process.communicate()
        self.lines += rest.decode().splitlines()
        return self.process.returncode


@contextlib.contextmanager
def running(directory: Path, text: str, *arguments: str) -> Iterator[Running]:
    daemon = Running(directory, text, *arguments)
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_start_and_end_and_leaves_no_pid_file(tmp_path: Path, number: int) -> None:
    pid_file = tmp_path / "pid"
    config = f'console name="t" dev="test:" log="{tmp_path}/t.log"\n'
    with running(tmp_path, config, "-P", str(pid_file)) as daemon:
        pid = daemon.process.pid
        assert pid_file.read_text() == f"{pid}\n"
        assert daemon.end(number) == 0
    assert not pid_file.exists()
    assert re.fullmatch(rf"NOTICE:    Starting ConMan daemon \S+ \(pid {pid}\)", daemon.lines[0])
    assert daemon.lines[-2] == f"NOTICE:    Exiting on signal={int(number)}"
    assert re.fullmatch(rf"NOTICE:    Stopping ConMan daemon \S+ \(pid {pid}\)", daemon.lines[-1])


def test_a_hangup_reopens_the_logs_under_their_new_names(tmp_path: Path) -> None:
    # A named pipe is a log whose opening and lines are events that a test can wait for.
    for name in ("one", "two"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "t.log").symlink_to("one")
    one, two = (os.open(tmp_path / name, os.O_RDWR) for name in ("one", "two"))
    config = f'console name="t" dev="unix:{tmp_path}/gone" log="{tmp_path}/%N.log"\n'
    with running(tmp_path, config) as daemon:
        assert b"Console [t] log opened at" in os.read(one, 1000)
        (tmp_path / "t.log").unlink()
        (tmp_path / "t.log").symlink_to("two")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.until("reconfig") == "NOTICE:    Performing reconfig on signal=1"
        assert b"Console [t] log opened at" in os.read(two, 1000)
        assert daemon.end() == 0
    os.close(one)
    os.close(two)


def test_a_hangup_while_it_stops_is_too_late(tmp_path: Path) -> None:
    # A program that does not end with its input keeps the stop waiting.
    config = f'console name="p" dev="/bin/sleep 600" log="{tmp_path}/p.log"\n'
    with running(tmp_path, config) as daemon:
        daemon.until('connected to "sleep"')
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("Exiting on signal")
        assert daemon.end(signal.SIGHUP) == 0
    assert re.fullmatch(r"NOTICE:    Stopping ConMan daemon .*", daemon.lines[-1])
    assert "Exiting on signal" in daemon.lines[-2]


def test_a_signal_that_asks_for_a_core_leaves_no_pid_file(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with running(tmp_path, 'console name="t" dev="test:"\n', "-P", str(pid_file)) as daemon:
        assert daemon.end(signal.SIGQUIT) == -signal.SIGQUIT
    assert not pid_file.exists()
    assert daemon.lines[-1] == "ERROR:     Terminating on signal=3"


def test_programs_end_with_the_daemon_and_sessions_without_a_word(tmp_path: Path) -> None:
    config = f'console name="p" dev="/bin/sh -c \'trap : TERM; exec cat\'" log="{tmp_path}/p.log"\n'
    with running(tmp_path, config) as daemon:
        child = int(re.findall(r"pid (\d+)", daemon.until('connected to "sh"'))[0])
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(b"HELLO USER='u'\nCONNECT CONSOLE='p'\n")
            daemon.until("connected to [p]")
            assert daemon.end() == 0
            text = b"".join(iter(lambda: client.recv(1000), b""))
        assert text == b"OK\nOK CONSOLE='p'\n"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert b"departed" not in (tmp_path / "p.log").read_bytes()
    assert any("> disconnected" in line for line in daemon.lines)


def test_what_a_program_started_ends_with_the_daemon(tmp_path: Path) -> None:
    """Errata D3. The program itself goes at the end of its input; what it left, the fixture would find."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nsleep 1000 </dev/null >/dev/null 2>&1 &\necho started\nexec cat\n")
    script.chmod(0o755)
    with running(tmp_path, f'console name="p" dev="{script}" log="{tmp_path}/p.log"\n') as daemon:
        read_with(tmp_path / "p.log", b"started")
        assert daemon.end() == 0


def test_clients_leave_descriptors_for_consoles_and_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(soft: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))

    def consoles(device: Device, count: int = 100) -> List[ConsoleSettings]:
        return [ConsoleSettings(f"c{number}", device) for number in range(count)]

    unix = consoles(UnixDevice("/s"))
    limits(1024)
    assert max_clients([unix]) == 1024 - 200 - daemon_module.RESERVED_DESCRIPTORS
    assert max_clients([consoles(IpmiDevice("h"))]) < max_clients([unix])
    # Of several processes, each has descriptors of its own; all clients may be those of the largest.
    assert max_clients([consoles(UnixDevice("/s"), 30), unix]) == max_clients([unix])
    limits(100)
    assert max_clients([unix]) == daemon_module.MIN_CLIENTS
    for plenty in (10**9, resource.RLIM_INFINITY):
        limits(plenty)
        assert max_clients([unix]) == daemon_module.MAX_CLIENTS


def test_the_daemons_log_has_specifiers_of_time_and_pid_only() -> None:
    assert daemon_log_path("/l/%P-%N-%%") == f"/l/{os.getpid()}-%N-%"
    assert daemon_log_path("x" * 1022 + "%P") == "x" * 1022 + "%P"


def test_a_log_name_that_is_too_long_says_for_which_console() -> None:
    settings = ConsoleSettings("n1", TestDevice(), log="x" * 1022 + "%N")
    with pytest.raises(ValueError, match=r"^Unable to open logfile for \[n1\]: filename exceeded buffer$"):
        site_module._log_path(settings, 1)
