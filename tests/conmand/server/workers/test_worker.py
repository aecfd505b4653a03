"""A worker, played in this process: the test is the front, at the other end of the channel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Coroutine, List, Optional, Tuple

import pytest

from conman.protocol import Request, RequestCommand
from conmand.config.changes import ConsoleChanges
from conmand.config.model import ConsoleSettings, LogLevel, ProcessDevice, ServerSettings, TestDevice, TestOptions
from conmand.config.settings import DaemonSettings
from conmand.server.handshake import Asked, Peer
from conmand.server.logs.files import LogFiles
from conmand.server.resolver import PeerName
from conmand.server.site import Site, SiteOptions
from conmand.server.workers import messages as m
from conmand.server.workers.channel import CROWDED_BYTES, Channel
from conmand.server.workers.worker import ForwardingLog, Worker
from tests.fakes.loops import ManualLoop, run

PEER = Peer(PeerName("h", "h.example"), "192.0.2.1", 9)
DEFAULTS = ServerSettings()
PERSON = m.Person("b", "h", "h.example", 9, None, force=False)


def console(name: str, log: Optional[str] = None) -> ConsoleSettings:
    return ConsoleSettings(name, TestDevice(TestOptions(burst_bytes=0)), log)


class Front:
    def __init__(self, loop: ManualLoop) -> None:
        ours, theirs = socket.socketpair()
        self.heard: List[Any] = []
        self._arrived = asyncio.Event()
        self._questions = 0
        self.channel = Channel(ours, loop, self._received, lambda: None)
        self.channel.start()
        self.working = loop.create_task(Worker(theirs, loop).run())

    def _received(self, message: Any, fd: Any) -> None:
        assert fd is None
        self.heard.append(message)
        self._arrived.set()

    async def until(self, kind: type) -> Any:
        """The next message of that kind; those before it are passed over, those of the log apart."""
        while True:
            while self.heard:
                message = self.heard.pop(0)
                if type(message) is kind:
                    return message
            self._arrived.clear()
            await self._arrived.wait()

    async def set_up(self, *names: str, server: ServerSettings = DEFAULTS) -> None:
        options = SiteOptions(foreground=True, truncate_logs=False, pid=1)
        self.channel.send(m.Setup(1, server, tuple(map(console, names)), options))
        await self.until(m.Ready)

    async def ask(self, question: object) -> Any:
        self._questions += 1
        self.channel.send(m.Request(self._questions, question))
        answer = await self.until(m.Answer)
        assert answer.number == self._questions
        return answer.value

    def begin(self, session: int, *names: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        asked = Asked(Request(RequestCommand.CONNECT, names), b"")
        self.channel.send(m.Begin(session, "u", None, PEER, asked, names), theirs.fileno())
        theirs.close()
        ours.setblocking(False)
        return ours


def play(test: Callable[[Front, ManualLoop], Coroutine[Any, Any, None]]) -> None:
    """Play ``test(front, loop)`` with a worker, which ends when its front does."""

    async def whole(loop: ManualLoop) -> None:
        front = Front(loop)
        try:
            await test(front, loop)
        finally:
            front.channel.close()
            await front.working
            loop.remove_signal_handler(signal.SIGCHLD)

    run(whole)


async def receive(loop: ManualLoop, sock: socket.socket, marker: bytes) -> bytes:
    data = b""
    while marker not in data:
        part = await loop.sock_recv(sock, 65536)
        assert part, data
        data += part
    return data


def test_it_serves_the_session_whose_socket_it_is_handed_and_says_when_it_is_over() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        with front.begin(5, "a") as client:
            assert await front.until(m.Begun) == m.Begun(5)
            assert await receive(loop, client, b"\n") == b"OK CONSOLE='a'\n"
            client.shutdown(socket.SHUT_WR)
            assert await front.until(m.Ended) == m.Ended(5)

    play(test)


def test_a_session_that_it_refuses_is_over_too() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        with front.begin(1, "a") as first, front.begin(2, "a") as second:
            await front.until(m.Begun)
            refusal = await receive(loop, second, b"Console [a] open R/W by <u@h> (idle 0s).\n")
            assert refusal.startswith(b"ERROR CODE=7 MESSAGE='Found console already in use'")
            second.shutdown(socket.SHUT_WR)
            assert await front.until(m.Ended) == m.Ended(2)
            assert first.fileno() >= 0

    play(test)


def test_its_log_lines_go_to_the_front() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        with front.begin(1, "a"):
            line = await front.until(m.LogLine)
            assert line == m.LogLine(LogLevel.INFO, "Client <u@h.example:9> connected to [a]")

    play(test)


def test_it_answers_questions() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a", "b")
        described = await front.ask(m.Describe(("b", "unknown")))
        assert list(described) == ["b"] and described["b"].startswith(b'{"console": "b"')
        assert await front.ask(m.WhoWrites(("a", "unknown"))) == {}
        assert await front.ask(m.Reopen()) is None
        change = ConsoleChanges(added=(console("c"),), removed=("a",))
        assert await front.ask(m.Apply(ServerSettings(), change, DaemonSettings())) is None
        assert list(await front.ask(m.Describe(("a", "b", "c")))) == ["b", "c"]

    play(test)


def test_in_a_change_of_several_workers_it_waits_for_the_others() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        program = ConsoleSettings("p", ProcessDevice(("/bin/cat",)))
        change = ConsoleChanges(added=(console("c"), program))
        assert await front.ask(m.Apply(DEFAULTS, change, DaemonSettings(), 7)) is None

        async def are_up() -> List[bool]:
            described = await front.ask(m.Describe(("c", "p")))
            return [b'"state": "up"' in described[name] for name in ("c", "p")]

        assert await are_up() == [False, False]
        front.channel.send(m.AllClosed(7))
        assert await front.ask(m.ProgramsEnded(7)) is None
        assert await are_up() == [True, False]
        front.channel.send(m.AllEnded(7))
        while await are_up() != [True, True]:
            pass
        # As if it had taken the place of another worker meanwhile.
        front.channel.send(m.AllClosed(8))
        assert await front.ask(m.ProgramsEnded(8)) is None
        front.channel.send(m.AllEnded(8))
        assert await are_up() == [True, True]

    play(test)


def test_a_change_that_fails_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")

        def fail(*_arguments: object) -> None:
            raise ValueError("a mistake")

        with monkeypatch.context() as patch:
            patch.setattr(Site, "_change", fail)
            front.channel.send(m.Request(99, m.Apply(DEFAULTS, ConsoleChanges(removed=("a",)), DaemonSettings(), 7)))
            assert await front.until(m.Failed) == m.Failed(99)
        assert await front.ask(m.ProgramsEnded(7)) is None
        change = ConsoleChanges(added=(console("c", log="/dev/full/no"),))
        with monkeypatch.context() as patch:
            patch.setattr(LogFiles, "reopen", fail)
            assert await front.ask(m.Apply(DEFAULTS, change, DaemonSettings(), 8)) is None
            front.channel.send(m.AllClosed(8))
            assert await front.ask(m.ProgramsEnded(8)) is None
        front.channel.send(m.AllEnded(8))
        assert await front.ask(m.Apply(DEFAULTS, ConsoleChanges(removed=("c",)), DaemonSettings())) is None

    play(test)


def test_a_client_brings_nothing_up_before_the_others_have_closed() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        change = ConsoleChanges(added=(console("c"),))
        assert await front.ask(m.Apply(DEFAULTS, change, DaemonSettings(), 7)) is None
        with front.begin(1, "c") as client:
            await front.until(m.Begun)
            await receive(loop, client, b"Console [c] is currently disconnected")
            assert b'"state": "down"' in (await front.ask(m.Describe(("c",))))["c"]
            front.channel.send(m.AllClosed(7))
            front.channel.send(m.AllEnded(7))
            while b'"state": "up"' not in (await front.ask(m.Describe(("c",))))["c"]:
                pass

    play(test)


def test_the_client_of_a_broadcast_is_a_writer_like_others() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a", "b")
        attached = await front.ask(m.Attach(3, PERSON, ("a", "b"), exclusive=True))
        assert attached == m.Attached({"a": [], "b": []}, {"a": [], "b": []})
        busy = await front.ask(m.WhoWrites(("a", "b")))
        assert busy == {name: [f"Console [{name}] open B/C by <b@h> (idle 0s)."] for name in "ab"}
        assert await front.ask(m.Attach(4, PERSON, ("a",), exclusive=True)) == {"a": busy["a"]}
        front.channel.send(m.Type(3, b"x", loop.time()))
        await loop.advance(60)
        front.channel.send(m.Touch(3, loop.time() - 2))
        assert "(idle 2s)" in (await front.ask(m.WhoWrites(("a",))))["a"][0]
        front.channel.send(m.Break(3))
        front.channel.send(m.Reset(3))
        front.channel.send(m.Detach(3))
        assert await front.ask(m.WhoWrites(("a", "b"))) == {}
        for late in (m.Type(3, b"x", 0), m.Touch(3, 0), m.Break(3), m.Reset(3), m.Detach(3)):
            front.channel.send(late)
        front.channel.send(m.Ping(1))
        assert await front.until(m.Ping) == m.Ping(1)

    play(test)


def test_the_front_hears_which_reset_commands_run() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a", server=ServerSettings(resetcmd="true"))
        await front.ask(m.Attach(3, PERSON, ("a",), exclusive=True))
        front.channel.send(m.Reset(3))
        (pid,) = (await front.until(m.Resets)).pids
        assert pid > 1
        assert await front.until(m.Resets) == m.Resets(())

    play(test)


def test_it_stops_when_it_is_told_to() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        with front.begin(1, "a") as client:
            await front.until(m.Begun)
            front.channel.send(m.Stop())
            await front.working
            assert (await receive(loop, client, b"\n")).startswith(b"OK")

    play(test)


def test_it_ends_though_it_was_never_told_what_to_serve() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        front.channel.send(m.Stop())
        await front.working

    play(test)


def test_a_question_that_it_cannot_answer_is_answered_all_the_same() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        front.channel.send(m.Request(1, "nonsense"))
        assert await front.until(m.Failed) == m.Failed(1)
        while "Internal error: a task failed" not in (await front.until(m.LogLine)).text:
            pass
        front.channel.send("nonsense")
        front.channel.send(m.Ping(1))
        while "Internal error: a message was not understood" not in (await front.until(m.LogLine)).text:
            pass
        assert await front.until(m.Ping) == m.Ping(1)

    play(test)


def test_its_last_words_go_to_the_daemons_new_log() -> None:
    async def test(front: Front, loop: ManualLoop) -> None:
        await front.set_up("a")
        kept = os.dup(2)
        try:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "log"
                with path.open("wb") as log:
                    front.channel.send(m.NewStderr(), log.fileno())
                front.channel.send(m.Ping(1))
                await front.until(m.Ping)
                os.write(2, b"last words")
                assert path.read_bytes() == b"last words"
        finally:
            os.dup2(kept, 2)
            os.close(kept)

    play(test)


def test_a_front_that_takes_nothing_costs_log_lines_and_hears_how_many() -> None:
    async def test(loop: ManualLoop) -> None:
        ends: Tuple[socket.socket, socket.socket] = socket.socketpair()
        ours, theirs = (Channel(end, loop, lambda message, fd: heard.append(message), lambda: None) for end in ends)
        heard: List[Any] = []
        log = ForwardingLog(theirs)
        while not theirs.is_crowded:
            theirs.send(bytes(CROWDED_BYTES // 4))
        log.info("lost")
        log.error("lost too")
        ours.start()
        while theirs.unsent_bytes:
            await asyncio.sleep(0)
        log.info("heard")
        while m.LogLine(LogLevel.INFO, "heard") not in heard:
            await asyncio.sleep(0)
        assert heard[-2] == m.LogLine(
            LogLevel.WARNING, "Lost 2 lines of worker 0 here: the daemon did not take them in time"
        )
        ours.close()
        theirs.close()

    run(test)
