"""One worker as the front sees it: started, listened to, missed, replaced."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import struct
from typing import Any, Callable, List, Optional, Sequence, Tuple

import pytest

from conmand.config.changes import ConsoleChange, ConsoleChanges
from conmand.config.model import ConsoleSettings, LogLevel, ServerSettings, TestDevice
from conmand.server.daemonlog import DaemonLog
from conmand.server.site import SiteOptions
from conmand.server.workers import messages as m
from conmand.server.workers import process as process_module
from conmand.server.workers.channel import Frames, frame
from conmand.server.workers.process import WorkerGone, WorkerProcess
from tests.fakes.loops import ManualLoop, run, settle

OPTIONS = SiteOptions(foreground=True, truncate_logs=False)
CONSOLES = [ConsoleSettings("a", TestDevice()), ConsoleSettings("b", TestDevice())]


class FakeChildren:
    """Starts nothing; the test is the worker, at the other end of its channel."""

    def __init__(self) -> None:
        self.pid = 100
        self.killed: List[Tuple[int, int]] = []
        self.failing: Optional[OSError] = None
        self.end: socket.socket
        self.on_exit: Callable[[int], None]
        self.frames = Frames()
        self.waiting: List[Any] = []

    def spawn(self, argv: Sequence[str], *, pass_fds: Sequence[int], on_exit: Callable[[int], None], **_: Any) -> int:
        if self.failing is not None:
            raise self.failing
        self.end = socket.socket(fileno=os.dup(pass_fds[0]))
        self.frames, self.waiting = Frames(), []
        self.on_exit = on_exit
        self.pid += 1
        return self.pid

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))

    # As the worker.

    def learn(self) -> Tuple[Any, m.Setup]:
        """What an interpreter is told first, and the first message."""
        (size,) = struct.unpack("!I", self.end.recv(4))
        start = json.loads(self.end.recv(size))
        return start, self.hear()

    def hear(self) -> Any:
        while not self.waiting:
            self.waiting += [pickle.loads(payload) for payload, _fd in self.frames.receive(self.end.recv(1 << 20))]
        return self.waiting.pop(0)

    def say(self, message: object) -> None:
        self.end.sendall(frame(pickle.dumps(message)))

    def exit(self, code: int) -> None:
        self.end.close()
        self.on_exit(code)


class Log(DaemonLog):
    def __init__(self) -> None:
        super().__init__()
        self.lines: List[Tuple[LogLevel, str]] = []

    def write(self, level: LogLevel, text: str) -> None:
        self.lines.append((level, text))


class Supervised:
    """A worker process with fakes around it. It is its owner, too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.children = FakeChildren()
        self.log = Log()
        self.heard: List[Any] = []
        self.ends = 0
        self.worker = WorkerProcess(
            2,
            ServerSettings(),
            CONSOLES,
            OPTIONS,
            owner=self,
            children=self.children,  # type: ignore[arg-type]
            daemon_log=self.log,
            loop=loop,
        )

    def said(self, worker: WorkerProcess, message: Any) -> None:
        self.heard.append(message)

    def gone(self, worker: WorkerProcess) -> None:
        self.ends += 1
        worker.restart()

    async def start(self) -> None:
        self.worker.start()
        self.children.learn()
        self.children.say(m.Ready())
        await settle()
        assert self.worker.is_ready

    @property
    def last_line(self) -> str:
        return self.log.lines[-1][1]


def test_a_worker_is_told_its_path_and_what_to_serve() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        supervised.worker.start()
        start, setup = supervised.children.learn()
        assert start["path"] and "PATH" in start["variables"]
        assert setup == m.Setup(2, ServerSettings(), tuple(CONSOLES), OPTIONS)
        assert not supervised.worker.is_ready
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_its_lines_go_to_the_log_and_its_other_words_to_the_front() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.say(m.LogLine(LogLevel.WARNING, "careful"))
        supervised.children.say(m.Begun(3))
        await settle()
        assert supervised.log.lines == [(LogLevel.WARNING, "careful")]
        assert supervised.heard == [m.Begun(3)]
        supervised.children.say(m.LogLine(LogLevel.ERROR, "last words"))
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)
        assert supervised.last_line == "last words"

    run(test)


def test_questions_are_answered_by_number_or_fail_with_the_worker() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        first = asyncio.ensure_future(supervised.worker.ask(m.Reopen()))
        second = asyncio.ensure_future(supervised.worker.ask(m.Describe(("a",))))
        never = asyncio.ensure_future(supervised.worker.ask(m.Reopen()))
        failing = asyncio.ensure_future(supervised.worker.ask(m.Reopen()))
        await settle()
        questions = [supervised.children.hear() for _ in range(4)]
        assert [one.question for one in questions] == [m.Reopen(), m.Describe(("a",)), m.Reopen(), m.Reopen()]
        supervised.children.say(m.Failed(questions[3].number))
        with pytest.raises(WorkerGone):
            await failing
        supervised.children.say(m.Answer(questions[1].number, {"a": b"up"}))
        supervised.children.say(m.Answer(questions[0].number, None))
        assert await second == {"a": b"up"}
        assert await first is None
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)
        with pytest.raises(WorkerGone):
            await never
        with pytest.raises(WorkerGone):
            await supervised.worker.ask(m.Reopen())

    run(test)


def test_one_that_dies_is_started_again_at_once_and_then_ever_later() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.exit(-9)
        assert supervised.last_line == "Worker 2 (pid 101) ended on signal 9; its 2 consoles are being restarted"
        delays = []
        for number in range(9):
            delays.append(loop.timers()[0])
            await loop.advance(delays[-1])
            assert supervised.worker.pid == 102 + number
            supervised.children.exit(1)
        assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]
        assert supervised.last_line == (
            "Worker 2 (pid 110) ended with status 1, failure 10 in a row; "
            "its 2 consoles are down until it is started again in 60 s"
        )
        assert supervised.ends == 10
        supervised.worker.ask_to_stop()

    run(test)


def test_one_that_was_healthy_for_a_minute_begins_anew() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.exit(1)
        await loop.advance(0)
        supervised.children.say(m.Ready())
        for _ in range(61):
            supervised.children.say(m.Ping(1))
            await loop.advance(1)
        supervised.children.exit(1)
        assert supervised.last_line.endswith("; its 2 consoles are being restarted")
        supervised.worker.ask_to_stop()

    run(test)


def test_one_that_cannot_be_started_is_tried_again() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        supervised.children.failing = OSError(11, "Resource temporarily unavailable")
        supervised.worker.start()
        assert supervised.last_line == (
            "Unable to start worker 2: Resource temporarily unavailable; its 2 consoles are down, trying again at once"
        )
        await loop.advance(0)
        assert supervised.last_line.endswith("trying again in 1 s")
        supervised.children.failing = None
        await loop.advance(1)
        assert supervised.worker.is_running
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_one_that_answers_no_pings_is_killed() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        for _ in range(100):
            supervised.children.say(m.Ping(1))
            await loop.advance(1)
        assert not supervised.children.killed
        await loop.advance(process_module.MISSED_PINGS + 1)
        assert supervised.last_line == "Worker 2 (pid 101) has hung; killing it"
        assert supervised.children.killed == [(101, signal.SIGKILL)]
        await loop.advance(100)
        assert len(supervised.children.killed) == 1
        supervised.worker.ask_to_stop()
        supervised.children.exit(-9)

    run(test)


def test_a_front_that_stood_still_kills_nobody() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        loop._now += 3600  # all of us were stopped, and one timer is due
        await settle()
        assert not supervised.children.killed
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_one_that_does_not_listen_any_more_is_killed() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.end.close()
        await settle()
        assert supervised.children.killed == [(101, signal.SIGKILL)]
        supervised.worker.ask_to_stop()
        supervised.children.on_exit(-9)

    run(test)


def test_clients_wait_a_little_for_a_worker_that_starts() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        supervised.worker.start()
        waiting = asyncio.ensure_future(supervised.worker.ready())
        await settle()
        supervised.children.say(m.Ready())
        await waiting
        supervised.children.exit(1)
        impatient = asyncio.ensure_future(supervised.worker.ready())
        await loop.advance(process_module.READY_SECONDS)
        with pytest.raises(WorkerGone):
            await impatient
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_one_that_is_asked_to_stop_is_waited_for_and_then_killed() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.worker.ask_to_stop()
        assert supervised.children.hear() == m.Stop()
        stopped = asyncio.ensure_future(supervised.worker.stopped(loop.time() + 20))
        for _ in range(20):
            supervised.children.say(m.Ping(1))
            await loop.advance(1)
        assert supervised.children.killed == [(101, signal.SIGKILL)]
        assert supervised.last_line == "Worker 2 (pid 101) did not stop in time; killing it"
        assert not stopped.done()
        supervised.children.exit(-9)
        await stopped
        await loop.advance(100)
        assert not supervised.worker.is_running  # and it is not replaced
        await supervised.worker.stopped(loop.time())

    run(test)


def test_one_that_hangs_while_it_stops_is_not_waited_for() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.worker.ask_to_stop()
        stopped = asyncio.ensure_future(supervised.worker.stopped(loop.time() + 1000))
        await loop.advance(process_module.MISSED_PINGS + 1)
        assert supervised.last_line == "Worker 2 (pid 101) has hung; killing it"
        supervised.children.exit(-9)
        await stopped

    run(test)


def test_reset_commands_are_remembered_by_pid() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.say(m.Resets((5, 6)))
        await settle()
        assert supervised.worker.resets == {5, 6}
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


# A new configuration.

CHANGES = ConsoleChanges(
    added=(ConsoleSettings("c", TestDevice()),),
    removed=("a",),
    changed=(ConsoleChange(CONSOLES[1], ConsoleSettings("b", TestDevice(), log="/b")),),
)
OTHER = ServerSettings(resetcmd="x")


def test_a_change_is_asked_for_and_counts_for_every_later_start() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        applying = loop.create_task(supervised.worker.apply(OTHER, CHANGES, OPTIONS))
        await settle()
        request = supervised.children.hear()
        assert request.question == m.Apply(OTHER, CHANGES, OPTIONS.settings)
        assert not applying.done()
        supervised.children.say(m.Answer(request.number, None))
        await applying
        assert list(supervised.worker.consoles) == ["b", "c"]
        supervised.children.exit(-signal.SIGKILL)
        await loop.advance(0)
        assert supervised.children.learn()[1] == m.Setup(2, OTHER, tuple(supervised.worker.consoles.values()), OPTIONS)
        assert supervised.worker.consoles["b"].log == "/b"
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_a_worker_that_is_not_ready_yet_hears_of_a_change_after_its_setup_and_of_rotated_logs_too() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        supervised.worker.start()
        tasks = [
            loop.create_task(supervised.worker.reopen_logs()),
            loop.create_task(supervised.worker.apply(OTHER, CHANGES, OPTIONS)),
        ]
        await settle()
        setup = supervised.children.learn()[1]
        assert setup == m.Setup(2, ServerSettings(), tuple(CONSOLES), OPTIONS)
        assert isinstance(supervised.children.hear().question, m.Reopen)
        assert isinstance(supervised.children.hear().question, m.Apply)
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)
        await asyncio.gather(*tasks)  # it has gone; nobody complains

    run(test)


def test_a_worker_that_is_being_replaced_begins_with_the_change() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        await supervised.start()
        supervised.children.exit(1)
        await supervised.worker.apply(OTHER, CHANGES, OPTIONS)  # before its start is due
        await loop.advance(0)
        assert [one.name for one in supervised.children.learn()[1].consoles] == ["b", "c"]
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)


def test_a_worker_that_had_nothing_to_do_is_started_for_its_first_console() -> None:
    async def test(loop: ManualLoop) -> None:
        supervised = Supervised(loop)
        supervised.worker.consoles.clear()
        await supervised.worker.apply(OTHER, ConsoleChanges(), OPTIONS)
        supervised.worker.start_if_needed()
        assert not supervised.worker.is_running
        await supervised.worker.apply(OTHER, ConsoleChanges(added=(CONSOLES[0],)), OPTIONS)
        assert not supervised.worker.is_running
        supervised.worker.start_if_needed()
        supervised.worker.start_if_needed()
        assert supervised.children.learn()[1].consoles == (CONSOLES[0],)
        supervised.worker.ask_to_stop()
        supervised.children.exit(0)

    run(test)
