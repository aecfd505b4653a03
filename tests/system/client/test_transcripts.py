"""Every mode, key and option, on terminals: our client and the original's, each with both daemons."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import List

import pytest

from conman import __version__
from tests.fakes.daemons import ORIGINAL, OURS, environment
from tests.fakes.terminals import client_command
from tests.system.client.pairs import Pair, Seen, assert_same


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q"],
        ["-q", "n*"],
        ["-q", "n1,n2", "u"],
        ["-q", ",n1,,n2,"],
        ["-q", ","],
        ["n1", "-q", "--", "-m"],
        ["-q", "-r", "N1.?"],
        ["-q", "-r", "(a"],
        ["-q", "zz"],
        ["-qQvrb", "n.*"],
        ["-mq", "n1"],
        ["-q", "-F", "names"],
        ["-q", "-F", "names", "u", "-F", "more"],
        ["-F", "absent"],
        ["-ql", "query.log", "n*"],
        ["-l", "refused.log", "zz"],
        ["-l", "absent/x.log", "n1"],
        ["n*"],
        ["-m", "n*"],
        ["-mb", "n*"],
        ["-f", "n*"],
        ["-b", "zz"],
        ["-x"],
        ["-hq", "-z"],
        ["-z"],
        ["-e"],
        ["--no-such-option"],
        ["n" * 1023],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_queries_refusals_and_mistakes(arguments: List[str], tmp_path: Path) -> None:
    """None of these opens a session: one that ends as soon as it is open may kill the original's daemon."""

    def scenario(pair: Pair) -> Seen:
        pair.site.path("names").write_bytes(b"# names\n\n  n1 \t\n n[2]\nb # x\n#u\nu")
        pair.site.path("more").write_bytes(b"n10,n2\r\n" + b"x" * 1023 + b"n10\n")
        seen = pair.run(*arguments)
        logs = [path for path in pair.site.directory.glob("*.log") if path.name in ("query.log", "refused.log")]
        seen["files"] = {path.name: path.read_bytes() for path in logs}
        return seen

    assert assert_same(scenario, tmp_path)["status"] in (0, 1, 2)


def test_all_keys_of_a_writer(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        terminal = pair.open("u")
        assert terminal.is_raw
        assert not terminal.echoes
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"\xff\0ls\r")
        keys = pair.node.receive_until(b"ls\r")
        pair.node.send(b"\xfffile\xe9\r\n# ")
        terminal.read_until(b"# ")
        terminal.type(b"&E")
        terminal.await_echo(True)  # the original drops what is typed meanwhile
        terminal.type(b"&&&a&z&1.")
        keys += pair.node.receive_until(b"1.")
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&E")
        terminal.await_echo(False)
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&I")
        terminal.read_until(b".\r\n")
        terminal.type(b"&L")
        terminal.read_until(b"End log replay of console [u].\r\n")
        terminal.type(b"&Q")
        terminal.read_until(b"suppressed.\r\n")
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&Q")
        terminal.read_until(b"displayed.\r\n")
        terminal.type(b"&B&D.")
        keys += pair.node.receive_until(b".").replace(b"\x7f", b"")  # the original may send it after what follows
        terminal.type(b"&R")
        terminal.read_until(b"reset by <")
        terminal.read_until(b".\r\n")
        terminal.type(b"&M")
        terminal.read_until(b"departed by")
        terminal.read_until(b".\r\n")
        terminal.type(b"lost&B&D&E&R&x&I")
        terminal.read_until(b"Connected R/O to")
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&J")
        terminal.read_until(b"joined by")
        terminal.read_until(b".\r\n")
        terminal.type(b"&M")
        terminal.read_until(b"departed by")
        terminal.read_until(b".\r\n")
        terminal.type(b"&F")
        terminal.read_until(b"joined by")
        terminal.read_until(b".\r\n")
        terminal.type(b"end.")
        keys += pair.node.receive_until(b"end.")
        return {**pair.close(terminal), "keys": keys}

    seen = assert_same(scenario, tmp_path)
    assert seen["keys"] == b"\xff\0ls\r&&a&z&1..end."
    assert not seen["raw"]
    assert seen["screen"].endswith(b"&.\r\n<ConMan> Connection to console [u] closed.\r\n")


@pytest.mark.parametrize("mode", ["-m", "-j", "-f", "-Q", "-b", "-mQ", "-jf", "-fm"])
def test_help_and_information_in_each_mode(mode: str, tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        terminal = pair.open(mode, "u")
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&I")
        terminal.read_until(b"localhost:")
        return pair.close(terminal)

    assert assert_same(scenario, tmp_path)["status"] == 0


def test_a_broadcast(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        terminal = pair.open("-b", "u,n1", "n2")
        terminal.type(b"&?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"all&F&J&M&L&&.")
        keys = pair.node.receive_until(b".")
        terminal.type(b"&I")
        terminal.read_until(b"Broadcasting to 3 consoles on <")
        return {**pair.close(terminal), "keys": keys}

    seen = assert_same(scenario, tmp_path)
    assert seen["keys"] == b"all&."
    assert b"Broadcast to 3 consoles closed." in seen["screen"]


@pytest.mark.parametrize("escape", ["\x03", "^", "\x7f", "x", "B", ".", ""])
def test_other_escape_characters(escape: str, tmp_path: Path) -> None:
    key = escape.encode() or b"\0"

    def scenario(pair: Pair) -> Seen:
        terminal = pair.open("-e", escape, "u")
        terminal.type(key + b"?")
        terminal.read_until(b"Suspend the client.\r\n")
        terminal.type(b"&" + key + key + b"1!")
        keys = pair.node.receive_until(b"!") if escape != "." else b""
        if escape == ".":
            return {**pair.ended(terminal), "keys": keys}
        terminal.type(key + b".")
        return {**pair.ended(terminal), "keys": keys}

    assert assert_same(scenario, tmp_path)["status"] == 0


def test_joining_stealing_and_refusal(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        first = pair.open("u")
        refused = pair.ended(pair.start("-l", "mine.log", "u"))
        refused_broadcast = pair.ended(pair.start("-b", "u", "n1"))
        second = pair.open("-j", "u")
        second.read_until(b"joined with")
        first.read_until(b"joined by")
        thief = pair.open("-f", "u")
        thief.read_until(b"stolen from")
        victims = [pair.ended(first), pair.ended(second)]
        closed = pair.close(thief)
        return {
            "refused": refused,
            "broadcast": refused_broadcast,
            "first": victims[0],
            "second": {name: victims[1][name] for name in ("status", "error", "raw")},
            "thief": closed["status"],
            "log": pair.site.path("mine.log").read_bytes(),
        }

    seen = assert_same(scenario, tmp_path)
    assert seen["refused"]["status"] == 2
    assert b"Do you want to force (-f) or join (-j) the connection?" in seen["refused"]["error"]
    assert seen["first"]["screen"].endswith(b"terminated by server.\r\n")


def test_the_log_of_a_session(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        mine = pair.site.path("mine.log")
        mine.write_bytes(b"old\n")
        terminal = pair.open("-l", "mine.log", "u")
        terminal.type(b"typed&?&I.")
        pair.node.receive_until(b".")
        pair.node.send(b"\r\nsaid \xff\x00\xc3\xa9")
        terminal.read_until(b"\xc3\xa9")
        return {**pair.close(terminal), "log": mine.read_bytes()}

    log = assert_same(scenario, tmp_path)["log"]
    assert log.startswith(b"old\n\r\n<ConMan> Log started at DATE TIME ZONE.\r\n\r\nsaid")


def test_the_mode_of_a_new_log(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        pair.run("-q", "-l", "mine.log")
        return {"mode": pair.site.path("mine.log").stat().st_mode & 0o777}

    assert assert_same(scenario, tmp_path)["mode"] == 0o600


def test_suspension_in_a_shell(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        terminal = pair.open("u", shell=True)
        terminal.type(b"&Z")
        terminal.read_until(b"suspended.\r\n")
        terminal.read_until(b"$ " if os.getuid() else b"# ")
        cooked = not terminal.is_raw
        pair.site.daemon.wait_for("suspended")
        pair.node.send(b"while away")
        terminal.type(b"fg; echo done $?\n")
        terminal.read_until(b"resumed.\r\n")
        terminal.read_until(b"while away")
        raw = terminal.is_raw
        terminal.type(b"back.")
        keys = pair.node.receive_until(b".")
        terminal.type(b"&.")
        terminal.read_until(b"closed.\r\n")
        terminal.read_until(b"done 0")
        terminal.read_until(b"$ " if os.getuid() else b"# ")
        return {"cooked": cooked, "raw": raw, "keys": keys, "restored": terminal.echoes}

    assert assert_same(scenario, tmp_path) == {"cooked": True, "raw": True, "keys": b"back.", "restored": True}


def test_the_end_of_the_daemon(tmp_path: Path) -> None:
    def scenario(pair: Pair) -> Seen:
        terminal = pair.open("-m", "u")
        pair.site.daemon.signal(signal.SIGTERM)
        with contextlib.suppress(OSError):  # the original may fall asleep before it looks: wake it up
            socket.create_connection(("127.0.0.1", pair.site.daemon.port)).close()
        pair.site.daemon.stop()
        return pair.ended(terminal)

    seen = assert_same(scenario, tmp_path)
    assert seen["status"] == 0
    assert not seen["raw"]


@pytest.mark.parametrize(
    "environ",
    [
        {"CONMAN_HOST": "a:5", "CONMAN_ESCAPE": "\x03x"},
        {"CONMAN_HOST": "a:5", "CONMAN_PORT": "7"},
        {"CONMAN_HOST": ":5", "CONMAN_PORT": "x", "CONMAN_ESCAPE": ""},
        {"CONMAN_HOST": "", "CONMAN_PORT": "0"},
        {"CONMAN_PORT": "-4", "CONMAN_HOST": "h.example"},
    ],
    ids=str,
)
@pytest.mark.parametrize("arguments", [["-h"], ["-h", "-d", "b"], ["-d", "b:", "-d", ":8", "-e", "x"], ["-d", ":12z"]])
def test_help_shows_what_is_in_effect(environ: dict[str, str], arguments: List[str], tmp_path: Path) -> None:
    """Programs parse the brackets of these lines."""
    shown = []
    for kind in (ORIGINAL, OURS):
        argv = [*client_command(kind), *arguments]
        result = subprocess.run(argv, env={**environment(), **environ}, capture_output=True)
        assert result.returncode == 0
        shown.append([line for line in result.stdout.split(b"\n") if not line.startswith((b"Usage", b"  --"))])
    assert shown[1] == shown[0]


def test_licence_version_and_the_longer_help_are_ours(tmp_path: Path) -> None:
    argv = client_command(OURS)
    licence, version, help_text = (
        subprocess.run([*argv, option], env=environment(), capture_output=True, text=True).stdout
        for option in ("-L", "-V", "-h")
    )
    assert licence.startswith("conman-py: ")
    assert version == f"conman-{__version__}\n"
    assert [line[:12] for line in help_text.splitlines() if line.startswith("  --")] == [
        "  --status  ",
        "  --json    ",
        "  --tail    ",
    ]
