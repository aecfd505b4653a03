"""IPMI consoles over a pretended engine: when they connect, what they say, when they try again."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import List, Optional, Tuple

import pytest

from conmand.config.model import ConsoleSettings, IpmiDevice, IpmiOptions, LogLevel
from conmand.consoles import ipmi
from conmand.consoles.base import State
from conmand.consoles.ipmi import BURST_BYTES, BYTES_PER_SECOND, IpmiConsole
from conmand.consoles.ipmi_engine import ConnectFailed, EngineUnavailable, NoContext
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink

OPTIONS = IpmiOptions(username=b"admin", password=b"secret")
UP = "Console [n1] connected to <bmc1>"
DOWN = "Console [n1] disconnected from <bmc1>"
REFUSED = "Unable to connect to <bmc1> via IPMI for [n1]"


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "JITTER", 0.0)


class FakeSession:
    """A socket pair; ``bmc`` is the far end."""

    def __init__(self) -> None:
        ours, self.bmc = socket.socketpair()
        ours.setblocking(False)
        self.fd = ours.detach()
        self.end_reason: Optional[str] = None
        self.takes_breaks = True
        self.breaks = 0
        self.is_closed = False

    def send_break(self) -> bool:
        self.breaks += 1
        return self.takes_breaks

    def close(self) -> Optional[str]:
        os.close(self.fd)
        self.is_closed = True
        self.bmc.close()
        return self.end_reason

    def end(self, reason: str) -> None:
        self.end_reason = reason
        self.bmc.close()


class FakeTurn:
    hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class FakeEngine:
    """``answers`` are given in turn: a failure is raised, ``None`` is a session; without one the caller waits."""

    def __init__(self, *answers: Optional[ConnectFailed]) -> None:
        self.answers = list(answers)
        self.asked: List[Tuple[str, IpmiOptions]] = []
        self.sessions: List[FakeSession] = []
        self.turns: List[FakeTurn] = []
        self.cancelled = 0

    def turn(self) -> FakeTurn:
        self.turns.append(FakeTurn())
        return self.turns[-1]

    async def connect(self, host: str, options: IpmiOptions, turn: FakeTurn) -> FakeSession:
        self.asked.append((host, options))
        if not self.answers:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        self.sessions.append(FakeSession())
        return self.sessions[-1]


def console(loop: ManualLoop, engine: FakeEngine) -> Tuple[IpmiConsole, RecordingSink]:
    sink = RecordingSink()
    services = FakeServices(loop)
    services.ipmi = engine  # type: ignore[assignment]
    return IpmiConsole(ConsoleSettings("n1", IpmiDevice("bmc1", OPTIONS)), sink, services), sink


async def lose(shared: IpmiConsole, sink: RecordingSink, session: FakeSession, reason: str = "session timeout") -> None:
    lost = sink.announced.count(DOWN)
    session.end(reason)
    await sink.until(lambda: sink.announced.count(DOWN) == lost + 1)


def test_it_connects_says_so_and_passes_bytes_both_ways() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None)
        shared, sink = console(loop, engine)
        shared.start()
        assert shared.state is State.PENDING
        await settle()
        assert (sink.announced, sink.levels) == ([UP], [LogLevel.INFO])
        assert engine.asked == [("bmc1", OPTIONS)]
        (session,) = engine.sessions
        session.bmc.sendall(b"boot...\r\n\0\xff")
        await sink.until(lambda: sink.published == b"boot...\r\n\0\xff")
        shared.send(b"root\r\0\xff")
        assert session.bmc.recv(100) == b"root\r\0\xff"
        shared.stop()
        assert session.is_closed
        assert loop.timers() == []

    run(test)


def test_a_break_is_the_sessions_own() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None)
        shared, sink = console(loop, engine)
        shared.send_break()  # down: nothing to break, and nothing is said, as by the original
        shared.start()
        await settle()
        (session,) = engine.sessions
        shared.send_break()
        assert session.breaks == 1
        assert sink.reported == []
        session.takes_breaks = False
        shared.send_break()
        assert sink.reported == [(LogLevel.WARNING, "Unable to send serial-break to console [n1]")]
        shared.stop()

    run(test)


def test_failed_attempts_are_logged_each_and_repeated_at_the_originals_times() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(*[ConnectFailed("password invalid") for _ in range(8)])
        shared, sink = console(loop, engine)
        shared.start()
        delays = []
        for _ in range(8):
            await settle()
            assert shared.state is State.DOWN
            (delay,) = loop.timers()
            delays.append(delay)
            await loop.advance(delay)
        assert delays == [60, 120, 240, 480, 960, 1800, 1800, 1800]
        assert sink.reported == [(LogLevel.INFO, f"{REFUSED}: password invalid")] * 8
        assert sink.announced == []
        shared.stop()
        await settle()
        assert loop.timers() == []

    run(test)


@pytest.mark.parametrize(
    "failure, text",
    [
        (ConnectFailed(""), REFUSED),
        (ConnectFailed("connection timeout"), f"{REFUSED}: connection timeout"),
        (NoContext("Too many open files"), "Unable to create IPMI context for [n1]: Too many open files"),
    ],
)
def test_every_failure_has_its_words(failure: ConnectFailed, text: str) -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop, FakeEngine(failure))
        shared.start()
        await settle()
        assert sink.reported == [(LogLevel.INFO, text)]
        assert loop.timers() == [60]
        shared.stop()

    run(test)


def test_without_the_library_it_says_so_to_everybody_and_does_not_try_again() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop, FakeEngine(EngineUnavailable("no such library"), EngineUnavailable("none")))
        shared.start()
        await settle()
        assert sink.announced == [f"{REFUSED}: no such library"]
        assert loop.timers() == []
        assert shared.client_attached() == "Console [n1] is currently disconnected from <bmc1>"
        shared.retry_now()
        await settle()
        assert sink.announced[1:] == [f"{REFUSED}: none"]
        shared.stop()

    run(test)


def test_a_lost_session_is_opened_again_at_once_and_the_reason_is_logged() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None, None)
        shared, sink = console(loop, engine)
        shared.start()
        await settle()
        await loop.advance(60)
        await lose(shared, sink, engine.sessions[0])
        assert engine.sessions[0].is_closed
        assert sink.reported == [(LogLevel.INFO, "IPMI session with <bmc1> for [n1] ended: session timeout")]
        await loop.advance(0)
        assert sink.announced == [UP, DOWN, UP]
        shared.stop()

    run(test)


def test_a_session_that_ends_without_a_reason_just_ends() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None)
        shared, sink = console(loop, engine)
        shared.start()
        await settle()
        engine.sessions[0].bmc.close()
        await sink.until(lambda: DOWN in sink.announced)
        assert sink.reported == []
        shared.stop()

    run(test)


def test_sessions_that_are_lost_at_once_are_reopened_with_growing_delays() -> None:
    """The original reopens them without any: two daemons that rob each other never stop."""

    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(*[None] * 9)
        shared, sink = console(loop, engine)
        shared.start()
        delays = []
        for number in range(8):
            await settle()
            await lose(shared, sink, engine.sessions[number])
            (delay,) = loop.timers()
            delays.append(delay)
            await loop.advance(delay)
        assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
        await loop.advance(60)
        await lose(shared, sink, engine.sessions[8])
        await loop.advance(0)
        assert shared.state is State.PENDING
        shared.stop()

    run(test)


def test_when_a_lost_session_cannot_be_reopened_the_delays_start_at_60_seconds() -> None:
    async def test(loop: ManualLoop) -> None:
        refused = [ConnectFailed("connection timeout") for _ in range(5)]
        engine = FakeEngine(*refused[:3], None, *refused[3:])
        shared, sink = console(loop, engine)
        shared.start()
        await loop.advance(60 + 120 + 240)
        assert sink.announced == [UP]
        await loop.advance(3600)
        await lose(shared, sink, engine.sessions[0])
        await loop.advance(0)
        assert loop.timers() == [60]
        await loop.advance(60)
        assert loop.timers() == [120]
        shared.stop()

    run(test)


def test_a_client_that_comes_makes_it_try_at_once_and_leaves_the_delays_alone() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(*[ConnectFailed("BMC busy") for _ in range(2)])
        shared, sink = console(loop, engine)
        shared.start()
        await loop.advance(10)
        assert shared.client_attached() == "Console [n1] is currently disconnected from <bmc1>"
        shared.retry_now()
        await settle()
        assert len(sink.reported) == 2
        assert loop.timers() == [120]
        shared.stop()

    run(test)


def test_a_client_that_comes_during_an_attempt_does_not_start_another() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine()
        shared, sink = console(loop, engine)
        shared.start()
        await settle()
        assert shared.client_attached() is not None
        shared.retry_now()
        await settle()
        assert len(engine.asked) == 1
        shared.stop()
        await settle()
        assert engine.cancelled == 1
        assert (sink.announced, sink.reported) == ([], [])

    run(test)


def test_a_console_that_somebody_waits_for_comes_before_others() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine()
        one, _sink = console(loop, engine)
        one.start()
        await settle()
        assert engine.turns[0].hurried == 0
        one.set_attended(True)
        one.retry_now()
        assert engine.turns[0].hurried == 1
        one.stop()
        await settle()
        other, _sink = console(loop, engine)
        other.set_attended(True)
        other.start()
        await settle()
        assert engine.turns[1].hurried == 1
        other.stop()
        await settle()

    run(test)


def test_jitter_only_ever_lengthens_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "JITTER", 0.1)

    async def test(loop: ManualLoop) -> None:
        for _ in range(20):
            shared, _sink = console(loop, FakeEngine(ConnectFailed("")))
            shared.start()
            await settle()
            assert all(60 <= delay <= 66 for delay in loop.timers())
            shared.stop()

    run(test)


def test_a_large_paste_is_sent_as_fast_as_a_slow_line_takes_it() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None)
        one, sink = console(loop, engine)
        one.start()
        await sink.until(lambda: UP in sink.announced)
        bmc = engine.sessions[0].bmc
        bmc.setblocking(False)
        paste = b"".join(b"%05d\n" % number for number in range(2000))
        one.send(paste[:5000])
        one.send(paste[5000:])
        arrived = bmc.recv(65536)
        assert len(arrived) == BURST_BYTES
        for _second in range(9):
            await loop.advance(1)
            if len(arrived) < len(paste):
                arrived += bmc.recv(65536)
            assert len(arrived) <= BURST_BYTES + (loop.time() - 1000) * BYTES_PER_SECOND
        assert arrived == paste
        await loop.advance(10)
        one.send(b"x" * BURST_BYTES)  # there is room again for as much
        assert len(bmc.recv(65536)) == BURST_BYTES
        one.send(b"y")
        one.stop()
        assert loop.timers() == []

    run(test)


def test_a_session_is_not_held_for_a_client_that_is_behind() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = FakeEngine(None)
        one, sink = console(loop, engine)
        one.start()
        await sink.until(lambda: UP in sink.announced)
        one.set_attended(True)
        one.hold_output()
        engine.sessions[0].bmc.send(b"still read")
        await sink.until(lambda: sink.published == b"still read")
        one.release_output()
        one.stop()

    run(test)


def test_secrets_are_not_shown() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop, FakeEngine(ConnectFailed("password invalid")))
        shared.start()
        await settle()
        shown = repr((shared, shared.settings, sink.announced, sink.reported))
        assert "secret" not in shown
        shared.stop()

    run(test)
