"""Consoles of our device scripts (``dev="ipmitool_exp.py HOST USER"``) inside the daemon, without a process of Python.

The script's dialogue logs in (``conman_exec.aio``); then its tool's descriptor is the console. To logs and clients it
is as if the script ran: what the program would print is printed, and the notices are those of a process console. The
number in them is the tool's, so that killing it ends this console's session and nothing else; without a tool there is
none.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import termios
from collections import deque
from typing import Callable, Deque, List, Optional, Tuple

from conman.text import encode
from conman_exec.aio import LoginFailed, OpenSession, open_session
from conman_exec.arguments import UsageError
from conman_exec.sessions import BREAK, Session
from conman_exec.telnet import SERIAL_BREAK
from conmand.config.model import ConsoleSettings, LogLevel, ScriptDevice
from conmand.consoles.base import MAX_UNSENT_BYTES, DescriptorConsole, Services, Sink, State
from conmand.consoles.process import ProcessConsole
from conmand.consoles.script_logins import Prepared, shared_logins
from conmand.consoles.script_tools import ToolKeeper
from conmand.consoles.turns import Turn
from conmand.proto.delta import format_delta

JITTER = 0.1
"""Each delay is longer by up to this part of it, at random: consoles that failed together do not return together."""

BREAK_SECONDS = 0.5
LOOK_SECONDS = 0.005
"""How long a break waits for ipmitool to read the keys before it, and how often that is looked at."""


class ScriptConsole(DescriptorConsole):
    """Up from the start of a login, as under the original, where the script runs from then on."""

    __slots__ = (
        "_attempt",
        "_turn",
        "_keeper",
        "_warnings",
        "_open_session",
        "_pid",
        "_typed",
        "_typed_size",
        "_due",
        "_held",
        "_held_since",
        "_is_congested",
    )

    retries = ProcessConsole.retries

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        self._open_session: Optional[OpenSession] = None
        super().__init__(settings, sink, services)
        self._attempt: Optional[asyncio.Task[None]] = None
        self._turn: Optional[Turn] = None
        self._keeper: Optional[ToolKeeper] = None  # while somebody logs in
        self._pid = 0  # of the first tool, which stands in the notices
        self._typed: Deque[Optional[bytes]] = deque()  # during the login
        self._typed_size = 0
        self._due: Optional[asyncio.TimerHandle] = None  # the session's own timer
        self._held: Optional[List[Optional[bytes]]] = None  # a break that waits, and what was typed after it
        self._held_since = 0.0
        self._is_congested = False

    @property
    def _device(self) -> ScriptDevice:
        device = self.settings.device
        assert isinstance(device, ScriptDevice)
        return device

    @property
    def label(self) -> str:
        return f'"{os.path.basename(self._device.argv[0])}"'

    # Logging in.

    def _open(self) -> None:
        self.state = State.PENDING
        self._attempt = self.services.loop.create_task(self._log_in())

    def retry_now(self) -> None:
        if self._turn is not None:
            self._turn.hurry()
        super().retry_now()

    async def _log_in(self) -> None:
        logins = shared_logins(self.services)
        prepared: Optional[Prepared] = None

        def begun(pid: int) -> None:
            if self.state is State.PENDING:
                self._begin(pid, prepared)

        self._turn = turn = logins.turns.ask()
        try:
            if self._attended:
                turn.hurry()
            await turn.come
            prepared = await logins.prepare(self._device)
            self._keeper = ToolKeeper(logins.tools, begun)
            session = await open_session(prepared.dialogue, prepared.path, self._keeper)
        except Exception as failure:
            if self._is_logging_in():
                begun(0)
                self._print(self._words(failure))
                self._lost()
        else:
            if self._is_logging_in():
                self._opened(session)
            else:
                self._open_session = session
                self._close(session.descriptor)
        finally:
            self._turn = self._keeper = None
            turn.end()

    def _is_logging_in(self) -> bool:
        """At the end of a login: whether it was not stopped. pexpect waits by ``asyncio.wait_for``, which up to Python
        3.11 forgets a cancellation that comes together with what it waits for."""
        if self._attempt is not asyncio.current_task():
            return False
        self._attempt = None
        return True

    def _words(self, failure: Exception) -> str:
        """What the program would say of it."""
        if isinstance(failure, UsageError):
            return failure.text
        if isinstance(failure, LoginFailed):
            return str(failure)
        if not isinstance(failure, OSError):
            # A mistake of ours or of pexpect's. It must not leave the console as it is for ever.
            context = {"message": f"the login of [{self.name}] failed", "exception": failure}
            self.services.loop.call_exception_handler(context)
        return f"Error: {failure}."

    def _begin(self, pid: int, prepared: Optional[Prepared]) -> None:
        """The script would have been started by now."""
        self._pid = pid
        self._came_up()
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}{self._number}")
        for warning in prepared.warnings if prepared else ():
            self._print(f"Warning: {warning}.")

    @property
    def _number(self) -> str:
        return f" (pid {self._pid})" if self._pid else ""

    def _print(self, line: str) -> None:
        """What the script as a program would print."""
        self.sink.publish(encode(line) + b"\r\n")

    def _opened(self, opened: OpenSession) -> None:
        if opened.notice:
            self._print(opened.notice)
        self._print(f"Connection established via {opened.tool}" + (f" (pid {opened.pid})." if opened.pid else "."))
        self._open_session = opened
        self._fd = opened.descriptor
        self.received = self._receiver()
        self._start_reading()
        typed, self._typed = self._typed, deque()
        for piece in typed:
            _type(opened.session, piece)
        self._pump()

    def programs(self) -> Tuple[int, ...]:
        holder = self._open_session or self._keeper
        return (holder.pid,) if holder is not None and holder.pid else ()

    # From the device.

    def _receiver(self) -> Callable[[bytes], None]:
        opened = self._open_session
        if opened is None or (opened.codec is None and type(opened.session).output is Session.output):
            return super()._receiver()  # the session shows what comes, as it comes
        return self._through_session

    def _through_session(self, data: bytes) -> None:
        opened = self._open_session
        if opened is None:
            self.sink.publish(data)  # last words
            return
        if opened.codec is not None:
            data = opened.codec.receive(data)
            replies = opened.codec.replies()
            if replies:
                self._write(replies)
        opened.session.output(data, self.services.loop.time())
        self._pump()

    # To the device.

    def send(self, data: bytes) -> None:
        self._take(data)

    def send_break(self) -> None:
        self._take(BREAK)

    def _take(self, piece: Optional[bytes]) -> None:
        if self.state is not State.UP:
            return
        opened = self._open_session
        if opened is None:
            self._keep(piece)
            return
        _type(opened.session, piece)
        self._pump()

    def _keep(self, piece: Optional[bytes]) -> None:
        """Typed during the login: for the device, as the script's standard input keeps it."""
        if not self._typed:
            self._typed_size = 0
        self._typed.append(piece)
        self._typed_size += _size(piece)
        while self._typed_size > MAX_UNSENT_BYTES:
            lost = _size(self._typed.popleft())
            self._typed_size -= lost
            self.sink.report(LogLevel.NOTICE, f'Overwrote {lost} bytes for "{self.name}"')

    def _pump(self) -> None:
        """Carry out what the session has to do, and set its timer."""
        opened = self._open_session
        if opened is None:
            return
        session = opened.session
        session.release(self.services.loop.time())
        shown = session.for_daemon()
        if shown:
            self.sink.publish(shown)
        for piece in session.for_tool():
            self._pass_on(piece)
        if self._open_session is None:
            return  # a write has failed
        if session.ended is not None:
            self.ended(None)
            return
        self._watch_waiting(session)
        due = session.deadline()
        if self._due is not None and self._due.when() != due:
            self._due.cancel()
            self._due = None
        if due is not None and self._due is None:
            self._due = self.services.loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._due = None
        if self._open_session is not None:
            self._open_session.session.expire(self.services.loop.time())
            self._pump()

    def _watch_waiting(self, session: Session) -> None:
        """Keys that the session sends later, to go easy on its tool, count as unsent ones (``base``)."""
        waiting = session.waiting()
        if waiting > 2 * MAX_UNSENT_BYTES:  # of a broadcast, which is not held back
            lost = waiting - MAX_UNSENT_BYTES
            session.forget_waiting(lost)
            self.sink.report(LogLevel.NOTICE, f'Overwrote {lost} bytes for "{self.name}"')
        if waiting > MAX_UNSENT_BYTES and not self._is_congested:
            self._is_congested = True
            self.sink.congested()
        elif waiting < MAX_UNSENT_BYTES // 2 and self._is_congested:
            self._is_congested = False
            self.sink.relieved()

    def _pass_on(self, piece: Optional[bytes]) -> None:
        opened = self._open_session
        if opened is None:
            return
        if self._held is not None:
            self._held.append(piece)
        elif piece is BREAK:
            self._write(SERIAL_BREAK)  # only telnet sessions make one
        elif opened.codec is not None:
            self._write(opened.codec.encode(piece))
        elif piece == opened.session.break_keys and not opened.on_terminal and not self._is_read():
            self._held, self._held_since = [piece], self.services.loop.time()
            self.services.loop.call_later(LOOK_SECONDS, self._look)
        else:
            self._write(piece)

    def _is_read(self) -> bool:
        """Whether the tool has taken all that was written: what it reads together with a break, it sends after it."""
        # SIOCOUTQ, see unix(7): zero only when the other end of a socket pair has read everything.
        return self._unsent is None and fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)) == bytes(4)

    def _look(self) -> None:
        if self._held is None:
            return  # the session has ended
        waited = self.services.loop.time() - self._held_since
        size = sum(map(_size, self._held))
        if not self._is_read() and waited < BREAK_SECONDS and size <= MAX_UNSENT_BYTES:
            self.services.loop.call_later(LOOK_SECONDS, self._look)
            return
        (first, *rest), self._held = self._held, None
        assert first is not BREAK, "a break that waits is bytes"
        self._write(first)
        for piece in rest:
            self._pass_on(piece)

    # The end.

    def _is_end_of_file(self, error: OSError) -> bool:
        # EIO is how a terminal reads that its tool has closed, and a reset how a connection does.
        return True

    def _close(self, fd: int) -> None:
        opened, self._open_session = self._open_session, None
        assert opened is not None and opened.descriptor == fd, "the descriptor is the session's"
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._held = None
        if self._is_congested:
            self._is_congested = False
            self.sink.relieved()
        tools = shared_logins(self.services).tools
        if opened.pid and opened.session.farewell:
            tools.bid_farewell(opened.pid, fd, opened.session.farewell)
            return
        os.close(fd)
        if opened.pid:
            tools.end(opened.pid, opened.on_terminal)

    def stop(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        super().stop()

    def _lost(self) -> None:
        self._typed.clear()
        lasted = format_delta(self.services.loop.time() - self.up_since)
        self.sink.announce(
            LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label}{self._number} after {lasted}"
        )
        self._went_down(was_up=True)

    def _retry_in(self, delay_seconds: float) -> None:
        super()._retry_in(delay_seconds * (1 + random.uniform(0, JITTER)))


def _size(piece: Optional[bytes]) -> int:
    """In bytes; a break counts for one, or any number of them would be nothing."""
    return 1 if piece is BREAK else len(piece)


def _type(session: Session, piece: Optional[bytes]) -> None:
    if piece is BREAK:
        session.send_break()
    else:
        session.type(piece)
