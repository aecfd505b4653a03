"""``--status``, ``--tail``, ``run`` and ``conmen-py`` as a user has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from conman import Console
from tests.fakes.daemons import ORIGINAL, OURS, environment, masked
from tests.fakes.demo_site import DemoSite
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import installed_program
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command
from tests.system.client.pairs import Pair

SHELLS = """\
console name="sh1" dev="pty:/bin/bash --norc --noprofile -i"
console name="sh2" dev="pty:/bin/bash --norc --noprofile -i"
console name="mute" dev="test:" testopts="b:0"
console name="gone" dev="unix:/nonexistent/sock"
"""
CLIENT = client_command(OURS)
CONMEN = [sys.executable, "-m", "conman.conmen"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("demo"), extra=SHELLS) as site:
        yield site


def environ(site: DemoSite) -> Dict[str, str]:
    return {**environment(), "CONMAN_HOST": site.server}


def run(site: DemoSite, *arguments: str, command: List[str] = CLIENT) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*command, *arguments],
        env=environ(site),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text("# for the nodes\nuser = root\npassword=demo\n")
    path.chmod(0o600)
    return path


# run


def test_run_prefixes_output_and_tells_each_status(site: DemoSite) -> None:
    result = run(site, "run", "sh1,sh2", "--", "echo", "$((6*7));", "echo last; (exit 3)")
    assert result.returncode == 1
    assert sorted(result.stdout.splitlines()) == [b"sh1:42", b"sh1:last", b"sh2:42", b"sh2:last"]
    assert sorted(result.stderr.splitlines()) == [
        b"2 consoles: 0 succeeded, 2 failed",
        b"sh1:exit status 3",
        b"sh2:exit status 3",
    ]


def test_run_succeeds_where_all_do(site: DemoSite) -> None:
    result = run(site, "run", "-p", "1", "-r", "SH[12]", "--", "true")
    assert (result.returncode, result.stdout) == (0, b"")


def test_run_logs_in_and_out(site: DemoSite, credentials: Path) -> None:
    result = run(site, "run", "--credentials", str(credentials), "node1", "--", "hostname")
    assert (result.returncode, result.stdout) == (0, b"node1:node1\n")
    after = run(site, "run", "--timeout", "3", "node1", "--", "hostname")
    assert (after.returncode, after.stdout) == (1, b"")
    assert after.stderr.startswith(b"node1:ERROR: No shell prompt: a login is asked for.\n")


def test_run_reports_consoles_that_fail(site: DemoSite) -> None:
    with OnTerminal([*CLIENT, "mute"], environ=environ(site)) as terminal:
        terminal.read_until(b"opened.\r\n")
        result = run(site, "run", "mute", "--", "true")
        terminal.type(b"&.")
        terminal.wait()
    assert result.returncode == 1
    first, second = result.stderr.splitlines()
    assert first == b"mute:ERROR: Found console already in use."
    assert second.startswith(b"mute:Console [mute] open R/W by <")


def test_run_refuses_credentials_that_others_may_read(site: DemoSite, credentials: Path) -> None:
    credentials.chmod(0o644)
    result = run(site, "run", "--credentials", str(credentials), "node1", "--", "hostname")
    assert result.returncode == 1
    assert b"others may read it" in result.stderr
    assert b"demo" not in result.stderr


def test_run_needs_names_that_exist(site: DemoSite) -> None:
    assert run(site, "run", "zz", "--", "true").stderr == b"ERROR: Found no matching consoles.\n"
    assert run(site, "run", "zz", "--", "true").returncode == 2


def test_run_needs_a_server_and_a_time_limit_that_is_one(site: DemoSite) -> None:
    lost = run(site, "run", "-d", "127.0.0.1:1", "sh1", "--", "true")
    assert lost.stderr == b"ERROR: Unable to connect to <localhost:1>: Connection refused.\n"
    assert lost.returncode == 2
    for seconds in ("nan", "inf", "0", "-1"):
        wrong = run(site, "run", "--timeout", seconds, "sh1", "--", "true")
        assert f"{seconds!r} is no length of time in seconds\n".encode() in wrong.stderr
        assert wrong.returncode == 2
    assert b"'x' is no number above 0\n" in run(site, "run", "-p", "x", "sh1", "--", "true").stderr


def test_options_may_stand_before_the_word_run(site: DemoSite) -> None:
    result = run(site, "-d", site.server, "-r", "run", "-p", "1", "SH1", "--", "echo", "-n", "--", "x; echo")
    assert (result.returncode, result.stdout) == (0, b"sh1:-- x\n")


def test_an_interrupted_run_tells_what_it_waits_for(site: DemoSite) -> None:
    command = [*CLIENT, "run", "-p", "1", "sh1,sh2", "--", "echo $((6*7)); read line; echo got $line"]
    with subprocess.Popen(command, env=environ(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        with Console("sh1", mode="monitor", server=site.server) as console:
            console.expect("42")
            process.send_signal(signal.SIGINT)
            expected = b"Interrupted: waiting for sh1; Ctrl-C again leaves them as they are\n"
            assert process.stderr.readline() == expected
        with Console("sh1", mode="join", server=site.server) as console:
            console.sendline("it")
        assert process.stdout.read() == b"sh1:42\nsh1:it\nsh1:got it\n"
        assert process.stderr.read() == (b"sh1:exit status 0\n2 consoles: 1 succeeded, 0 failed, 1 not finished\n")
        assert process.wait(PATIENCE_SECONDS) == 130


def test_a_second_interrupt_ends_a_run_at_once(site: DemoSite) -> None:
    command = [*CLIENT, "run", "sh2", "--", "echo $((6*7)); read line"]
    with subprocess.Popen(command, env=environ(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        with Console("sh2", mode="monitor", server=site.server) as console:
            console.expect("42")
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline().startswith(b"Interrupted: waiting for sh2;")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 130
            assert process.stderr.read() == b""
    with Console("sh2", mode="force", server=site.server) as console:
        console.sendline("x")
        console.expect("[#$] ")


def test_half_a_run_opens_no_console(site: DemoSite) -> None:
    result = run(site, "run", "sh1", "uptime")
    assert result.returncode == 1
    assert result.stderr == (
        b'ERROR:     CMDLINE: no console is called "run"; to run a command: run NAMES -- COMMAND\n'
    )


def test_a_console_may_be_called_run(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.start('console name="run" dev="test:" testopts="b:0"\n')
        result = subprocess.run(
            [*CLIENT, "run", "-q", "-d", f"127.0.0.1:{site.daemon.port}"], env=environment(), capture_output=True
        )
        assert result.stdout == b"run\n"


# --status


def test_status_as_a_table_and_as_json(site: DemoSite) -> None:
    with Console("node2", server=site.server) as console:
        console.sendline()
        console.expect("login: ")
    with OnTerminal([*CLIENT, "-m", "mute"], environ=environ(site)) as terminal:
        terminal.read_until(b"opened.\r\n")
        heading, *rows = run(site, "--status").stdout.decode().splitlines()
        by_name = {row.split()[0]: row for row in rows}
        lines = run(site, "--status", "--json", "mute", "gone").stdout.splitlines()
        terminal.type(b"&.")
        terminal.wait()
    assert heading.split()[:3] == ["CONSOLE", "STATE", "SINCE"]
    assert list(by_name) == ["gone", "mute", "node1", "node2", "node3", "sh1", "sh2"]
    assert by_name["gone"].split()[1] == "down"
    assert "R/O idle" in by_name["mute"]
    assert "login:" in by_name["node2"]
    assert [json.loads(line)["console"] for line in lines] == ["gone", "mute"]
    assert run(site, "--json").returncode == 1


def test_the_originals_daemon_has_no_status(tmp_path: Path) -> None:
    with Site(ORIGINAL, tmp_path) as site:
        pair = Pair(OURS, site)
        seen = pair.run("--status")
        assert seen["status"] == 2
        assert seen["error"].startswith(b"ERROR: No status from <localhost:")
        assert seen["output"] == b""


# --tail


@pytest.mark.parametrize("daemon", [OURS, ORIGINAL])
def test_tail_prefixes_lines_and_shows_prompts(daemon: str, tmp_path: Path) -> None:
    with Site(daemon, tmp_path) as site:
        pair = Pair(OURS, site)
        argv = pair.argv("--tail", "-Q", "u", "n1")
        with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            site.daemon.wait_for("connected to [u]")
            pair.node.send(b"one\r\n\x1b[31mtw")
            assert process.stdout.readline() == b"u:one\n"
            pair.node.send(b"o\x07\r\nlogin: ")
            assert process.stdout.readline() == b"u:two\n"
            assert process.stdout.readline() == b"u:login: \n"
            site.daemon.stop()
            assert sorted(process.stderr.read().splitlines()) == [
                b"n1:ERROR: terminated by server.",
                b"u:ERROR: terminated by server.",
            ]
            assert process.wait(PATIENCE_SECONDS) == 0


def test_tail_colours_on_a_terminal_and_ends_with_an_interrupt(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site)
        terminal = pair.start("--tail", "-Q", "u")
        site.daemon.wait_for("connected to [u]")
        pair.node.send(b"text\r\n")
        assert b"\x1b[" in terminal.read_until(b"u:\x1b[0mtext\r\n")
        terminal.signal(signal.SIGINT)
        assert terminal.wait() == 130
        assert terminal.errors == b""


def test_tail_and_status_go_to_the_log_as_they_are_shown(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site)
        terminal = pair.start("--tail", "-Q", "-l", str(tmp_path / "tail"), "u")
        site.daemon.wait_for("connected to [u]")
        pair.node.send(b"text\r\n")
        terminal.read_until(b"text\r\n")
        terminal.signal(signal.SIGINT)
        assert terminal.wait() == 130
        assert masked((tmp_path / "tail").read_bytes(), tmp_path) == (
            b"\r\n<ConMan> Log started at DATE TIME ZONE.\r\nu:text\n\r\n<ConMan> Log finished at DATE TIME ZONE.\r\n"
        )
        assert pair.run("--status", "--json", "-l", "status", "n1")["status"] == 0
        assert b'{"console": "n1"' in site.path("status").read_bytes()
        assert pair.run("--status", "--tail")["error"] == (
            b"ERROR:     CMDLINE: --status and --tail exclude each other\n"
        )


# conmen-py


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["-fj", "sh1"], 255, b"ERROR: Only one mode [fjm] can be specified.\n"),
        (["-x"], 255, b"ERROR: Unknown option: x\n"),
        (["-g", "x"], 255, b"ERROR: Cannot query genders: nodeattr not found\n"),
        (["-T", "xterm", "sh1", "sh2"], 255, b"ERROR: DISPLAY not set.\n"),
        (["zz"], 1, b"ERROR: Found no matching consoles.\n\n"),
        (["sh1"], 1, b"ERROR:     Standard Input is not a terminal device\n"),
    ],
    ids=str,
)
def test_conmen_complains(site: DemoSite, arguments: List[str], status: int, error: bytes) -> None:
    result = run(site, *arguments, command=CONMEN)
    assert (result.returncode, result.stderr) == (status, error)


def test_conmen_refuses_a_port_that_is_none(site: DemoSite) -> None:
    result = run(site, "-d", "h:65536", "-h", command=CONMEN)
    assert (result.returncode, result.stderr) == (255, b'ERROR: invalid port "65536"\n')


def test_conmen_queries_and_helps(site: DemoSite) -> None:
    assert run(site, "-q", "sh*", command=CONMEN).stdout == b"sh1\nsh2\n"
    assert f"[{site.server}]".encode() in run(site, "-h", command=CONMEN).stdout


def test_conmen_opens_windows_and_closes_them(site: DemoSite, tmp_path: Path) -> None:
    record = tmp_path / "record"
    emulator = tmp_path / "emulator"
    emulator.write_text(f'#!/bin/sh\necho "$*" >> {record}\nexec sleep 1000\n')
    emulator.chmod(0o755)
    environment_of_x = {**environ(site), "DISPLAY": ":0"}
    argv = [*CONMEN, "-T", str(emulator), "-G", "80x24", "-j", "-e", "!", "sh*"]
    with OnTerminal(argv, environ=environment_of_x) as terminal:
        terminal.read_until(b"Broadcast to 2 consoles opened.\r\n")
        terminal.type(b"!.")
        assert terminal.wait() == 0
    lines = sorted(record.read_text().splitlines())
    assert [line.partition(" -e ")[0] for line in lines] == [
        f"-geometry 80x24 -T ConMan: {name}" for name in ("sh1", "sh2")
    ]
    assert lines[0].endswith(" -e ! -Q -j -- sh1")


def test_conmen_uses_panes_of_tmux(site: DemoSite, tmp_path: Path) -> None:
    tmux = installed_program("tmux")
    place = {**environ(site), "TMUX_TMPDIR": str(tmp_path), "TERM": "xterm", "LC_ALL": "C.UTF-8", "TMUX": "another"}
    with OnTerminal([*CONMEN, "-m", "sh1", "sh2"], environ=place) as terminal:
        terminal.read_until(b"<ConMan> Broadcast")  # keys typed before that would be dropped
        server = f"conmen-{terminal.pid}"
        panes = subprocess.run(
            [str(tmux), "-L", server, "list-panes", "-s", "-F", "#{pane_title}"],
            env={**os.environ, "TMUX_TMPDIR": str(tmp_path)},
            capture_output=True,
            check=True,
        ).stdout.decode()
        terminal.type(b"&.")
        assert terminal.wait() == 0
    assert sorted(panes.split("\n")) == ["", "Broadcast to 2 consoles", "sh1", "sh2"]
    (sockets,) = tmp_path.glob("tmux-*")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while list(sockets.iterdir()):  # the socket, which the last of its shells removes
        assert time.monotonic() < deadline, "tmux's socket is left behind"
        time.sleep(0.01)
