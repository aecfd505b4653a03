"""Device scripts inside the daemon: real dialogues and tools (shells), a real reaper, and a clock that stands still."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any, Awaitable, Callable, List, Optional, Tuple

import pytest

from conman_exec import settings as exec_settings
from conman_exec.arguments import Arguments
from conman_exec.dialogue import Dialogue, Rules
from conman_exec.sessions import STOLEN
from conmand.config.model import ConsoleSettings, LogLevel, ScriptDevice
from conmand.config.settings import ScriptSettings
from conmand.consoles import script, script_logins
from conmand.consoles.base import MAX_UNSENT_BYTES, State
from conmand.consoles.script import BREAK_SECONDS, LOOK_SECONDS, ScriptConsole
from conmand.server.children import ChildReaper
from conmand.server.resolver import NameResolver
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink
from tests.fakes.telnet_device import TelnetDevice

FORM = Arguments(("host", "user", "pswd"))
OPEN = "echo open; exec cat"

Made = Callable[..., Tuple[ScriptConsole, RecordingSink]]


class ShellDialogue(Dialogue):
    """Runs the host as a shell script; KIND and whether it has a terminal are the user. A line "open" opens."""

    tool = "sh"
    rules = Rules((rb"Error: ([^\r\n]*)\r*\n", "report"), (rb"open\r*\n", "go"), (rb"again\r*\n", "more"))

    def start(self) -> None:
        self.kind, _, terminal = (self.target.user or "").partition("/")
        self.run("sh", "-c", self.target.host, terminal=bool(terminal))

    def more(self, match: re.Match[bytes]) -> None:
        self.run("sh", "-c", OPEN, terminal=False)

    def go(self, match: re.Match[bytes]) -> None:
        self.open(self.kind)


@pytest.fixture(autouse=True)
def no_jitter_and_no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(script, "JITTER", 0.0)
    monkeypatch.setattr(exec_settings, "DEFAULT_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(script_logins, "DEFAULT_FILE", str(tmp_path / "none"))


@pytest.fixture
def shells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_logins, "form_of", lambda name: (FORM, ShellDialogue))


def with_consoles(test: Callable[[ManualLoop, Made], Awaitable[None]], at_once: int = 50) -> None:
    """Run ``test(loop, console)`` with a real reaper; afterwards every child has to be gone."""

    async def whole(loop: ManualLoop) -> None:
        children = ChildReaper(loop)
        children.start()
        resolver = NameResolver(loop)
        services = FakeServices(loop, children=children, resolver=resolver)
        services.scripts = ScriptSettings(logins_at_once=at_once)
        consoles: List[ScriptConsole] = []

        def console(*words: str, name: str = "ssh") -> Tuple[ScriptConsole, RecordingSink]:
            sink = RecordingSink()
            device = ScriptDevice(("/x/sh_exp.py", *words), script=name)
            consoles.append(ScriptConsole(ConsoleSettings("s", device), sink, services))
            return consoles[-1], sink

        try:
            await test(loop, console)
        finally:
            for one in consoles:
                one.stop()
            await loop.advance(0)
            for pid in children.pids():
                children.kill(pid, signal.SIGKILL)
            while children.pids():
                await children.wait_all(children.pids(), 1e9)
            loop.remove_signal_handler(signal.SIGCHLD)
            resolver.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass  # one that is still running fails the test in conftest, and must not hang it here

    run(whole)


def started(made: Tuple[ScriptConsole, RecordingSink]) -> Tuple[ScriptConsole, RecordingSink]:
    made[0].start()
    return made


def reaper(console: ScriptConsole) -> ChildReaper:
    children = console.services.children
    assert isinstance(children, ChildReaper)
    return children


def established(sink: RecordingSink) -> Callable[[], bool]:
    return lambda: re.search(rb"established via \w+( \(pid \d+\))?\.\r\n", sink.published) is not None


async def opened(console: Made, text: str, kind: str = "Session") -> Tuple[ScriptConsole, RecordingSink]:
    """A console whose session is open; what was printed so far is forgotten."""
    one, sink = started(console(text, kind, "pw"))
    await sink.until(established(sink))
    sink.published = b""
    return one, sink


def test_login_is_told_as_by_the_program_and_data_passes_both_ways(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("printf 'hello\\nopen\\nlogin: '; exec cat", "Session", "pw"))
        assert one.client_attached() is not None  # its turn has not come
        await sink.until(lambda: sink.published.endswith(b"login: "))
        (pid,) = reaper(one).pids()
        assert sink.announced == [f'Console [s] connected to "sh_exp.py" (pid {pid})']
        assert sink.levels == [LogLevel.INFO]
        assert sink.published == b"Connection established via sh (pid %d).\r\nlogin: " % pid
        one.send(b"me\xff\0")
        await sink.until(lambda: sink.published.endswith(b"login: me\xff\0"))
        assert one.state is State.UP
        os.kill(pid, signal.SIGKILL)
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.announced[1] == f'Console [s] disconnected from "sh_exp.py" (pid {pid}) after 0s'
        assert one.retry_seconds == 60

    with_consoles(test)


def test_console_is_up_while_it_logs_in_and_keeps_what_is_typed(shells: None, tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        os.mkfifo(tmp_path / "go")
        one, sink = started(console(f"read word <{tmp_path}/go; {OPEN}", "Guarded", "pw"))
        one.send(b"too early")
        await sink.until(lambda: bool(sink.announced))
        assert one.state is State.UP and one.client_attached() is None
        one.send(b"&.early\r&x")
        one.send_break()
        with open(tmp_path / "go", "w") as go:
            go.write("go\n")
        await sink.until(established(sink))
        await loop.advance(BREAK_SECONDS + LOOK_SECONDS)
        await sink.until(lambda: sink.published.endswith(b".\r\n&&.early\r&&x\r&B"))

    with_consoles(test)


def test_what_is_typed_during_a_login_is_bounded(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("exec cat", "Session", "pw"))
        await sink.until(lambda: bool(sink.announced))
        for _ in range(3):
            one.send(b"x" * (MAX_UNSENT_BYTES // 2))
        assert sink.reported == [(LogLevel.NOTICE, f'Overwrote {MAX_UNSENT_BYTES // 2} bytes for "s"')]
        for _ in range(2 * MAX_UNSENT_BYTES):
            one.send_break()
        assert len(one._typed) == MAX_UNSENT_BYTES

    with_consoles(test)


@pytest.mark.parametrize("kind", ["Session", "Session/terminal"])
def test_failed_login_says_why_and_is_retried_at_the_originals_times(shells: None, kind: str) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("echo 'Error: no such BMC'; exec cat", kind, "pw"))
        times = []
        for attempt in range(1, 4):
            await sink.until(lambda count=2 * attempt: len(sink.announced) == count)  # type: ignore[misc]
            times.append(one.retry_seconds)
            pid = sink.announced[-2].rpartition(" ")[2].rstrip(")")
            assert sink.announced[-1] == f'Console [s] disconnected from "sh_exp.py" (pid {pid}) after 0s'
            assert sink.published == b"Error: no such BMC\r\n" * attempt
            one.retry_now()
        assert times == [60, 120, 240]

    with_consoles(test)


def test_without_a_tool_there_is_no_number() -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        _, sink = started(console("bmc1", name="ipmitool"))
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b"Error: Unspecified username.\r\n"
        assert sink.announced == [
            'Console [s] connected to "sh_exp.py"',
            'Console [s] disconnected from "sh_exp.py" after 0s',
        ]
        _, sink = started(console(name="ipmitool"))
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b"Usage: sh_exp.py <host> <user> <pswd> [<keyg>]\r\n"

    with_consoles(test)


def test_missing_tool_is_told(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        path = tmp_path / "exec.conf"
        path.write_text("[ipmitool]\ncommand = no-such-tool\n")
        _, sink = started(console("-c", str(path), "bmc1", "admin", "pw", name="ipmitool"))
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b'Error: couldn\'t execute "no-such-tool": no such file or directory.\r\n'

    with_consoles(test)


def test_mistake_of_ours_is_reported_and_the_console_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ShellDialogue):
        def start(self) -> None:
            raise LookupError("no such thing")

    monkeypatch.setattr(script_logins, "form_of", lambda name: (FORM, Broken))

    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console(OPEN, "Session", "pw"))
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b"Error: no such thing.\r\n"
        assert one.retry_seconds == 60
        (bug,) = loop.bugs
        assert bug["message"] == "the login of [s] failed"
        loop.bugs.clear()

    with_consoles(test)


def test_warnings_of_the_password_file_come_after_the_notice(shells: None, tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        passwords, path = tmp_path / "pswd", tmp_path / "exec.conf"
        passwords.write_text("h(:x:y\n: Session : pw\n")
        passwords.chmod(0o644)
        path.write_text(f"[ssh]\npassword_file = {passwords}\n")
        _, sink = started(console("-c", str(path), OPEN, "Session"))
        await sink.until(established(sink))
        lines = sink.published.split(b"\r\n")
        assert lines[0] == b"Warning: %b is readable by others; its mode should be 0600." % bytes(passwords)
        assert lines[1].startswith(b"Warning: %b line 1 ignored: " % bytes(passwords))

    with_consoles(test)


def test_session_that_lasted_a_minute_is_opened_again_at_once(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, "echo open; read word")
        await loop.advance(62)
        one.send(b"\n")
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.announced[1].endswith(" after 1m2s")
        await loop.advance(0)
        await sink.until(lambda: len(sink.announced) == 3)

    with_consoles(test)


def test_number_is_that_of_the_first_tool(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("echo again; exec cat", "Session", "pw"))
        await sink.until(established(sink))
        first = int(sink.announced[0].rpartition(" ")[2].rstrip(")"))
        assert b"(pid %d)" % first not in sink.published
        while first in reaper(one).pids():  # it saw the end of its input
            await reaper(one).wait_all([first], 1e9)
        (last,) = reaper(one).pids()
        assert b"(pid %d)" % last in sink.published

    with_consoles(test)


def test_tool_is_known_while_its_session_is_open(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, _sink = await opened(console, OPEN)
        (pid,) = one.programs()
        assert reaper(one).is_running(pid)
        one.stop()
        assert one.programs() == ()

    with_consoles(test)


def test_tool_is_known_while_it_logs_in(shells: None) -> None:
    """A reload waits for it before the same BMC is asked by another."""

    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("exec cat", "Session", "pw"))
        assert one.programs() == ()
        await sink.until(lambda: sink.announced != [])
        (pid,) = one.programs()
        assert reaper(one).is_running(pid)
        one.stop()
        assert await reaper(one).wait_all([pid], 1e9) == []
        assert one.programs() == ()

    with_consoles(test)


@pytest.mark.parametrize("turns", range(12))
def test_console_that_is_stopped_in_whatever_moment_of_a_login_stays_down(turns: int, shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console("echo open; exec cat", "Session", "pw"))
        await sink.until(lambda: sink.announced != [])
        (pid,) = one.programs()
        for _turn in range(turns):
            await loop.run_in_executor(None, os.sched_yield)
        one.stop()
        said = len(sink.announced)
        assert await reaper(one).wait_all([pid], 1e9) == []
        assert one.programs() == () and one.state is State.DOWN
        assert len(sink.announced) == said and not loop.timers()

    with_consoles(test)


def test_break_in_a_line_waits_until_the_keys_before_it_are_read(shells: None, tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        os.mkfifo(tmp_path / "go")
        one, sink = await opened(console, f"echo open; read word <{tmp_path}/go; echo read; exec cat", "Guarded")
        one.send(b"abc")
        one.send_break()
        one.send(b"x")
        one.send_break()
        await loop.advance(2 * LOOK_SECONDS)
        with open(tmp_path / "go", "w") as go:
            go.write("go\n")
        # A tool that is quick has read the next piece before the second of two looks, which then sends on.
        await sink.until(lambda: sink.published.startswith(b"read\nabc\r"))
        await loop.advance(2 * LOOK_SECONDS)
        await sink.until(lambda: sink.published.startswith(b"read\nabc\r&Bx\r"))
        await loop.advance(2 * LOOK_SECONDS)
        await sink.until(lambda: sink.published == b"read\nabc\r&Bx\r&B")

    with_consoles(test)


@pytest.mark.parametrize("more", [b"", b"y" * (MAX_UNSENT_BYTES + 1)])
def test_break_does_not_wait_for_ever(shells: None, more: bytes, tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        os.mkfifo(tmp_path / "go")
        one, sink = await opened(console, f"echo open; read word <{tmp_path}/go; exec cat", "Guarded")
        one.send(b"abc")
        one.send_break()
        if more:  # too much to be kept behind it
            one.send(more)
            await loop.advance(2 * LOOK_SECONDS)
        else:
            await loop.advance(BREAK_SECONDS + LOOK_SECONDS)
        with open(tmp_path / "go", "w") as go:
            go.write("go\n")
        await sink.until(lambda: sink.published == b"abc\r&B" + more)

    with_consoles(test)


def test_typed_ampersand_and_b_are_no_break(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, OPEN, "Guarded")
        one.send(b"&Bx&B\r&.")
        await sink.until(lambda: sink.published == b"&&Bx&B\r&&.")

    with_consoles(test)


def test_session_with_a_prompt_of_its_own_hides_and_answers_it(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, "stty raw -echo; echo open; exec cat", "HpLo100/terminal")
        for attended in (False, True):
            one.set_attended(attended)
            sink.published = b""
            one.send(b"one/./-> ")
            await sink.until(lambda: sink.published == b"one")
            await loop.advance(1)  # nothing follows the prompt: it is answered, which the tool echoes here
            await sink.until(lambda: sink.published == b"one\x1bQ\r")

    with_consoles(test)


def test_stolen_console_ends(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, OPEN, "SunIlom")
        one.send(b"x\r\n-> ")
        await sink.until(lambda: sink.published == b"x")
        await loop.advance(1)
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b"x" + STOLEN
        assert one.state is State.DOWN

    with_consoles(test)


def test_paste_that_the_session_paces_holds_its_writers_back(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, OPEN, "UnguardedIpmiconsole")
        one.send(b"a" * (MAX_UNSENT_BYTES + 4097))
        assert sink.flow == ["congested"]
        one.send(b"b" * MAX_UNSENT_BYTES)  # of a broadcast, which goes on
        assert sink.reported == [(LogLevel.NOTICE, f'Overwrote {MAX_UNSENT_BYTES + 1} bytes for "s"')]
        await loop.advance(40)
        assert sink.flow == ["congested", "relieved"]
        one.send(b"c" * MAX_UNSENT_BYTES)
        one.stop()
        assert sink.flow == ["congested", "relieved"] * 2

    with_consoles(test)


def test_telnet_session_speaks_telnet(tmp_path: Path) -> None:
    def answer(line: bytes) -> Optional[bytes]:
        return {b"admin": b"\r\npassword: ", b"pw": b"\r\nnode> "}.get(line, b"\r\n")

    path = tmp_path / "exec.conf"
    path.write_text("[cyclades_telnet]\nsettle = 0\n")

    async def test(loop: ManualLoop, console: Made) -> None:
        with TelnetDevice(answer, b"login: ") as device:
            words = ("-c", str(path), device.host, str(device.port), "admin", "pw")
            one, sink = started(console(*words, name="cyclades_telnet"))
            await sink.until(lambda: sink.published.endswith(b"\r\nnode> "))
            assert sink.announced == ['Console [s] connected to "sh_exp.py"']
            assert sink.published.startswith(b"Connection established via telnet.\r\n")
            one.send(b"\xffab\r")
            one.send_break()
            await loop.run_in_executor(None, device.wait_for, b"\xffab\r<BREAK>")
            device.send(b"\xff\xfd\x63x\xff\xffy")  # DO an option that nobody knows
            await sink.until(lambda: sink.published.endswith(b"x\xffy"))
            device.hang_up()
            await sink.until(lambda: len(sink.announced) == 2)
            assert sink.announced[1].startswith('Console [s] disconnected from "sh_exp.py" after ')

    with_consoles(test)


@pytest.mark.parametrize("text", [OPEN, "exec cat"])
@pytest.mark.parametrize("kind", ["Session", "Session/terminal"])
def test_stop_ends_the_tool_by_the_end_of_its_input(shells: None, text: str, kind: str) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = started(console(text, kind, "pw"))
        await sink.until(established(sink) if text == OPEN else lambda: bool(sink.announced))
        children = reaper(one)
        pids = children.pids()
        one.stop()
        await children.wait_all(pids, 1e9)
        while children.pids():
            await children.wait_all(pids, 1e9)
        assert len(sink.announced) == 1
        assert one.state is State.DOWN and one.retry_seconds is None

    with_consoles(test)


def test_stop_lets_a_tool_say_farewell_before_its_terminal_goes(shells: None, tmp_path: Path) -> None:
    text = f"stty raw -echo; echo open; dd bs=1 count=2 >{tmp_path}/said 2>/dev/null"

    async def test(loop: ManualLoop, console: Made) -> None:
        one, _ = await opened(console, text, "UnguardedIpmiconsole/terminal")
        children = reaper(one)
        one.stop()
        while children.pids():
            await children.wait_all(children.pids(), 1e9)
        assert (tmp_path / "said").read_bytes() == b"&."

    with_consoles(test)


def test_tool_that_takes_no_more_is_a_lost_session(shells: None) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        one, sink = await opened(console, "echo open; exec sleep 1000")
        (pid,) = reaper(one).pids()
        one._stop_reading()  # so that the end is met when writing
        os.kill(pid, signal.SIGKILL)
        while reaper(one).pids():
            await reaper(one).wait_all([pid], 1e9)
        one._start_reading()
        one.send(b"x")
        assert len(sink.announced) == 2
        assert one.state is State.DOWN

    with_consoles(test)


def test_only_so_many_log_in_at_once_and_those_with_a_client_first(shells: None, tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Made) -> None:
        os.mkfifo(tmp_path / "go")
        slow = started(console(f"read word <{tmp_path}/go; {OPEN}", "Session", "pw"))
        await slow[1].until(lambda: bool(slow[1].announced))
        others = [started(console(OPEN, "Session", "pw")) for _ in range(3)]
        order: List[int] = []
        for number, (_, sink) in enumerate(others):
            sink.publish = lambda data, number=number: order.append(number)  # type: ignore[method-assign,misc]
        await loop.advance(0)
        assert all(one.state is State.PENDING for one, _ in others)
        assert others[2][0].client_attached() == 'Console [s] is currently disconnected from "sh_exp.py"'
        others[2][0].retry_now()
        others[1][0].stop()
        with open(tmp_path / "go", "w") as go:
            go.write("go\n")
        for number in (2, 0):
            await others[number][1].until(lambda number=number: bool(others[number][1].announced))  # type: ignore[misc]
        while len(order) < 2:
            await loop.advance(0)
        assert order == [2, 0]
        assert not others[1][1].announced

    with_consoles(test, at_once=1)


def test_delays_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "JITTER", 0.1)
    delays: List[Any] = []

    async def test(loop: ManualLoop, console: Made) -> None:
        for _ in range(3):
            one, sink = started(console("bmc1", name="ipmitool"))
            await sink.until(lambda sink=sink: len(sink.announced) == 2)  # type: ignore[misc]
            delays.append(one.retry_seconds)

    with_consoles(test)
    assert len(set(delays)) == 3 and all(60 <= delay <= 66 for delay in delays)


def test_password_is_not_shown() -> None:
    assert "t0psecret" not in repr(ScriptDevice(("/x/ssh_exp.py", "h", "22", "me", "t0psecret"), script="ssh"))
