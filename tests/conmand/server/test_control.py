"""Asking a daemon for a reload: real sockets, and only between those who may."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import AsyncIterator, Awaitable, Callable, List, Optional, Tuple

import pytest

from conmand.server import control
from conmand.server.control import (
    PAUSE_SECONDS,
    REQUEST,
    REQUEST_SECONDS,
    ControlSocket,
    Outcome,
    address_of,
    request_reload,
)
from tests.fakes.loops import ManualLoop, run, settle


@asynccontextmanager
async def listening(loop: ManualLoop, reload: Callable[[], Awaitable[Outcome]]) -> AsyncIterator[ControlSocket]:
    sock = ControlSocket(loop, reload)
    assert sock.start() is None
    try:
        yield sock
    finally:
        await sock.stop()


@pytest.mark.parametrize("outcome", [Outcome(True, ()), Outcome(False, ("one \udcff", "two " * 100_000))])
def test_the_outcome_reaches_whoever_asks(outcome: Outcome) -> None:
    async def reload() -> Outcome:
        return outcome

    async def test(loop: ManualLoop) -> None:
        async with listening(loop, reload):
            for _ in range(2):
                assert await loop.run_in_executor(None, request_reload, os.getpid()) == outcome

    run(test)


def test_several_may_ask_at_once() -> None:
    async def test(loop: ManualLoop) -> None:
        release = loop.create_future()

        async def reload() -> Outcome:
            await release
            return Outcome(True, ("done",))

        async with listening(loop, reload) as sock:
            asking = [loop.run_in_executor(None, request_reload, os.getpid()) for _ in range(3)]
            while len(sock._tasks) < 3:
                await loop.run_in_executor(None, os.sched_yield)
            release.set_result(None)
            assert await asyncio.gather(*asking) == [Outcome(True, ("done",))] * 3

    run(test)


def test_a_daemon_that_does_not_listen_cannot_be_asked() -> None:
    assert request_reload(2**22 + 1) is None


async def no_reload() -> Outcome:
    raise AssertionError("nobody may ask for this")


def test_other_users_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        async with listening(loop, no_reload):
            real = control.peer
            monkeypatch.setattr(control, "peer", lambda sock: (real(sock)[0], 4711))
            assert await loop.run_in_executor(None, request_reload, os.getpid()) is None

    run(test)


def test_a_name_that_somebody_else_has_taken_is_not_believed() -> None:
    """The pid is that of a process which is no daemon; this one has its name."""
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
        socket.socket(socket.AF_UNIX) as impostor,
    ):
        impostor.bind(address_of(child.pid))
        impostor.listen()
        assert request_reload(child.pid) is None


def test_a_name_that_is_taken_is_told_and_the_daemon_runs_without() -> None:
    async def test(loop: ManualLoop) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(address_of(os.getpid()))
            sock = ControlSocket(loop, no_reload)
            assert sock.start() == "Address already in use"
            await sock.stop()

    run(test)


@pytest.mark.parametrize("words", [b"", b"RESET!\n", b"REL"])
def test_other_requests_are_not_answered(words: bytes) -> None:
    async def test(loop: ManualLoop) -> None:
        async with listening(loop, no_reload):
            with connected(loop) as asker:
                asker.send(words)
                asker.shutdown(socket.SHUT_WR)
                assert await loop.sock_recv(asker, 100) == b""

    run(test)


def connected(loop: ManualLoop, pid: Optional[int] = None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address_of(pid or os.getpid()))
    sock.setblocking(False)
    return sock


def test_an_asker_that_says_nothing_or_goes_away_costs_nothing() -> None:
    async def test(loop: ManualLoop) -> None:
        asked: List[None] = []

        async def reload() -> Outcome:
            asked.append(None)
            return Outcome(True, ("x" * 1_000_000,))

        async with listening(loop, reload) as sock:
            silent, gone = connected(loop), connected(loop)
            gone.send(REQUEST)
            gone.close()
            await settle()
            assert len(asked) == 1
            await loop.advance(REQUEST_SECONDS)
            with silent:
                assert await loop.sock_recv(silent, 100) == b""
            assert not sock._tasks

    run(test)


def test_a_stop_in_the_middle_leaves_the_asker_without_an_answer() -> None:
    async def test(loop: ManualLoop) -> None:
        begun = asyncio.Event()

        async def reload() -> Outcome:
            begun.set()
            await loop.create_future()
            raise AssertionError("cancelled before")

        async with listening(loop, reload) as sock:
            asking = loop.run_in_executor(None, request_reload, os.getpid())
            await begun.wait()
            await sock.stop()
            assert await asking is None

    run(test)


def test_without_a_free_descriptor_whoever_asks_waits_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reload() -> Outcome:
        return Outcome(True, ())

    class Exhausted(socket.socket):
        attempts = 0

        def accept(self) -> Tuple[socket.socket, object]:
            type(self).attempts += 1
            if self.attempts < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def test(loop: ManualLoop) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("conmand.server.control.socket.socket", Exhausted)
            sock = ControlSocket(loop, reload)
            assert sock.start() is None
        asking = loop.run_in_executor(None, request_reload, os.getpid())
        for attempt in (1, 2):
            while Exhausted.attempts < attempt:
                await loop.run_in_executor(None, os.sched_yield)
            await settle(20)
            assert Exhausted.attempts == attempt
            await loop.advance(PAUSE_SECONDS)
        assert await asking == Outcome(True, ())
        await sock.stop()

    run(test)
