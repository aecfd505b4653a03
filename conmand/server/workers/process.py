"""The front's view of one worker: its process and its channel, from the start to the end, over and over again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence, Set, Union

from conmand.config.changes import ConsoleChanges
from conmand.config.model import ConsoleSettings, ServerSettings
from conmand.errors import reason
from conmand.server.children import ChildReaper
from conmand.server.daemonlog import DaemonLog
from conmand.server.site import SiteOptions
from conmand.server.workers import messages as m
from conmand.server.workers.channel import Channel

COMMAND = (sys.executable, "-I", str(Path(__file__).with_name("bootstrap.py")))
"""Followed by the number of the descriptor that is the worker's end of the channel."""

PING_SECONDS = 1.0
MISSED_PINGS = 5
"""In a row, and a worker counts as hung. Counted and not timed: when the machine, or all of us, stood still, nobody is
killed for it."""

MISSED_PINGS_AT_START = 60
"""A busy machine takes its time to load an interpreter."""

READY_SECONDS = 5.0
"""For a client whose console's worker is just being started; after that it is told to come back."""

HEALTHY_SECONDS = 60.0
"""A worker that lasted so long begins a new series of failures when it ends."""

MAX_DELAY_SECONDS = 60.0


class WorkerGone(Exception):
    """The worker cannot answer: it has ended, or is not there yet."""


class Owner(Protocol):
    """What a worker's process tells the front."""

    def said(self, worker: WorkerProcess, message: Any) -> None:
        """Any message that is not answered here."""

    def gone(self, worker: WorkerProcess) -> None:
        """The process has ended; all that it said has been heard."""


class WorkerProcess:
    """Number ``number`` of the workers, counted from 1, in whichever process it lives now."""

    def __init__(
        self,
        number: int,
        server: ServerSettings,
        consoles: Sequence[ConsoleSettings],
        options: SiteOptions,
        *,
        owner: Owner,
        children: ChildReaper,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.number = number
        self.consoles = {settings.name: settings for settings in consoles}
        self.pid = 0
        self.resets: Set[int] = set()  # pids of reset commands, which may outlive the worker
        self.is_ready = False
        self._server = server
        self._options = options
        self._owner = owner
        self._children = children
        self._log = daemon_log
        self._loop = loop
        self._channel: Optional[Channel] = None
        self._waiting_for_ready: List[asyncio.Future[None]] = []
        self._answers: Dict[int, asyncio.Future[Any]] = {}
        self._questions = 0
        self._failures = 0
        self._restart_seconds = 0.0
        self._started_at = 0.0
        self._missed_pings = 0
        self._timer: Optional[asyncio.TimerHandle] = None  # the next ping, or the next start
        self._stopping = False
        self._exited: asyncio.Future[None] = loop.create_future()

    def settings(self, name: str) -> ConsoleSettings:
        return self.consoles[name]

    @property
    def is_running(self) -> bool:
        return self.pid != 0

    # Start.

    def start(self) -> None:
        """Start a process. If that is not possible it is tried again, as for one that ended at once."""
        self._timer = None
        self._started_at = self._loop.time()
        self._missed_pings = 0
        try:
            ours = self._spawn()
        except OSError as error:
            self._not_started(reason(error))
            return
        self._exited = self._loop.create_future()
        self._channel = Channel(ours, self._loop, self._received, self._channel_ended)
        start = json.dumps({"path": sys.path, "variables": list(os.environ)}).encode()
        self._channel.send_bytes(struct.pack("!I", len(start)) + start)
        self._channel.send(m.Setup(self.number, self._server, tuple(self.consoles.values()), self._options))
        self._channel.start()
        self._timer = self._loop.call_later(PING_SECONDS, self._ping)

    def _spawn(self) -> socket.socket:
        """Our end of the channel to the process that is ``pid`` now. Raises ``OSError``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        stderr = self._log.fileno()
        try:
            self.pid = self._children.spawn(
                [*COMMAND, str(theirs.fileno())],
                stdin=0,
                stdout=1,
                stderr=2 if stderr is None else stderr,
                cwd=".",
                umask=-1,
                pass_fds=[theirs.fileno()],
                on_exit=self._process_exited,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _not_started(self, why: str) -> None:
        delay = self._next_delay()
        self._log.error(
            f"Unable to start worker {self.number}: {why}; {self._its_consoles()} down, "
            f"trying again {f'in {delay:g} s' if delay else 'at once'}"
        )
        self._timer = self._loop.call_later(delay, self.start)

    def _next_delay(self) -> float:
        """0, 1, 2, 4 ... 60 s: at once after a first failure, and never in a tight loop."""
        if self._loop.time() - self._started_at >= HEALTHY_SECONDS:
            self._failures = 0
        self._failures += 1
        return 0.0 if self._failures == 1 else min(2.0 ** (self._failures - 2), MAX_DELAY_SECONDS)

    # Talk.

    def send(self, message: object, fd: int = -1) -> None:
        """Of a worker that is not there nothing is heard, and it hears nothing."""
        if self._channel is not None:
            self._channel.send(message, fd)

    @property
    def is_crowded(self) -> bool:
        return self._channel is not None and self._channel.is_crowded

    async def ready(self) -> None:
        """Wait until it serves. Raises ``WorkerGone`` after a time."""
        if self.is_ready:
            return
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting_for_ready.append(waiting)
        try:
            await asyncio.wait_for(waiting, READY_SECONDS)
        except asyncio.TimeoutError:
            raise WorkerGone() from None
        finally:
            if waiting in self._waiting_for_ready:
                self._waiting_for_ready.remove(waiting)

    async def apply(
        self, server: ServerSettings, changes: ConsoleChanges, options: SiteOptions, number: int = 0
    ) -> None:
        """Let the process go on with these; one that is yet to be started, see ``start_if_needed``, will begin with
        them. Never raises. With a ``number`` it waits for the others: see ``messages.Apply``.
        """
        for name in changes.removed:
            del self.consoles[name]
        self.consoles.update((change.name, change.after) for change in changes.changed)
        self.consoles.update((settings.name, settings) for settings in changes.added)
        self._server, self._options = server, options
        if self.is_running:
            await self._let(m.Apply(server, changes, options.settings, number))

    def start_if_needed(self) -> None:
        """Start a worker that had nothing to do so far, and has now."""
        if self.consoles and not self.is_running and not self._started_at:
            self.start()

    async def programs_ended(self, number: int) -> None:
        """Wait until those have that were to go by the change ``number``, or the worker has. Never raises."""
        if self.is_running:
            await self._let(m.ProgramsEnded(number))

    async def reopen_logs(self) -> None:
        """Never raises: a process that is yet to be started will open them anyway."""
        if self.is_running:
            await self._let(m.Reopen())

    async def _let(self, question: object) -> None:
        """Also of a process that is not ready yet: it hears this after what it is to begin with."""
        with contextlib.suppress(WorkerGone):
            await self._ask(question)

    async def ask(self, question: object) -> Any:
        """The answer to ``question``. Raises ``WorkerGone`` if the worker ends before it has one, or cannot tell."""
        if not self.is_ready:
            raise WorkerGone()
        return await self._ask(question)

    async def _ask(self, question: object) -> Any:
        self._questions += 1
        number = self._questions
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._answers[number] = answer
        self.send(m.Request(number, question))
        try:
            return await answer
        finally:
            self._answers.pop(number, None)

    def _received(self, message: Any, fd: Optional[int]) -> None:
        assert fd is None, "workers send none"
        kind = type(message)
        if kind is m.LogLine:
            self._log.write(message.level, message.text)
        elif kind is m.Ping:
            self._missed_pings = 0
        elif kind is m.Ready:
            self._became_ready()
        elif kind is m.Answer or kind is m.Failed:
            self._answered(message)
        elif kind is m.Resets:
            self.resets = set(message.pids)
        else:
            self._owner.said(self, message)

    def _answered(self, message: Union[m.Answer, m.Failed]) -> None:
        answer = self._answers.get(message.number)
        if answer is None or answer.done():
            return  # whoever asked does not wait any more
        if isinstance(message, m.Answer):
            answer.set_result(message.value)
        else:
            answer.set_exception(WorkerGone())

    def _became_ready(self) -> None:
        self.is_ready = True
        self._missed_pings = 0
        waiting, self._waiting_for_ready = self._waiting_for_ready, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _ping(self) -> None:
        limit = MISSED_PINGS if self.is_ready else MISSED_PINGS_AT_START
        if self._missed_pings >= limit:
            self._log.error(f"Worker {self.number} (pid {self.pid}) has hung; killing it")
            self._kill()
            self._timer = None
            return
        self._missed_pings += 1
        self.send(m.Ping(self._missed_pings))
        self._timer = self._loop.call_later(PING_SECONDS, self._ping)

    # End.

    def _channel_ended(self) -> None:
        """A worker that does not hear us is of no use."""
        if self.is_running and not self._stopping:
            self._kill()

    def _kill(self) -> None:
        """The process alone: its programs, each in a group of its own, see the end of their input first."""
        self._children.kill(self.pid, signal.SIGKILL)

    def _process_exited(self, code: int) -> None:
        pid, self.pid = self.pid, 0
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.read_rest()  # what it said before it ended
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_ready = False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerGone())
        self._exited.set_result(None)
        if not self._stopping:
            self._report_end(pid, code)
        self._owner.gone(self)

    def _report_end(self, pid: int, code: int) -> None:
        how = f"ended on signal {-code}" if code < 0 else f"ended with status {code}"
        self._restart_seconds = self._next_delay()
        if self._restart_seconds:
            what = (
                f", failure {self._failures} in a row; {self._its_consoles()} down until it is started again "
                f"in {self._restart_seconds:g} s"
            )
        else:
            what = f"; {self._its_consoles()} being restarted"
        self._log.error(f"Worker {self.number} (pid {pid}) {how}{what}")

    def _its_consoles(self) -> str:
        count = len(self.consoles)
        return f"its {count} consoles are" if count != 1 else "its console is"

    def restart(self) -> None:
        """After ``gone``, when all that the old process left has been put in order."""
        if not self._stopping:
            self._timer = self._loop.call_later(self._restart_seconds, self.start)

    def ask_to_stop(self) -> None:
        """A worker that is not there is not started any more; one that is goes on answering pings."""
        self._stopping = True
        if self._timer is not None and not self.is_running:
            self._timer.cancel()
            self._timer = None
        self.send(m.Stop())

    async def stopped(self, deadline: float) -> None:
        """Wait for its end until ``deadline`` on the loop's clock; then kill it."""
        if not self.is_running:
            return
        await asyncio.wait([self._exited], timeout=max(deadline - self._loop.time(), 0))
        if self.is_running:
            self._log.error(f"Worker {self.number} (pid {self.pid}) did not stop in time; killing it")
            self._kill()
            await self._exited
