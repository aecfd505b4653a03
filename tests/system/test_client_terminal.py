"""The original's own client at a terminal, against ours and its own daemon: it cannot tell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import List

import pytest

from tests.fakes.client_terminal import Terminal, client_command
from tests.fakes.devices import Peer
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.shell_terminal import JobControlShell
from tests.fakes.sites import Seen, Site, assert_same

CONFIG = """\
server logdir="DIR" resetcmd="true"
global log="%N.log"
console name="u" dev="unix:DIR/u.sock"
console name="n1" dev="test:" testopts="b:0"
console name="n2" dev="test:" testopts="b:0"
console name="n10" dev="test:" testopts="b:0"
"""


def node(site: Site) -> Peer:
    peer = site.unix_peer("u.sock")
    site.start(CONFIG)
    peer.accept()
    site.daemon.wait_for("[u] connected")
    return peer


def without_terminal_numbers(data: bytes) -> bytes:
    return re.sub(rb"pts/\d+", b"pts/N", data)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q"],
        ["-q", "n*"],
        ["-q", "n1,n2", "u"],
        ["-q", "-r", "N1.?"],
        ["-q", "zz"],
        ["-q", "-r", "(a"],
        ["n*"],
        ["-m", "n*"],
        ["-q", "-v", "-Q", "u"],
        ["-j", "zz"],
        ["u"],
    ],
    ids=" ".join,
)
def test_its_queries_errors_and_statuses(arguments: List[str], tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node(site)
        result = subprocess.run(
            client_command(site.daemon.port, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        site.settle()
        return {"status": result.returncode, "output": result.stdout, "error": result.stderr}

    # The daemons log a client's end when they see it, which may be after the next client has come.
    seen = assert_same(scenario, tmp_path, log_in_order=False)
    assert seen["status"] == {"-q": 0 if arguments[-1] not in ("zz", "(a") else 2, "u": 1}.get(arguments[0], 2)


def test_a_session_with_its_keys(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site)
        with Terminal(site.daemon.port, ["u"]) as terminal:
            terminal.expect_opened()
            terminal.type(b"ls\r")
            keys = peer.receive_until(b"\r")
            peer.send(b"ls\r\nfile\r\n# ")
            terminal.expect(b"# ")
            terminal.type(b"&?")
            terminal.expect(b"Suspend the client.\r\n")
            terminal.type(b"&I")
            terminal.expect(b"Connected R/W to console [u] on <localhost:")
            terminal.type(b"&L")
            terminal.expect(b"End log replay of console [u].\r\n")
            terminal.type(b"&Q")
            terminal.expect(b"info msgs will be suppressed.\r\n")
            terminal.type(b"&Q")
            terminal.expect(b"info msgs will be displayed.\r\n")
            terminal.type(b"&M")
            terminal.expect(b"departed by")
            terminal.type(b"lost&I")
            terminal.expect(b"Connected R/O to console [u] on <localhost:")
            terminal.type(b"&F")
            terminal.expect(b"joined by")
            terminal.type(b"&M")
            terminal.expect(b"departed by")
            terminal.type(b"&J")
            terminal.expect(b"joined by")
            terminal.type(b"&D&&x.")
            keys += peer.receive_until(b"x.")
            terminal.type(b"&R")
            terminal.expect(b"reset by <")
            terminal.type(b"&.")
            assert terminal.end() == 0
            site.daemon.wait_for("disconnected", "Client")
            shown = without_terminal_numbers(terminal.screen)
        site.settle()
        log = without_terminal_numbers(site.path("u.log").read_bytes())
        return {"screen": shown, "keys": keys, "log": log}

    seen = assert_same(scenario, tmp_path)
    assert seen["keys"] in (b"ls\r\x7f&x.", b"ls\r&\x7fx.")
    assert b"\r\n<ConMan> Connection to console [u] opened.\r\n" in seen["screen"]
    assert seen["screen"].endswith(b"&.\r\n<ConMan> Connection to console [u] closed.\r\n")


def test_a_busy_console_and_its_listing(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node(site)
        with Terminal(site.daemon.port, ["u"]) as first:
            first.expect_opened()
            with Terminal(site.daemon.port, ["u"]) as second:
                status = second.end()
            assert status == 2
            with Terminal(site.daemon.port, ["-f", "u"]) as thief:
                thief.expect_opened()
                thief.expect(b"stolen from")
                first.expect(b"stolen by")
                thief.type(b"&.")
                assert thief.end() == 0
        shown = {name: without_terminal_numbers(seen.screen) for name, seen in (("refused", second), ("thief", thief))}
        return {**shown, "daemon": []}

    seen = assert_same(scenario, tmp_path)
    assert b"ERROR: Found console already in use." in seen["refused"]
    assert b"Do you want to force (-f) or join (-j) the connection?" in seen["refused"]


def test_a_broadcast(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site)
        with Terminal(site.daemon.port, ["-b", "*"]) as terminal:
            terminal.expect(b"Broadcast to 4 consoles opened.\r\n")
            terminal.type(b"all.")
            keys = peer.receive_until(b".")
            terminal.type(b"&I")
            terminal.expect(b"Broadcasting to 4 consoles on <localhost:")
            terminal.type(b"&.")
            assert terminal.end() == 0
            shown = terminal.screen
        return {"screen": shown, "keys": keys}

    assert_same(scenario, tmp_path)


def test_the_end_of_the_daemon(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node(site)
        with Terminal(site.daemon.port, ["-m", "u"]) as terminal:
            terminal.expect_opened()
            site.daemon.stop()
            assert terminal.end() == 0
            return {"screen": terminal.screen}

    seen = assert_same(scenario, tmp_path)
    assert seen["screen"].endswith(b"Connection to console [u] terminated by server.\r\n")


def test_suspending_it_in_a_shell(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site)
        with JobControlShell() as shell:
            shell.run(" ".join(client_command(site.daemon.port, "u")))
            shell.expect(b" opened.\r\n")
            shell.type(b"&Z")
            shell.expect(b" suspended.\r\n")
            shell.expect_prompt()
            site.daemon.wait_for("suspended")
            watcher = site.session(b"MONITOR CONSOLE='u'\n")
            peer.send(b"while away")
            watcher.receive_until(b"while away")
            shell.run("fg")
            shell.expect(b" resumed.\r\n")
            shell.expect(b"while away")
            shell.type(b"back.")
            keys = peer.receive_until(b".")
            shell.type(b"&.")
            shell.expect(b" closed.\r\n")
            shell.expect_prompt()
            shell.run("echo status $?")
            shell.expect(b"status 0\r\n")
        site.leave(watcher)
        return {"keys": keys, "daemon": []}

    assert_same(scenario, tmp_path)


def test_killing_it_frees_the_console(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node(site)
        with Terminal(site.daemon.port, ["u"]) as terminal:
            terminal.expect_opened()
            os.kill(terminal.pid, signal.SIGKILL)
            site.daemon.wait_for("Client <", "disconnected")
        return {"after": site.ask(b"QUERY CONSOLE='u'\n")}

    assert_same(scenario, tmp_path)
