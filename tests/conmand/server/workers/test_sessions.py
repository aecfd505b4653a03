"""Sessions with consoles that are in workers: handed over, broadcast to several, told of the end of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any, Callable, Coroutine, Dict, List, Tuple

from conman.protocol import Request, RequestCommand
from conmand.config.model import ConsoleSettings, LogLevel, UnixDevice
from conmand.server.handshake import Asked, Caller, Peer
from conmand.server.resolver import PeerName
from conmand.server.workers import messages as m
from conmand.server.workers.process import WorkerGone
from conmand.server.workers.sessions import RemoteSessions
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.sinks import RecordingLog

LABEL = "u@h.example:9"


class FakeWorker:
    """Keeps what it is sent, and answers as the test says; an answer that is an exception is raised."""

    def __init__(self, *names: str) -> None:
        self.consoles = {name: ConsoleSettings(name, UnixDevice(f"/{name}")) for name in names}
        self.is_ready = True
        self.is_crowded = False
        self.sent: List[Any] = []
        self.descriptors: List[int] = []
        self.asked: List[Any] = []
        self.answers: Dict[type, Any] = {m.WhoWrites: {}, m.Attach: m.Attached({}, {})}

    def settings(self, name: str) -> ConsoleSettings:
        return self.consoles[name]

    async def ready(self) -> None:
        if not self.is_ready:
            raise WorkerGone()

    async def ask(self, question: object) -> Any:
        self.asked.append(question)
        await asyncio.sleep(0)
        answer = self.answers[type(question)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, message: object, fd: int = -1) -> None:
        self.sent.append(message)
        self.descriptors.append(fd)


class Scene:
    """Two workers, of consoles a and c, and of b and d."""

    def __init__(self, loop: ManualLoop) -> None:
        self.loop = loop
        self.log = RecordingLog()
        self.one, self.two = FakeWorker("a", "c"), FakeWorker("b", "d")
        table: Dict[str, Any] = {"a": self.one, "b": self.two, "c": self.one, "d": self.two}
        self.sessions = RemoteSessions(table, self.log, loop, can_reset=False)
        self._sockets: List[socket.socket] = []

    async def begin(self, *names: str, **request: Any) -> Tuple[bool, socket.socket]:
        ours, theirs = socket.socketpair()
        self._sockets += [ours, theirs]
        ours.setblocking(False)
        theirs.setblocking(False)
        peer = Peer(PeerName("h", "h.example"), "192.0.2.1", 9)
        caller = Caller(ours, peer, self.log, self.loop, user="u")
        asked = Asked(Request(RequestCommand.CONNECT, names, broadcast=len(names) > 1, **request), b"")
        begun = asyncio.ensure_future(self.sessions.begin(caller, asked, names))
        await settle(50)
        if not begun.done():
            theirs.shutdown(socket.SHUT_WR)  # it was refused, and has heard so
        taken = await begun
        if not taken:
            ours.close()
        return taken, theirs

    def heard(self, sock: socket.socket) -> bytes:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                part = sock.recv(65536)
                if not part:
                    return data + b"<END>"
                data += part
        return data

    def close(self) -> None:
        self.sessions.stop()
        self.sessions.close()
        for sock in self._sockets:
            sock.close()


def scene(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole(loop: ManualLoop) -> None:
        made = Scene(loop)
        try:
            await test(made)
        finally:
            made.close()

    run(whole)


def test_a_session_with_one_console_is_its_workers() -> None:
    async def test(scene: Scene) -> None:
        taken, _ = await scene.begin("b")
        assert taken
        (begin,) = scene.two.sent
        assert (begin.user, begin.names, begin.asked.request.patterns) == ("u", ("b",), ("b",))
        assert scene.two.descriptors[0] >= 0
        assert not scene.one.sent
        assert len(scene.sessions) == 1
        scene.sessions.said(scene.two, m.Ended(begin.session))  # type: ignore[arg-type]
        assert len(scene.sessions) == 0

    scene(test)


def test_a_broadcast_within_a_worker_is_its_workers() -> None:
    async def test(scene: Scene) -> None:
        await scene.begin("a", "c")
        assert [type(message) for message in scene.one.sent] == [m.Begin]

    scene(test)


def test_a_client_is_told_of_the_end_of_its_worker_and_the_log_too() -> None:
    async def test(scene: Scene) -> None:
        _, client = await scene.begin("a")
        _, other = await scene.begin("b")
        scene.sessions.said(scene.one, m.Begun(scene.one.sent[0].session))  # type: ignore[arg-type]
        scene.sessions.worker_gone(scene.one)  # type: ignore[arg-type]
        assert scene.heard(client) == (
            b"\r\n<ConMan> Console [a] is being restarted after a failure of the daemon -- connect again.\r\n<END>"
        )
        assert scene.heard(other) == b""
        assert scene.log.lines == [(LogLevel.INFO, f"Client <{LABEL}> disconnected")]
        assert len(scene.sessions) == 1

    scene(test)


def test_a_client_that_has_no_reply_yet_gets_an_error() -> None:
    async def test(scene: Scene) -> None:
        _, client = await scene.begin("a")
        scene.sessions.worker_gone(scene.one)  # type: ignore[arg-type]
        assert scene.heard(client) == b"ERROR CODE=7 MESSAGE='Console [a] is being restarted; try again soon'\n<END>"

    scene(test)


def test_nobody_waits_for_a_worker_that_does_not_come() -> None:
    async def test(scene: Scene) -> None:
        scene.one.is_ready = False
        taken, client = await scene.begin("a", "b", "c")
        assert not taken
        assert scene.heard(client) == b"ERROR CODE=7 MESSAGE='2 consoles are being restarted; try again soon'\n<END>"

    scene(test)


def test_a_worker_that_dies_while_others_are_waited_for_gets_no_client() -> None:
    async def test(scene: Scene) -> None:
        async def ready() -> None:
            scene.one.is_ready = False

        scene.one.ready = ready  # type: ignore[method-assign]
        taken, client = await scene.begin("a")
        assert not taken
        assert b"[a] is being restarted; try again soon" in scene.heard(client)
        assert not scene.one.sent

    scene(test)


def test_a_console_that_is_no_more_is_not_found() -> None:
    async def test(scene: Scene) -> None:
        taken, client = await scene.begin("gone")
        assert not taken
        assert b"CODE=5" in scene.heard(client)

    scene(test)


# Broadcasts over workers.


async def broadcast(scene: Scene, **request: Any) -> Tuple[socket.socket, int]:
    """A broadcast to all consoles that has begun; its number."""
    taken, client = await scene.begin("a", "b", "c", "d", **request)
    assert taken
    return client, scene.one.asked[-1].session


def test_what_consoles_say_to_a_new_writer_comes_in_their_order() -> None:
    async def test(scene: Scene) -> None:
        scene.one.answers[m.Attach] = m.Attached({"a": [b"[1 a]"], "c": [b"[3 c]"]}, {"a": [], "c": [b"[6 c]"]})
        scene.two.answers[m.Attach] = m.Attached({"b": [b"[2 b]"], "d": []}, {"b": [b"[5 b]"], "d": [b"[7 d]"]})
        client, _ = await broadcast(scene)
        assert scene.heard(client) == (
            b"OK CONSOLE='a' CONSOLE='b' CONSOLE='c' CONSOLE='d'\n[1 a][2 b][3 c][5 b][6 c][7 d]"
        )
        assert scene.log.lines[-1] == (LogLevel.INFO, f"Client <{LABEL}> connected to 4 consoles (broadcast)")
        assert [question.names for question in scene.one.asked] == [("a", "c"), ("a", "c")]

    scene(test)


def test_busy_consoles_of_all_workers_are_told_in_their_order() -> None:
    async def test(scene: Scene) -> None:
        scene.one.answers[m.WhoWrites] = {"a": ["a1", "a2"], "c": ["c1"]}
        scene.two.answers[m.WhoWrites] = {"b": ["b1"]}
        taken, client = await scene.begin("a", "b", "c", "d")
        assert not taken
        message = b"ERROR CODE=7 MESSAGE='Found 3 consoles already in use'\n"
        assert scene.heard(client) == message + b"a1\na2\nb1\nc1\n<END>"
        assert m.Attach not in map(type, scene.one.asked)

    scene(test)


def test_who_forces_or_joins_does_not_ask_who_is_there() -> None:
    for request in ({"force": True}, {"join": True}):

        async def test(scene: Scene, request: Dict[str, bool] = request) -> None:
            await broadcast(scene, **request)
            (attach,) = scene.one.asked
            assert not attach.exclusive
            assert attach.person.force is request.get("force", False)

        scene(test)


def test_a_writer_that_was_quicker_keeps_the_broadcast_out_of_all_workers() -> None:
    async def test(scene: Scene) -> None:
        scene.two.answers[m.Attach] = {"d": ["d1"]}
        taken, client = await scene.begin("a", "b", "c", "d")
        assert not taken
        assert scene.heard(client) == b"ERROR CODE=7 MESSAGE='Found console already in use'\nd1\n<END>"
        assert [type(message) for message in scene.one.sent] == [m.Detach]
        assert len(scene.sessions) == 0

    scene(test)


def test_a_worker_that_dies_while_a_broadcast_begins_refuses_it() -> None:
    async def test(scene: Scene) -> None:
        scene.two.answers[m.Attach] = WorkerGone()
        taken, client = await scene.begin("a", "b")
        assert not taken
        assert b"being restarted; try again soon" in scene.heard(client)
        assert [type(message) for message in scene.one.sent] == [m.Detach]
        assert len(scene.sessions) == 0

    scene(test)


def test_keys_breaks_and_resets_go_to_every_worker_and_idling_is_known_there() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        await scene.loop.advance(5)
        client.sendall(b"x\xffB\xffR")
        await settle()
        await scene.loop.advance(5)
        client.sendall(b"\xffQ")
        await settle()
        now = scene.loop.time()
        expected = [m.Type(session, b"x", now - 5), m.Break(session), m.Reset(session), m.Touch(session, now)]
        assert scene.one.sent == scene.two.sent == expected

    scene(test)


def test_keys_for_a_worker_that_takes_nothing_are_lost() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        scene.one.is_crowded = True
        client.sendall(b"x")
        await settle()
        assert m.Type not in map(type, scene.one.sent)
        assert m.Type in map(type, scene.two.sent)

    scene(test)


def test_notices_reach_the_client_unless_it_is_quiet() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene, quiet=True)
        scene.heard(client)
        scene.sessions.said(scene.one, m.Inform(session, b"small talk"))  # type: ignore[arg-type]
        scene.sessions.said(scene.one, m.Inform(session, b"important", always=True))  # type: ignore[arg-type]
        scene.sessions.said(scene.one, m.Inform(session + 1, b"of nobody"))  # type: ignore[arg-type]
        assert scene.heard(client) == b"important"

    scene(test)


def test_a_broadcast_ends_when_its_last_console_is_taken() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        scene.sessions.said(scene.one, m.Robbed(session, 1))  # type: ignore[arg-type]
        scene.sessions.said(scene.one, m.Robbed(session, 0))  # type: ignore[arg-type]
        assert len(scene.sessions) == 1
        assert b"<END>" not in scene.heard(client)
        scene.sessions.said(scene.two, m.Robbed(session, 0))  # type: ignore[arg-type]
        assert scene.heard(client) == b"<END>"
        assert len(scene.sessions) == 0

    scene(test)


def test_a_broadcast_survives_one_of_its_workers() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        scene.heard(client)
        scene.sessions.worker_gone(scene.one)  # type: ignore[arg-type]
        words = b"\r\n<ConMan> 2 consoles are being restarted after a failure of the daemon -- connect again.\r\n"
        assert scene.heard(client) == words
        client.sendall(b"x")
        await settle()
        assert scene.two.sent[0].data == b"x"
        assert m.Type not in map(type, scene.one.sent)
        scene.sessions.worker_gone(scene.two)  # type: ignore[arg-type]
        assert scene.heard(client) == words + b"<END>"

    scene(test)


def test_who_leaves_a_broadcast_is_missed_by_all_workers() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        client.shutdown(socket.SHUT_WR)
        await settle()
        assert scene.one.sent == scene.two.sent == [m.Detach(session)]
        assert len(scene.sessions) == 0

    scene(test)


def test_at_the_end_broadcasts_are_closed_without_a_word() -> None:
    async def test(scene: Scene) -> None:
        client, session = await broadcast(scene)
        scene.heard(client)
        scene.sessions.stop()
        assert scene.heard(client) == b"<END>"
        assert scene.one.sent == [m.Detach(session, silently=True)]

    scene(test)


# Status.


def test_status_comes_in_the_order_of_names_whoever_knows_it() -> None:
    async def test(scene: Scene) -> None:
        scene.one.answers[m.Describe] = {"a": b"A\n", "c": b"C\n"}
        scene.two.answers[m.Describe] = WorkerGone()
        blocks = [block async for block in scene.sessions.describe(["a", "b", "c"])]
        first, second, third = b"".join(blocks).splitlines()
        assert (first, third) == (b"A", b"C")
        assert json.loads(second)["state"] == "down"
        assert json.loads(second)["console"] == "b"

    scene(test)
