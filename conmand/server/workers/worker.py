"""A worker: an interpreter of its own with one site, which does what the front says and ends when the front does."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import os
import signal
import socket
import threading
from typing import Any, Awaitable, Callable, Dict, List, Optional, Type, cast

from conmand.config.model import LogLevel
from conmand.server import status
from conmand.server.bugs import report_bug
from conmand.server.changing import Others
from conmand.server.daemonlog import DaemonLog
from conmand.server.handshake import Caller
from conmand.server.sessions import busy_lines
from conmand.server.site import Site
from conmand.server.tasks import OwnedTasks
from conmand.server.workers import messages as m
from conmand.server.workers.channel import NO_DESCRIPTOR, Channel
from conmand.server.workers.standin import StandIn

OPENING_SECONDS = 1.0
"""For logs and devices, before clients are let in; thousands of consoles take longer, and are open all but a few."""

LAST_WORDS_SECONDS = 2.0
"""For the front to take what was said before the end."""


class ForwardingLog(DaemonLog):
    """The daemon's log is the front's. Lines are lost, and counted, while the front does not take them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.worker = 0
        self._channel = channel
        self._lost_lines = 0

    def write(self, level: LogLevel, text: str) -> None:
        if self._channel.is_crowded:
            self._lost_lines += 1
            return
        if self._lost_lines:
            lost, self._lost_lines = self._lost_lines, 0
            self.warning(f"Lost {lost} lines of worker {self.worker} here: the daemon did not take them in time")
        self._channel.send(m.LogLine(level, text))


class HandedSocket(socket.socket):
    """A client's socket, whose other copy the front keeps until it hears that this one was closed."""

    def __init__(self, fd: int, closed: Callable[[], None]) -> None:
        super().__init__(fileno=fd)
        self.setblocking(False)
        self._closed_callback: Optional[Callable[[], None]] = closed

    def close(self) -> None:
        super().close()
        closed, self._closed_callback = self._closed_callback, None
        if closed is not None:
            closed()


class Worker:
    """Made and run on the running loop."""

    def __init__(self, control: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel = Channel(control, loop, self._received, self._front_ended)
        self._log = ForwardingLog(self._channel)
        self._site: Site
        self._ending = asyncio.Event()
        self._stand_ins: Dict[int, StandIn] = {}
        self._others: Dict[int, Others] = {}  # of each change in which they have a part
        self._tasks = OwnedTasks(self._loop)

    async def run(self) -> None:
        self._loop.set_exception_handler(lambda loop, context: report_bug(self._log, context))
        self._channel.start()
        await self._ending.wait()
        await self._tasks.cancel()
        for stand_in in self._stand_ins.values():
            stand_in.detach(silently=True)
        if hasattr(self, "_site"):
            await self._site.stop()
        self._channel.flush(LAST_WORDS_SECONDS)
        self._channel.close()

    def _front_ended(self) -> None:
        """It was killed, and a new daemon may want our files and devices already: end in order, at once."""
        self._ending.set()

    # What the front says.

    def _received(self, message: Any, fd: Optional[int]) -> None:
        if fd is None:
            _ACTIONS[type(message)](self, message)
        else:
            _ACTIONS_WITH_DESCRIPTOR[type(message)](self, message, fd)

    def _setup(self, message: m.Setup) -> None:
        self._log.worker = message.number
        self._site = Site(message.server, message.consoles, message.options, self._log, self._loop)
        self._site.resets.changed = self._resets_changed
        self._site.start()
        self._tasks.start(self._become_ready())

    async def _become_ready(self) -> None:
        """Clients come when the consoles are open, if that does not take long, as if we had been there first."""
        await self._site.opened(OPENING_SECONDS)
        self._channel.send(m.Ready())

    def _resets_changed(self) -> None:
        self._channel.send(m.Resets(tuple(self._site.resets.pids())))

    def _begin(self, message: m.Begin, fd: int) -> None:
        if fd == NO_DESCRIPTOR:
            who = f"{message.user}@{message.peer.label}"
            self._log.warning(f"Unable to take over client <{who}>: {os.strerror(errno.EMFILE)}; it is disconnected")
            self._channel.send(m.Ended(message.session))
            return
        sock = HandedSocket(fd, lambda: self._channel.send(m.Ended(message.session)))
        self._tasks.start(self._begin_session(sock, message))

    async def _begin_session(self, sock: HandedSocket, message: m.Begin) -> None:
        begun = False
        try:
            caller = Caller(sock, message.peer, self._log, self._loop, user=message.user, tty=message.tty)
            begun = await self._site.sessions.begin(caller, message.asked, message.names)
            if begun:
                self._channel.send(m.Begun(message.session))
        except OSError as error:
            self._log.notice(f"Unable to write to <{message.peer.label}>: {error.strerror or error}")
        finally:
            if not begun:
                sock.close()

    def _answer(self, message: m.Request) -> None:
        self._tasks.start(self._answer_in_time(message))

    async def _answer_in_time(self, message: m.Request) -> None:
        try:
            value = await _ANSWERS[type(message.question)](self, message.question)
        except Exception:
            self._channel.send(m.Failed(message.number))
            raise
        self._channel.send(m.Answer(message.number, value))

    async def _describe(self, question: m.Describe) -> Dict[str, bytes]:
        consoles = self._site.consoles
        return {name: status.encode_status(consoles[name]) for name in question.names if name in consoles}

    async def _who_writes(self, question: m.WhoWrites) -> Dict[str, List[str]]:
        consoles = [self._site.consoles[name] for name in question.names if name in self._site.consoles]
        return {console.name: busy_lines(console) for console in consoles if console.writers}

    async def _attach(self, question: m.Attach) -> object:
        if question.exclusive:
            busy = await self._who_writes(m.WhoWrites(question.names))
            if busy:
                return busy
        stand_in = StandIn(question.session, question.person, self._channel, self._loop)
        self._stand_ins[question.session] = stand_in
        return stand_in.attach([self._site.consoles[name] for name in question.names if name in self._site.consoles])

    async def _reopen(self, question: m.Reopen) -> None:
        await self._site.reopen_logs()

    async def _apply(self, question: m.Apply) -> None:
        others = None
        if question.number:
            others = self._others[question.number] = Others()
        try:
            await self._site.apply(question.server, question.changes, question.settings, others)
        except Exception:
            self._others.pop(question.number, None)  # nothing of it will end; nobody is to wait for that
            raise

    def _all_closed(self, message: m.AllClosed) -> None:
        if message.number in self._others:  # else it was asked of our predecessor
            self._others[message.number].closed.set()

    async def _programs_ended(self, question: m.ProgramsEnded) -> None:
        if question.number in self._others:
            await self._others[question.number].ours_ended.wait()

    def _all_ended(self, message: m.AllEnded) -> None:
        others = self._others.pop(message.number, None)
        if others is not None:
            others.ended.set()

    # A broadcast.

    def _type(self, message: m.Type) -> None:
        stand_in = self._stand_ins.get(message.session)
        if stand_in is not None:
            stand_in.last_input = message.last_input
            stand_in.type(message.data)

    def _touch(self, message: m.Touch) -> None:
        stand_in = self._stand_ins.get(message.session)
        if stand_in is not None:
            stand_in.last_input = message.last_input

    def _break(self, message: m.Break) -> None:
        stand_in = self._stand_ins.get(message.session)
        if stand_in is not None:
            stand_in.send_break()

    def _reset(self, message: m.Reset) -> None:
        stand_in = self._stand_ins.get(message.session)
        for console in stand_in.consoles if stand_in is not None else ():
            self._site.resets.reset(console, cast(StandIn, stand_in))

    def _detach(self, message: m.Detach) -> None:
        stand_in = self._stand_ins.pop(message.session, None)
        if stand_in is not None:
            stand_in.detach(silently=message.silently)

    # Life.

    def _ping(self, message: m.Ping) -> None:
        self._channel.send(message)

    def _new_stderr(self, message: m.NewStderr, fd: int) -> None:
        if fd != NO_DESCRIPTOR:
            os.dup2(fd, 2)
            os.close(fd)

    def _stop(self, message: m.Stop) -> None:
        self._ending.set()

_ACTIONS: Dict[Type[Any], Callable[[Worker, Any], None]] = {
    m.Setup: Worker._setup,
    m.Request: Worker._answer,
    m.Type: Worker._type,
    m.Touch: Worker._touch,
    m.Break: Worker._break,
    m.Reset: Worker._reset,
    m.Detach: Worker._detach,
    m.AllClosed: Worker._all_closed,
    m.AllEnded: Worker._all_ended,
    m.Ping: Worker._ping,
    m.Stop: Worker._stop,
}
_ACTIONS_WITH_DESCRIPTOR: Dict[Type[Any], Callable[[Worker, Any, int], None]] = {
    m.Begin: Worker._begin,
    m.NewStderr: Worker._new_stderr,
}
_ANSWERS: Dict[Type[Any], Callable[[Worker, Any], Awaitable[object]]] = {
    m.Describe: Worker._describe,
    m.WhoWrites: Worker._who_writes,
    m.Attach: Worker._attach,
    m.Reopen: Worker._reopen,
    m.Apply: Worker._apply,
    m.ProgramsEnded: Worker._programs_ended,
}


def run(control: socket.socket) -> None:
    """Work until the front ends or says so."""
    faulthandler.enable(2, all_threads=False)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_work(control, loop))
    signal.set_wakeup_fd(-1)
    if threading.active_count() > 1:
        os._exit(0)  # a thread that hangs in a look-up must not hold the daemon's end
    loop.close()


async def _work(control: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    await Worker(control, loop).run()
