"""Signals to a running daemon, the summary, and starts that fail; whole daemons are the system tests' subject."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from conmand.config.model import Configuration, ConsoleSettings, ServerSettings, TestDevice
from conmand.errors import FatalError
from conmand.server import startup
from conmand.server.startup import StartOptions, signal_daemon, summary

HOLDER = (
    "import fcntl, signal, sys\nsignal.signal(1, lambda *_: print('HUP', flush=True))\n"
    "file = open(sys.argv[2])\nfcntl.lockf(file, fcntl.LOCK_SH)\nprint(flush=True)\nsys.stdin.read()"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "conman.conf"
    path.write_text('console name="t" dev="test:"\n')
    return path


@contextlib.contextmanager
def holder(config: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    # Only four words of a command are looked at: python, -c, the program, the name.
    command = [sys.executable, "-c", HOLDER, name, str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        yield child


@pytest.fixture
def daemon(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the configuration locked, and looks like a daemon."""
    with holder(config, "conmand") as child:
        yield child


def test_the_pid_of_the_lock_is_printed(
    config: Path, daemon: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert signal_daemon(StartOptions(str(config)), 0) == 0
    assert capsys.readouterr() == (f"{daemon.pid}\n", "")


def test_signals_are_sent_and_confirmed_if_wished(
    config: Path, daemon: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert signal_daemon(StartOptions(str(config)), signal.SIGHUP) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.stdout is not None and daemon.stdout.readline() == b"HUP\n"
    assert signal_daemon(StartOptions(str(config), verbose=True), signal.SIGHUP) == 0
    head = f'Configuration "{config}" (pid {daemon.pid})'
    assert capsys.readouterr() == ("", f"{head} reconfigured on signal=1\n")
    assert signal_daemon(StartOptions(str(config), verbose=True), signal.SIGTERM) == 0
    assert capsys.readouterr().err == f"{head} terminated on signal=15\n"
    assert daemon.wait() == -signal.SIGTERM


def test_without_a_daemon_it_says_so(config: Path) -> None:
    with pytest.raises(FatalError, match='^Configuration ".*" does not appear to be active$'):
        signal_daemon(StartOptions(str(config)), 0)


def test_another_program_that_locks_the_configuration_is_not_signalled(config: Path) -> None:
    """The original kills whatever has a lock on the file."""
    with holder(config, "backup"), pytest.raises(FatalError, match="does not appear to be active$"):
        signal_daemon(StartOptions(str(config)), signal.SIGTERM)


def test_a_signal_that_is_not_permitted(
    config: Path, daemon: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        expected = rf"\(pid {daemon.pid}\) cannot be sent signal=15: Operation not permitted$"
        with pytest.raises(FatalError, match=expected):
            signal_daemon(StartOptions(str(config)), signal.SIGTERM)
        assert signal_daemon(StartOptions(str(config)), 0) == 0
    assert capsys.readouterr().out == f"{daemon.pid}\n"


def test_the_pid_file_of_the_configuration_is_asked_too(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The original looks only where -P says (errata E5)."""
    pid_file = tmp_path / "pid"
    with config.open("a") as file:
        file.write(f'server pidfile="{pid_file}"\n')
    command = [sys.executable, "-c", "print(flush=True); input()", "/usr/sbin/conmand"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        pid_file.write_text(f"{other.pid}\n")
        assert signal_daemon(StartOptions(str(config)), 0) == 0
        assert capfd.readouterr().out == f"{other.pid}\n"
        other.communicate(b"\n")
    pid_file.write_text("")
    with pytest.raises(FatalError):
        signal_daemon(StartOptions(str(config), pidfile=str(pid_file)), 0)
    assert capfd.readouterr().err == f'WARNING:   Unable to read from pidfile "{pid_file}"\n'


def configuration(consoles: int = 2, **server: object) -> Configuration:
    settings = tuple(ConsoleSettings(str(number), TestDevice()) for number in range(consoles))
    return Configuration("/c", ServerSettings(**server), settings)  # type: ignore[arg-type]


def test_the_summary_is_the_originals() -> None:
    everything = configuration(
        coredump=True,
        keepalive=True,
        logfile="/l",
        loopback=True,
        resetcmd="x",
        syslog=8,
        tcpwrappers=True,
        timestamp_minutes=120,
    )
    assert summary(everything, StartOptions("/c", truncate_logs=True)) == (
        "Configuration: /c\n"
        "Options: CoreDump KeepAlive LogFile LoopBack ResetCmd SysLog TCP-Wrappers TimeStamp=120m ZeroLogs\n"
        "Monitoring 2 consoles\n\n"
    )
    nothing = configuration(1, keepalive=False, loopback=False)
    assert summary(nothing, StartOptions("/c")) == "Configuration: /c\nOptions: None\nMonitoring 1 console\n\n"


def start(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """``conmand-py``, as a program: a start changes its whole process."""
    return subprocess.run(
        [sys.executable, "-m", "conmand", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("where", [["-F"], []])
def test_failures_are_said_once_with_status_1_and_leave_no_pid_file(
    config: Path, tmp_path: Path, where: List[str]
) -> None:
    empty = tmp_path / "empty.conf"
    empty.write_text("nonsense\n")
    pid_file = tmp_path / "pid"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (tmp_path / "gone", f'ERROR:     Unable to open "{tmp_path}/gone": No such file or directory\n'),
            (tmp_path, f'ERROR:     Unable to read "{tmp_path}": Is a directory\n'),
            (
                empty,
                f"ERROR:     CONFIG[{empty}:1]: unrecognized token 'nonsense'\n"
                f'ERROR:     Configuration "{empty}" has no consoles defined\n',
            ),
            (config, f"ERROR:     Unable to bind to port {port}: Address already in use\n"),
        ]
        for path, message in cases:
            done = start(*where, "-c", str(path), "-p", port, "-P", str(pid_file))
            assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", message)
            assert not pid_file.exists()


def test_a_daemon_that_has_the_configuration_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(config, "conmand") as child:
        done = start("-F", "-c", str(config), "-p", "0")
        assert done.stderr.decode() == f'ERROR:     Configuration "{config}" in use by pid {child.pid}\n'
        assert done.returncode == 1


def test_scripts_of_ours_are_found_where_they_are_installed() -> None:
    assert all(os.path.isdir(directory) for directory in startup.device_scripts()["script_dirs"])
