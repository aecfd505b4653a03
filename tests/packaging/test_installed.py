"""The installed programs, run from where they are, with the system's Python and what the packages require."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Iterator

import pexpect
import pytest

from conman import __version__
from conman_exec import PROGRAMS
from tests.fakes.files import PATIENCE_SECONDS, read_when
from tests.fakes.rpm_root import RpmRoot
from tests.packaging.test_rpm import SCRIPTS

CONFIGURATION = """\
server loopback=on logdir="/var/log/conman"
global log="%N.log"
console name="test" dev="test:" testopts="B:20,N:1"
console name="echo" dev="/usr/share/conman/exec/cyclades_telnet_exp.py 127.0.0.1 2001"
console name="original" dev="/usr/share/conman/exec/cyclades-telnet.exp 127.0.0.1 2001"
console name="shell" dev="pty:/bin/sh"
"""

TERMINAL_SERVER = """\
import socket, threading
def serve(connection):
    connection.sendall(b"terminal server ready\\r\\n")
    while True:
        data = connection.recv(1000)
        if not data:
            return
        connection.sendall(data.replace(b"hello", b"HELLO"))
with socket.create_server(("127.0.0.1", 2001)) as server:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture(scope="module")
def terminal_server(fresh: RpmRoot) -> Iterator[None]:
    argv = fresh.command("/usr/bin/python3", "-c", TERMINAL_SERVER)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield
        process.terminate()


@pytest.fixture(scope="module")
def daemon(fresh: RpmRoot, terminal_server: None) -> Iterator[RpmRoot]:
    """The daemon as its service runs it: in the background, as the user conman."""
    fresh.path("/etc/conman.conf").write_text(CONFIGURATION)
    fresh.run("systemd-tmpfiles", "--create", "conman-py.conf", "conman-py-compat.conf")
    fresh.run("install", "-d", "-o", "conman", "/run/conmand-py")
    options = ("-c", "/etc/conman.conf", "-P", "/run/conmand-py/conmand.pid")
    fresh.run("/usr/bin/conmand-py", *options, user="conman")
    yield fresh
    fresh.run("/usr/bin/conmand-py", "-k", *options, user="conman")


def test_the_daemon_serves_the_client(daemon: RpmRoot) -> None:
    assert daemon.run("/usr/bin/conman-py", "-q").stdout.split() == ["echo", "original", "shell", "test"]
    states = [json.loads(line) for line in daemon.run("/usr/bin/conman-py", "--status", "--json").stdout.splitlines()]
    assert {state["console"] for state in states} == {"echo", "original", "shell", "test"}


@pytest.mark.parametrize("client", ["/usr/bin/conman-py", "/usr/bin/conman"])
@pytest.mark.parametrize("console", ["echo", "original"])
def test_a_device_script_opens_a_console(daemon: RpmRoot, client: str, console: str) -> None:
    argv = daemon.command(client, "-f", console)
    with pexpect.spawn(argv[0], argv[1:], timeout=PATIENCE_SECONDS, encoding="latin-1") as terminal:
        terminal.expect_exact(f"<ConMan> Connection to console [{console}] opened.")
        terminal.send("hello")
        terminal.expect_exact("HELLO")
        terminal.send("&.")
        terminal.expect_exact(f"<ConMan> Connection to console [{console}] closed.")
        terminal.expect(pexpect.EOF)
    log = read_when(daemon.path(f"/var/log/conman/{console}.log"), lambda text: b"HELLO" in text)
    assert b"Connection established via telnet" in log


def test_a_device_script_runs_by_itself(daemon: RpmRoot) -> None:
    argv = daemon.command("/usr/bin/cyclades_telnet_exp.py", "127.0.0.1", "2001")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as script:
        assert script.stdin is not None and script.stdout is not None

        def read_until(expected: bytes) -> None:
            seen = b""
            while expected not in seen:
                chunk = script.stdout.read(1000)
                assert chunk, seen
                seen += chunk

        read_until(b"Connection established via telnet")
        script.stdin.write(b"hello")
        read_until(b"HELLO")
        script.stdin.close()


@pytest.mark.parametrize("script", [*(f"/usr/bin/{name}" for name in SCRIPTS), *PROGRAMS])
def test_every_device_script_says_how_it_is_called(fresh: RpmRoot, script: str) -> None:
    path = script if script.startswith("/") else f"/usr/share/conman/exec/{script}"
    done = fresh.run(path, check=False)
    assert done.returncode == 1 and done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("program", ["bin/conmand-py", "sbin/conmand", "bin/conman-py", "bin/conman"])
def test_every_program_knows_its_version(fresh: RpmRoot, program: str) -> None:
    assert fresh.run(f"/usr/{program}", "-V").stdout.startswith(f"conman-{__version__}")


@pytest.mark.parametrize("program", ["/usr/bin/conmen-py", "/usr/bin/conmen", "/usr/sbin/conmand"])
def test_every_program_is_called_by_its_own_name(fresh: RpmRoot, program: str) -> None:
    assert Path(program).name in fresh.run(program, "-h", check=False).stdout


def test_programs_can_use_the_library(daemon: RpmRoot) -> None:
    program = "from conman import query; print(*sorted(query()))"
    assert daemon.run("/usr/bin/python3", "-c", program).stdout == "echo original shell test\n"


def test_the_original_s_pid_file_names_the_daemon(daemon: RpmRoot) -> None:
    pid = daemon.run("cat", "/run/conmand.pid").stdout
    assert daemon.run("/usr/sbin/conmand", "-q").stdout == pid


def test_logs_belong_to_the_daemon_s_user(daemon: RpmRoot) -> None:
    listed = daemon.run("stat", "--format=%U:%G %a", "/var/log/conman", "/var/log/conman/test.log").stdout
    assert listed == "conman:conman 755\nconman:conman 600\n"


def test_the_first_configuration_only_wants_consoles(fresh: RpmRoot) -> None:
    done = fresh.run("conmand-py", "--check", "/usr/share/conman-py/conman.conf", check=False)
    assert done.returncode == 1
    problem, *summary = done.stdout.splitlines()
    assert problem.endswith('Configuration "/usr/share/conman-py/conman.conf" has no consoles defined')
    assert "Problems: 0 errors, 0 warnings" in summary


def test_logrotate_moves_logs_as_their_owner_and_tells_the_daemons(daemon: RpmRoot) -> None:
    """systemd does not run here: a stand-in writes down what it is told, and the daemon is told by hand."""
    daemon.path("/usr/bin/systemctl").unlink()
    daemon.path("/usr/bin/systemctl").write_text('#!/bin/sh\nset -f\nid -un >/tmp/told; echo "$@" >>/tmp/told\n')
    daemon.path("/usr/bin/systemctl").chmod(0o755)
    log = daemon.path("/var/log/conman/test.log")
    read_when(log, lambda text: b"opened at" in text)
    daemon.run("logrotate", "--force", "/etc/logrotate.d/conman-py-daemon")
    assert daemon.path("/tmp/told").read_text().splitlines() == [
        "root",
        "kill --kill-who=main --signal=HUP conmand-py.service conman.service conmand-py@*.service",
    ]
    assert not log.exists() and b"opened at" in log.with_name("test.log.1").read_bytes()
    daemon.run("conmand-py", "-r", user="conman")
    read_when(log, lambda text: b"opened at" in text)


@pytest.mark.parametrize(
    "page", ["conman-py", "conmen-py", "conmand-py", "conman", "conmen", "conmand", "conman.conf", "conman.pswd",
             "conman-exec", "conman-exec.conf", "conmand-py.conf"]
)  # fmt: skip
def test_every_manual_page_is_found_and_whole(fresh: RpmRoot, page: str) -> None:
    (file,) = [path for path in fresh.path("/usr/share/man").glob(f"man*/{page}.[158].gz")] or [
        *fresh.path("/usr/share/man").glob(f"man*/{page}.5py.gz")
    ]
    text = subprocess.run(["gzip", "-dc", file], check=True, stdout=subprocess.PIPE, text=True).stdout
    if text.startswith(".so "):
        target = fresh.path("/usr/share/man") / f"{text[4:].strip()}.gz"
        text = subprocess.run(["gzip", "-dc", target], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert ".Sh NAME" in text
