from __future__ import annotations

import asyncio
import errno
import os
import re
from typing import Any, Optional

import pytest
from pexpect import fdpexpect

from conman_exec import tools
from conman_exec.aio import LoginFailed, OpenSession, open_session
from conman_exec.arguments import Target
from conman_exec.cyclades_telnet_exp import LineDialogue
from conman_exec.dialogue import Connect, Dialogue, Rules, Run
from conman_exec.secret import Secret
from conman_exec.settings import Settings
from tests.fakes.telnet_device import TelnetDevice

PATH = "/usr/bin:/bin"
TARGET = Target("h", "1", "", "admin", Secret(b"t0psecret"))


class Shell(Dialogue):
    """Runs a shell script as its tool: ``target.host``; on a terminal when ``target.blade`` says so."""

    tool = "sh"
    rules = Rules(
        (rb"name\? \Z", "give_name"), (rb"Error: ([^\r\n]*)\r*\n", "report"), (rb"open\r*\n", "go"), (rb"next", "more")
    )

    def start(self) -> None:
        self.run("sh", "-c", self.target.host, terminal=bool(self.target.blade), secret=Secret(b"s3cret\n"))

    def give_name(self, match: re.Match[bytes]) -> None:
        self.say(b"me\n")

    def go(self, match: re.Match[bytes]) -> None:
        self.open("Guarded")

    def more(self, match: re.Match[bytes]) -> None:
        self.do(Run(("sh", "-c", "echo open; cat"), False))


def log_in(script: str, terminal: bool = False, **settings: object) -> OpenSession:
    target = TARGET._replace(host=script, blade="1" if terminal else "")
    return asyncio.run(open_session(Shell(target, Settings("hp_ilo", settings)), PATH))


def end(session: OpenSession) -> int:
    os.close(session.descriptor)
    return os.waitpid(session.pid, 0)[1] if session.pid else 0


@pytest.mark.parametrize("terminal", [False, True])
def test_session_has_the_descriptor_the_process_and_what_was_said(terminal: bool) -> None:
    script = 'printf "name? "; read name; echo "welcome $name"; printf "open\\nlogin: "; exec cat'
    session = log_in(script, terminal)
    assert (session.tool, session.session.for_daemon()) == ("sh", b"login: ")
    assert not os.get_blocking(session.descriptor)
    assert os.isatty(session.descriptor) == terminal
    end(session)


def test_secret_comes_in_its_descriptor() -> None:
    session = log_in('read secret </dev/fd/3; [ "$secret" = s3cret ] && echo open; exec cat')
    end(session)


def test_tool_may_be_followed_by_another() -> None:
    session = log_in("printf next; exec cat")
    assert end(session) == 0


@pytest.mark.parametrize("terminal", [False, True])
def test_refusal_and_end_raise_with_the_originals_words(terminal: bool) -> None:
    with pytest.raises(LoginFailed) as caught:
        log_in("echo 'Error: no such BMC'", terminal)
    assert str(caught.value) == "Error: no such BMC"
    with pytest.raises(LoginFailed) as caught:
        log_in("true", terminal)
    assert caught.value.reason == "Connection closed by remote host."


def test_silence_times_out() -> None:
    with pytest.raises(LoginFailed, match="Timed-out."):
        log_in("exec cat", timeout=0.1)


def test_missing_tool_is_told() -> None:
    dialogue = Shell(TARGET, Settings("hp_ilo", {}))
    with pytest.raises(LoginFailed, match='couldn\'t execute "sh": no such file or directory.'):
        asyncio.run(open_session(dialogue, "/nowhere"))


def test_cancelled_login_leaves_nothing() -> None:
    async def cancel() -> None:
        login = asyncio.create_task(open_session(Shell(TARGET._replace(host="exec cat"), Settings("hp_ilo", {})), PATH))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        while len(asyncio.all_tasks()) > 1:  # the tool's end is awaited in the background
            await asyncio.sleep(0.01)

    asyncio.run(cancel())


def test_output_that_comes_with_the_time_out_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(fdpexpect.fdspawn):  # type: ignore[type-arg]
        is_late = True

        def expect(self, *arguments: Any, **named: Any) -> Any:
            if not self.is_late:
                return super().expect(*arguments, **named)
            self.is_late = False
            self.buffer = b"open\n"
            return asyncio.sleep(0.01, result=2)

    monkeypatch.setattr(fdpexpect, "fdspawn", Late)
    end(log_in("exec cat", timeout=0.005))


class RecordingKeeper:
    """Lets the tools be, and remembers what it was told."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.left: list[tools.Tool] = []

    def started(self, pid: int) -> None:
        self.pids.append(pid)

    def dropped(self, tool: tools.Tool) -> None:
        self.left.append(tool)

    async def connect(self, wanted: Connect, seconds: float) -> tuple[Optional[tools.Tool], bytes]:
        return None, f"telnet: {wanted.host} {wanted.port} {seconds:.0f}\r\n".encode()


def test_keeper_is_told_of_every_tool_and_waits_for_it() -> None:
    keeper = RecordingKeeper()
    target = TARGET._replace(host="printf next; exec cat")
    session = asyncio.run(open_session(Shell(target, Settings("hp_ilo", {})), PATH, keeper))
    assert keeper.pids == [keeper.left[0].pid, session.pid]
    assert not session.on_terminal
    os.waitpid(keeper.pids[0], 0)
    end(session)


def test_keeper_knows_of_a_tool_that_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", refuse)
    keeper = RecordingKeeper()
    with pytest.raises(OSError, match="Too many open files"):
        asyncio.run(open_session(Shell(TARGET._replace(host="exec cat"), Settings("hp_ilo", {})), PATH, keeper))
    assert keeper.pids == [tool.pid for tool in keeper.left]
    os.waitpid(keeper.pids[0], 0)


def test_keeper_makes_the_connections() -> None:
    keeper = RecordingKeeper()
    dialogue = LineDialogue(TARGET, Settings("cyclades_telnet", {"timeout": 7.0}))
    with pytest.raises(LoginFailed, match="h 1 7."):
        asyncio.run(open_session(dialogue, PATH, keeper))
    assert keeper.pids == [0]


def answer(line: bytes) -> Optional[bytes]:
    return {b"admin": b"\r\npassword: ", b"t0psecret": b"\r\nnode> "}.get(line, b"\r\n")


def test_telnet_session_has_its_codec() -> None:
    with TelnetDevice(answer, b"login: ") as device:
        target = TARGET._replace(host=device.host, port=str(device.port))
        session = asyncio.run(open_session(LineDialogue(target, Settings("cyclades_telnet", {"settle": 0.1}))))
        assert session.codec is not None and session.pid == 0
        assert session.session.for_daemon() == b"\r\nnode> "
        assert session.codec.encode(b"\xff\r") == b"\xff\xff\r\0"
        end(session)


def test_refused_connection_is_told() -> None:
    target = TARGET._replace(host="127.0.0.1", port="9")
    with pytest.raises(LoginFailed, match="Connection refused."):
        asyncio.run(open_session(LineDialogue(target, Settings("cyclades_telnet", {}))))


class Port(Dialogue):
    def start(self) -> None:
        self.do(Connect("127.0.0.1", "9"))


def test_connection_error_without_a_rule_ends_the_login() -> None:
    with pytest.raises(LoginFailed, match="closed by remote host"):
        asyncio.run(open_session(Port(TARGET, Settings("hp_ilo", {}))))
