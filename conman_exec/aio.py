"""A login as a coroutine, for a daemon that runs the dialogue itself and keeps no process for it.

The waiting is pexpect's (4.8 works on Python 3.9 and 3.10, 4.9 is needed from 3.11 on): it reads whatever comes, and
the dialogue, whose rules are expect's and not pexpect's, decides. What comes out is a descriptor, a pid and a
:mod:`session <conman_exec.sessions>`, which says what a break is and guards the keys.

What belongs to the whole process, waiting for children and looking names up, is the caller's to do: its
:class:`Keeper`. Serial ports and ``relay = no`` are for programs: a daemon opens its ports itself, and is the relay.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass
from typing import Any, Protocol

import pexpect
from pexpect import fdpexpect

from conman_exec import relay, tools
from conman_exec.dialogue import Become, Connect, Dialogue, Failed, Open, Opened, Run, Send
from conman_exec.sessions import KINDS, Session
from conman_exec.telnet import TelnetCodec

# What a wait may end with, and their places: data, the end of file, nothing.
_EVENTS: list[Any] = [re.compile(rb".+", re.DOTALL), pexpect.EOF, pexpect.TIMEOUT]
_DATA, _EOF, _TIMEOUT = range(3)

# Between looks at a tool that was told to end; and after how many it is killed, if it has a terminal.
_REAP_SECONDS = 0.02
_REAPS_BEFORE_KILL = 50


class LoginFailed(Exception):
    """The device, or its tool, refused; ``reason`` as the originals word it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Error: {self.reason}"


@dataclass(frozen=True)
class OpenSession:
    """An open session. The descriptor is non-blocking and the caller's to close; so is the process's end to await.

    ``pid`` is 0 where there is no process, ``on_terminal`` whether it has a terminal instead of a socket. ``codec`` is
    for the descriptor's bytes where they are telnet. Output that the device gave during the login is already in
    ``session``.
    """

    descriptor: int
    pid: int
    on_terminal: bool
    tool: str
    session: Session
    codec: TelnetCodec | None
    notice: str


class Keeper(Protocol):
    """What a login leaves to whoever runs it."""

    def started(self, pid: int) -> None:
        """A tool has been started: wait(2) for it from now on. 0: no tool, but a connection is about to be made."""

    def dropped(self, tool: tools.Tool) -> None:
        """The login has closed its side of a tool, which is to end by that, or to be ended."""

    async def connect(self, wanted: Connect, seconds: float) -> tuple[tools.Tool | None, bytes]:
        """As :func:`conman_exec.tools.connect`, without blocking."""


async def open_session(conversation: Dialogue, path: str = "", keeper: Keeper | None = None) -> OpenSession:
    """Log in; ``path`` is where tools are searched. Raises :class:`LoginFailed`; when cancelled, nothing is left.

    Without a ``keeper`` the tools that the login drops are waited for here, and the last one by the caller.
    """
    login = _Login(conversation, path, keeper or _OwnKeeper())
    try:
        opened = await login.run()
    except tools.ToolError as error:
        raise LoginFailed(f"{error}.") from error
    finally:
        login.stop_watching()
        if not login.is_open:
            login.drop_tool()
    assert login.tool is not None
    session = KINDS[opened.kind](*opened.options)
    session.output(opened.output, asyncio.get_running_loop().time())
    tool = login.tool
    return OpenSession(tool.descriptor, tool.pid, tool.on_terminal, opened.tool, session, tool.codec, opened.notice)


class _Login:
    def __init__(self, conversation: Dialogue, path: str, keeper: Keeper) -> None:
        self.dialogue, self.path, self._keeper = conversation, path, keeper
        self.tool: tools.Tool | None = None
        self.is_open = False
        self._watched: fdpexpect.fdspawn[bytes] | None = None
        self._unsent = b""

    async def run(self) -> Opened:
        now = asyncio.get_running_loop().time
        self.dialogue.begin(now())
        while True:
            for event in self.dialogue.events():
                if isinstance(event, Opened):
                    self.is_open = True
                    return event
                if isinstance(event, Failed):
                    raise LoginFailed(event.reason)
                if isinstance(event, (Become, Open)):
                    raise LoginFailed("not in a daemon: relay = no and serial ports are for programs.")
                await self._carry_out(event)
            if not self.dialogue.over:
                await self._wait()

    async def _carry_out(self, event: Run | Connect | Send) -> None:
        if isinstance(event, Send):
            codec = self.tool.codec if self.tool else None
            self._unsent += codec.encode(event.data) if codec else event.data
            self._write()
            return
        self.stop_watching()
        self.drop_tool()
        loop = asyncio.get_running_loop()
        if isinstance(event, Run):
            self.tool = tools.start(event, self.path)
            # First of all: from now on there is a child, even if nothing can be made of it.
            self._keeper.started(self.tool.pid)
            self._watch(self.tool)
            return
        self._keeper.started(0)
        left = (self.dialogue.deadline() or loop.time()) - loop.time()
        connected, words = await self._keeper.connect(event, left)
        if connected is not None:
            self._watch(connected)
        self.dialogue.receive(words, loop.time())
        if connected is None:
            self.dialogue.receive_eof(loop.time())

    def _watch(self, tool: tools.Tool) -> None:
        self.tool = tool
        # A copy of the descriptor, for pexpect closes what it has read the end of.
        self._watched = fdpexpect.fdspawn(os.dup(tool.descriptor), timeout=None, maxread=relay.CHUNK_BYTES)

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time
        deadline = self.dialogue.deadline()
        left = None if deadline is None else max(0.0, deadline - now())
        if self._watched is None:  # the dialogue goes on without a tool: nothing but time can come
            await asyncio.sleep(left or 0)
            self.dialogue.expire(now())
            return
        found = await self._watched.expect(_EVENTS, timeout=left, async_=True)
        if found == _TIMEOUT and self._watched.buffer:  # it came while the time-out was on its way to us
            found = await self._watched.expect(_EVENTS, timeout=0, async_=True)
        if found == _DATA:
            data = self._watched.after
            assert isinstance(data, bytes) and self.tool is not None
            if self.tool.codec:
                data = self.tool.codec.receive(data)
                self._unsent += self.tool.codec.replies()
            self._write()
            self.dialogue.receive(data, now())
        elif found == _EOF:
            self.stop_watching()
            self.drop_tool()
            self.dialogue.receive_eof(now())
        self.dialogue.expire(now())

    def _write(self) -> None:
        """All that a login sends fits in any socket; what should not is sent with the next answer."""
        try:
            while self._unsent and self.tool is not None:
                self._unsent = self._unsent[os.write(self.tool.descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # its end will be read
            self._unsent = b""

    def stop_watching(self) -> None:
        watched, self._watched = self._watched, None
        if watched is None:
            return
        transport = watched.async_pw_transport
        if transport is not None:
            transport[1].close()  # closes the copy
        else:
            watched.close()

    def drop_tool(self) -> None:
        self._unsent = b""
        tool, self.tool = self.tool, None
        if tool is None:
            return
        os.close(tool.descriptor)
        if tool.pid:
            self._keeper.dropped(tool)


class _OwnKeeper:
    """For a caller that has nothing of the kind."""

    _reapers: set[asyncio.Task[None]] = set()

    def started(self, pid: int) -> None:
        pass

    def dropped(self, tool: tools.Tool) -> None:
        reaper = asyncio.get_running_loop().create_task(_reap(tool.pid, tool.on_terminal))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)

    async def connect(self, wanted: Connect, seconds: float) -> tuple[tools.Tool | None, bytes]:
        # In a thread: names are looked up, which may take as long as it likes.
        connecting = asyncio.get_running_loop().run_in_executor(None, tools.connect, wanted, seconds)
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_connection)
            raise


async def _reap(pid: int, on_terminal: bool) -> None:
    """Wait for a tool whose side was closed. One on a socket ends when its BMC answers, or has been given up."""
    looks = 0
    while True:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        looks += 1
        if looks == _REAPS_BEFORE_KILL and on_terminal:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_REAP_SECONDS if looks < _REAPS_BEFORE_KILL else 1.0)


def _close_connection(connecting: asyncio.Future[tuple[tools.Tool | None, bytes]]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        tool, _ = connecting.result()
        if tool is not None:
            os.close(tool.descriptor)
