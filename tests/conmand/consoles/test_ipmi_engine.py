"""Sessions for the event loop, over a pretended library that settles from a thread, as the real one does."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
from typing import Callable, Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import IpmiOptions
from conmand.consoles import ipmi_engine
from conmand.consoles.ipmi_engine import (
    ConnectFailed,
    EngineUnavailable,
    NoContext,
    SolEngine,
    join_host,
    split_host,
)
from conmand.consoles.libipmiconsole import Library, LibraryError, Status
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeResolver

OPTIONS = IpmiOptions(username=b"admin")


class FakeContext:
    def __init__(self, library: FakeLibrary, address: str) -> None:
        self.library = library
        self.address = address
        self.reason = "success"
        self.result = Status.SUBMITTED
        self.settled: Optional[Callable[[], None]] = None
        self.is_destroyed = False
        self.breaks = 0

    def submit(self, settled: Callable[[], None]) -> None:
        if self.library.submit_failure:
            self.reason = self.library.submit_failure
            raise LibraryError(self.reason)
        self.settled = settled
        ours, self.bmc = socket.socketpair()
        self._fd = ours.detach()

    def settle(self, result: Status, reason: str = "success") -> None:
        self.result, self.reason = result, reason
        assert self.settled is not None
        thread = threading.Thread(target=self.settled)
        thread.start()
        thread.join()

    def fd(self) -> int:
        return self._fd

    def status(self) -> Status:
        return self.result

    def error_text(self) -> str:
        return self.reason

    def generate_break(self) -> bool:
        self.breaks += 1
        return True

    def destroy(self) -> None:
        assert not self.is_destroyed
        self.is_destroyed = True
        if self.settled is not None:
            self.bmc.close()


class FakeLibrary(Library):
    def __init__(self) -> None:
        self.contexts: List[FakeContext] = []
        self.submit_failure = ""
        self.context_failure = ""
        self.threads = 0
        self.may_stop = threading.Event()
        self.may_stop.set()
        self.contexts_at_wakes: List[int] = []

    def wake_engine(self) -> None:
        self.contexts_at_wakes.append(len(self.contexts))

    def start_engine(self, threads: int) -> None:
        self.threads = threads

    def stop_engine(self) -> None:
        self.may_stop.wait(20)

    def context(  # type: ignore[override]
        self, address: str, options: IpmiOptions, protocol_milliseconds: Optional[Dict[str, int]] = None
    ) -> FakeContext:
        if self.context_failure:
            raise LibraryError(self.context_failure)
        self.contexts.append(FakeContext(self, address))
        return self.contexts[-1]


def engine_of(loop: ManualLoop, library: FakeLibrary, resolver: Optional[FakeResolver] = None) -> SolEngine:
    return SolEngine(loop, resolver or FakeResolver(), library)


async def failure_of(attempt: asyncio.Task[ipmi_engine.SolSession]) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        await attempt
    return caught.value


def test_a_session_is_established_from_another_thread() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await settle()
        (context,) = library.contexts
        assert context.address == "127.0.0.9"
        context.settle(Status.ESTABLISHED)
        session = await attempt
        assert not os.get_blocking(session.fd)
        assert session.send_break()
        assert context.breaks == 1
        assert session.close() is None
        assert context.is_destroyed
        with pytest.raises(OSError):
            os.fstat(session.fd)

    run(test)


def test_a_session_that_ended_tells_why_when_it_is_closed() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await settle()
        library.contexts[0].settle(Status.ESTABLISHED)
        session = await attempt
        library.contexts[0].reason = "session timeout"
        assert session.close() == "session timeout"

    run(test)


def test_a_refusal_is_told_in_the_librarys_words() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await settle()
        library.contexts[0].settle(Status.FAILED, "password invalid")
        assert str(await failure_of(attempt)) == "password invalid"
        assert library.contexts[0].is_destroyed

    run(test)


def test_what_the_library_refuses_at_once_is_told_too() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        library.submit_failure = "out of memory"
        refused = await failure_of(loop.create_task(engine.connect("127.0.0.9", OPTIONS)))
        assert str(refused) == "out of memory"
        assert library.contexts[0].is_destroyed
        library.context_failure = "Too many open files"
        full = await failure_of(loop.create_task(engine.connect("127.0.0.9", OPTIONS)))
        assert isinstance(full, NoContext)
        assert str(full) == "Too many open files"

    run(test)


def test_a_library_that_never_answers_is_given_up_after_300_seconds() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await loop.advance(299)
        assert not attempt.done()
        await loop.advance(1)
        assert str(await failure_of(attempt)) == "libipmiconsole gave no answer for 300 s"
        assert library.contexts[0].is_destroyed
        library.contexts[0].settle(Status.ESTABLISHED)  # too late, and to nobody's harm
        await settle()

    run(test)


def test_an_attempt_that_is_given_up_leaves_nothing() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await settle()
        attempt.cancel()
        await settle()
        assert attempt.cancelled()
        assert library.contexts[0].is_destroyed
        assert loop.timers() == []

    run(test)


def test_names_are_looked_up_before_the_library_sees_them() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        resolver = FakeResolver([(socket.AF_INET6, ("::1", 1623, 0, 0))])
        attempt = loop.create_task(engine_of(loop, library, resolver).connect("bmc1:1623", OPTIONS))
        await settle()
        assert resolver.asked == [("bmc1", 1623)]
        assert library.contexts[0].address == "[::1]:1623"
        attempt.cancel()
        await settle()

    run(test)


@pytest.mark.parametrize("answer", [socket.gaierror(socket.EAI_NONAME, "unknown"), []])
def test_an_unknown_name_has_the_librarys_words_and_never_reaches_it(answer: object) -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        resolver = FakeResolver(answer)  # type: ignore[arg-type]
        attempt = loop.create_task(engine_of(loop, library, resolver).connect("nobody", OPTIONS))
        assert str(await failure_of(attempt)) == "hostname invalid"
        assert library.contexts == []

    run(test)


def test_few_sessions_are_opened_at_a_time_and_slow_ones_stand_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING", 3)
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING_QUICKLY", 3)

    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        attempts = [loop.create_task(engine.connect(f"127.0.0.{number}", OPTIONS)) for number in range(1, 13)]
        await settle()
        assert len(library.contexts) == 3
        library.contexts[1].settle(Status.FAILED, "BMC busy")
        await settle()
        assert len(library.contexts) == 4
        attempts[4].cancel()  # waits for its turn; the next one is not held up by it
        await loop.advance(0.5)
        assert len(library.contexts) == 7
        assert [context.address[-2:] for context in library.contexts[4:]] == [".6", ".7", ".8"]
        await loop.advance(0.5)
        assert len(library.contexts) == 10
        await loop.advance(0.5)
        assert len(library.contexts) == 11
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        assert loop.timers() == []

    run(test)


def test_who_is_in_a_hurry_comes_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING", 1)

    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        turns = [engine.turn() for _ in range(3)]
        attempts = [
            loop.create_task(engine.connect(f"127.0.0.{number}", OPTIONS, turn)) for number, turn in enumerate(turns, 1)
        ]
        await settle()
        turns[2].hurry()
        library.contexts[0].settle(Status.FAILED, "BMC busy")
        await settle()
        assert library.contexts[1].address == "127.0.0.3"
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)

    run(test)


def test_more_are_opened_at_a_time_while_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING", 2)
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING_QUICKLY", 4)

    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        attempts = [loop.create_task(engine.connect(f"127.0.0.{number}", OPTIONS)) for number in range(1, 30)]
        begun = library.contexts
        await settle()
        assert len(begun) == 2
        # Each quick one makes room for another, up to four at a time.
        for ended, expected in enumerate([4, 6, 7, 8]):
            begun[ended].settle(Status.FAILED, "BMC busy")
            await settle()
            assert len(begun) == expected
        # One that is neither quick nor outlasts its turn changes nothing;
        await loop.advance(0.3)
        begun[4].settle(Status.FAILED, "BMC busy")
        await settle()
        assert len(begun) == 9
        # of those that outlast it, two give back the room that was made, and the third does not.
        await loop.advance(0.2)
        assert len(begun) == 10
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)

    run(test)


def test_the_engine_is_woken_once_when_the_first_sessions_have_been_asked_for() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        attempts = [loop.create_task(engine.connect(f"127.0.0.{number}", OPTIONS)) for number in range(1, 40)]
        await settle()
        attempts.append(loop.create_task(engine.connect("127.0.0.99", OPTIONS)))
        await settle()
        assert len(library.contexts) == 40
        assert library.contexts_at_wakes == [39]
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)

    run(test)


def test_a_turn_that_comes_to_one_who_leaves_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi_engine, "MAX_OPENING", 1)

    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        attempts = [loop.create_task(engine.connect(f"127.0.0.{number}", OPTIONS)) for number in (1, 2, 3)]
        await settle()
        attempts[0].cancel()
        await asyncio.sleep(0)
        attempts[1].cancel()  # at the same moment
        await settle()
        assert library.contexts[-1].address == "127.0.0.3"
        attempts[2].cancel()
        await settle()

    run(test)


@pytest.mark.parametrize("turns", range(6))
def test_an_attempt_that_is_cancelled_in_whatever_moment_leaves_no_session(turns: int) -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        attempt = loop.create_task(engine_of(loop, library).connect("127.0.0.9", OPTIONS))
        await settle()
        (context,) = library.contexts
        context.settle(Status.ESTABLISHED)
        for _turn in range(turns):
            await asyncio.sleep(0)
        if attempt.cancel():
            with pytest.raises(asyncio.CancelledError):
                await attempt
        else:
            attempt.result().close()
        assert context.is_destroyed

    run(test)


def test_stop_gives_up_attempts_and_waits_for_the_sessions() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        engine = engine_of(loop, library)
        attempt = loop.create_task(engine.connect("127.0.0.9", OPTIONS))
        await settle()
        assert await engine.stop()
        assert attempt.cancelled()
        assert library.contexts[0].is_destroyed
        assert await engine.stop()  # nothing is left to stop
        with pytest.raises(EngineUnavailable, match="stopping"):
            await engine.connect("127.0.0.9", OPTIONS)

    run(test)


def test_stop_waits_only_so_long_for_silent_bmcs() -> None:
    async def test(loop: ManualLoop) -> None:
        library = FakeLibrary()
        library.may_stop.clear()
        stopping = loop.create_task(engine_of(loop, library).stop())
        await loop.advance(5)
        assert await stopping is False
        library.may_stop.set()

    run(test)


def test_an_engine_without_a_library_gives_the_reason() -> None:
    async def test(loop: ManualLoop) -> None:
        engine = SolEngine(loop, FakeResolver(), None, problem="cannot load it")
        assert engine.problem == "cannot load it"
        with pytest.raises(EngineUnavailable, match="cannot load it"):
            await engine.connect("127.0.0.9", OPTIONS)
        assert await engine.stop()

    run(test)


@pytest.mark.parametrize(
    "text, host, port",
    [
        ("bmc1", "bmc1", 623),
        ("bmc1:1623", "bmc1", 1623),
        ("10.1.2.3", "10.1.2.3", 623),
        ("10.1.2.3:1623", "10.1.2.3", 1623),
        ("::1", "::1", 623),
        ("[::1]", "::1", 623),
        ("[::1]:1623", "::1", 1623),
        ("fe80::1%eth0", "fe80::1%eth0", 623),
        ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
        ("bmc1:", "bmc1:", 623),
        ("bmc1:0", "bmc1:0", 623),
        ("bmc1:65536", "bmc1:65536", 623),
        ("bmc1:x", "bmc1:x", 623),
        ("[::1", "[::1", 623),
        ("[::1]x", "[::1]x", 623),
        ("[::1]99", "[::1]99", 623),
        ("[::1]:", "[::1]:", 623),
        ("a:b:1", "a:b:1", 623),
    ],
)
def test_a_host_may_have_a_port_and_brackets(text: str, host: str, port: int) -> None:
    assert split_host(text) == (host, port)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_what_the_library_gets_means_the_same_address(address: ipaddress.IPv6Address, port: int) -> None:
    joined = join_host(str(address), port)
    assert split_host(joined) == (str(address), port)
    assert ("[" in joined) == (port != 623 and address.version == 6)


@given(st.text())
def test_any_text_is_some_host(text: str) -> None:
    host, port = split_host(text)
    assert 0 < port < 65536
    assert host in text
