"""What the daemon makes of its process. What changes a process is tried in one of its own."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, Optional, Tuple

import pytest

from conmand.server import process_setup
from conmand.server.process_setup import ServiceManager, Starter


def script(text: str, **options: object) -> Tuple[int, str, str]:
    """Run Python ``text``; returns status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", "from conmand.server.process_setup import *\n" + text],
        capture_output=True,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_shell_waits_until_the_daemon_is_ready() -> None:
    # The daemon's output comes before the shell's process has ended, or it would be lost.
    status, out, err = script("starter = detach()\nprint(os.getsid(0) != os.getpid(), flush=True)\nstarter.ready()")
    assert (status, out, err) == (0, "True\n", "")


@pytest.mark.parametrize(
    "end, expected",
    [
        ("starter.failed('Unable to do it')", "Unable to do it\n"),
        ("os._exit(1)", ""),
        ("os.kill(os.getpid(), 9)", ""),
        ("sys.exit(3)", ""),
    ],
)
def test_a_daemon_that_fails_to_start_is_status_1_for_the_shell(end: str, expected: str) -> None:
    assert script(f"import sys\nstarter = detach()\n{end}") == (1, "", expected)


def test_the_daemon_starts_although_nobody_waits_for_its_word(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    starter = Starter(writing)
    starter.ready()
    starter.ready()
    with pytest.raises(OSError):
        os.fstat(writing)
    Starter().failed("in the foreground nobody is told")


def test_children_see_a_clean_environment() -> None:
    status, out, _ = script(
        "clean_environment()\nprint(sorted(os.environ.items()))",
        env={"PATH": "/evil", "HOME": "/h", "LANG": "C", "TZ": "UTC", "DEBUG": "1"},
    )
    assert status == 0
    assert (
        out
        == str(
            [
                ("DEBUG", "1"),
                ("IFS", " \t\n"),
                ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
                ("TERM", "dumb"),
                ("TZ", "UTC"),
            ]
        )
        + "\n"
    )


def test_core_limits() -> None:
    status, out, _ = script(
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\nset_core_limit(True)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0] in (hard, -1))\nset_core_limit(False)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    assert (status, out) == (0, "True\n0\n")


def test_file_limits() -> None:
    status, out, _ = script(
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "print(set_file_limit(0), set_file_limit(200), resource.getrlimit(resource.RLIMIT_NOFILE) == (200, hard))\n"
        "print(set_file_limit(-1) == hard, resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))"
    )
    assert (status, out) == (0, "None 200 True\nTrue True\n")


def test_a_file_limit_that_cannot_be_set_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_which: int, _limits: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(process_setup.FatalError, match="^Unable to set open file limit to 999999: Operation not perm"):
        process_setup.set_file_limit(999_999)


def test_standard_files_are_on_dev_null() -> None:
    status, out, err = script(
        "redirect_standard_files()\nprint('lost', flush=True)\n"
        "assert [os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)] == ['/dev/null'] * 3"
    )
    assert (status, out, err) == (0, "", "")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"conman-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        service_manager = ServiceManager()
        monkeypatch.delenv("NOTIFY_SOCKET")  # cleaned meanwhile
        service_manager.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    service_manager.notify("STOPPING=1")  # nobody listens any more


def test_a_service_manager_follows_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        service_manager = ServiceManager()
        service_manager.reloading()
        service_manager.reloaded("2 consoles added")
        heard = [manager.recv(100) for _ in range(2)]
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[0-9]+", heard[0])
    assert heard[1] == b"READY=1\nSTATUS=2 consoles added"


def test_the_watchdog_is_fed_while_the_event_loop_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def feed_twice(service_manager: ServiceManager) -> bytes:
        feeding = asyncio.ensure_future(service_manager.feed_watchdog())
        loop = asyncio.get_running_loop()
        fed = [await asyncio.wait_for(loop.sock_recv(manager, 100), 60) for _ in range(2)]
        feeding.cancel()
        return b",".join(fed)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        assert asyncio.run(feed_twice(ServiceManager())) == b"WATCHDOG=1,WATCHDOG=1"


def test_without_a_watchdog_nobody_is_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(ServiceManager().feed_watchdog())


def test_a_service_manager_that_does_not_read_does_not_hold_up_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        service_manager = ServiceManager()
        for _ in range(10_000):  # far more than wait in a socket
            service_manager.notify("WATCHDOG=1", patience_seconds=0)


@pytest.mark.parametrize(
    "environ, seconds",
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "PID"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, environ: Dict[str, str], seconds: Optional[float]
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.replace("PID", str(os.getpid())))
    assert ServiceManager().watchdog_seconds == seconds


def test_under_a_service_manager_the_process_that_it_started_is_the_daemon() -> None:
    text = (
        "os.environ['NOTIFY_SOCKET'] = '/nowhere'\npid = os.getpid()\nos.umask(0)\nstarter = detach()\n"
        "print(os.getpid() == pid, oct(os.umask(0)))\nstarter.ready()"
    )
    assert script(text) == (0, "True 0o22\n", "")


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().notify("READY=1")


def test_a_hangup_before_the_handlers_does_not_end_the_daemon() -> None:
    text = f"starter = detach()\nos.kill(os.getpid(), {int(signal.SIGHUP)})\nstarter.ready()"
    assert script(text)[0] == 0


def test_closed_standard_files_are_opened_before_others_get_their_numbers() -> None:
    program = (
        "import os\nos.close(0), os.close(2)\nopen_standard_files()\nfile = open('/dev/zero')\n"
        "print([os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 2)], file.fileno())"
    )
    assert script(program) == (0, "['/dev/null', '/dev/null'] 3\n", "")
