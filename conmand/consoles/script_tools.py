"""The tools of device scripts inside the daemon, from start to end, and connections where there is no tool."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Callable, Dict, Optional, Tuple

from conman_exec import tools
from conman_exec.dialogue import Connect
from conman_exec.telnet import TelnetCodec
from conmand.consoles.base import READ_BYTES, Children, Resolver
from conmand.timeouts import within

FAREWELL_SECONDS = 0.4
"""For a tool with a terminal that was told to end its session, before the terminal is closed: that kills it."""

TERMINAL_SECONDS = 1.0
SOCKET_SECONDS = 30.0
"""For a tool to end after its side was closed; then it is killed. One on a socket, ipmitool, tells its BMC first, and
goes when that has answered or been given up."""


class Tools:
    """All tools of this process: each is waited for, and seen to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, children: Children, resolver: Resolver) -> None:
        self._loop = loop
        self._children = children
        self._resolver = resolver
        self._ending: Dict[int, _Ending] = {}

    def adopt(self, pid: int) -> None:
        if pid in self._ending:
            self._forget(pid)  # of one that had ended before its side was closed: the number is another's now
        self._children.adopt(pid, lambda status: self._ended(pid))

    def end(self, pid: int, on_terminal: bool) -> None:
        """Its side has been closed: see that it goes."""
        seconds = TERMINAL_SECONDS if on_terminal else SOCKET_SECONDS
        self._ending[pid] = _Ending(self._loop.call_later(seconds, self._kill, pid))

    def bid_farewell(self, pid: int, terminal: int, words: bytes) -> None:
        """Type ``words``, by which the tool ends its session; close its terminal when it has gone, or soon."""
        try:
            os.write(terminal, words)
        except OSError:
            os.close(terminal)
            self.end(pid, True)
            return
        # What it still has to say must not keep it from going.
        self._loop.add_reader(terminal, self._discard, terminal)
        self._ending[pid] = _Ending(self._loop.call_later(FAREWELL_SECONDS, self._hang_up, pid), terminal)

    def _discard(self, terminal: int) -> None:
        try:
            if os.read(terminal, READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:  # EIO is how a closed terminal reads
            pass
        self._loop.remove_reader(terminal)

    def _hang_up(self, pid: int) -> None:
        self._forget(pid)
        self.end(pid, True)

    def _kill(self, pid: int) -> None:
        self._forget(pid)
        self._children.kill(pid, signal.SIGKILL)

    def _ended(self, pid: int) -> None:
        if pid in self._ending:
            self._forget(pid)

    def _forget(self, pid: int) -> None:
        ending = self._ending.pop(pid)
        ending.timer.cancel()
        if ending.terminal >= 0:
            self._loop.remove_reader(ending.terminal)
            os.close(ending.terminal)

    async def connect(self, wanted: Connect, seconds: float) -> Tuple[Optional[tools.Tool], bytes]:
        """As ``conman_exec.tools.connect``, without blocking."""
        connecting = self._loop.create_task(self._connected(wanted))
        try:
            connection = await within(connecting, max(0.1, seconds))
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_connection)
            raise
        except asyncio.TimeoutError:
            return None, tools.telnet_words(wanted.host, socket.timeout("timed out"), wanted.port)
        except OSError as error:
            return None, tools.telnet_words(wanted.host, _plain(error), wanted.port)
        tools.set_keepalive(connection)
        return tools.Tool(connection.detach(), 0, TelnetCodec()), tools.telnet_words(wanted.host, None)

    async def _connected(self, wanted: Connect) -> socket.socket:
        """Try the host's addresses in turn; raises the last one's error."""
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        if wanted.port.isdigit():
            port = _port(wanted.port)
        else:  # in a thread: services may be asked of a directory server that does not answer
            port = await self._loop.run_in_executor(None, _port, wanted.port)
        for family, address in await self._resolver.resolve(wanted.host, port):
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                await self._loop.sock_connect(connection, address)
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure


class _Ending:
    """A tool that is to go: what happens otherwise, and its terminal if that is still open (else -1)."""

    __slots__ = ("timer", "terminal")

    def __init__(self, timer: asyncio.TimerHandle, terminal: int = -1) -> None:
        self.timer, self.terminal = timer, terminal


class ToolKeeper:
    """The ``conman_exec.aio.Keeper`` of one console. ``begun`` is told the pid of each tool, 0 of a connection."""

    def __init__(self, all_tools: Tools, begun: Callable[[int], None]) -> None:
        self._tools, self._begun = all_tools, begun
        self.pid = 0
        """Of the tool that the login has now; 0 if it has none."""

    def started(self, pid: int) -> None:
        self.pid = pid
        if pid:
            self._tools.adopt(pid)
        self._begun(pid)

    def dropped(self, tool: tools.Tool) -> None:
        self.pid = 0
        self._tools.end(tool.pid, tool.on_terminal)

    async def connect(self, wanted: Connect, seconds: float) -> Tuple[Optional[tools.Tool], bytes]:
        return await self._tools.connect(wanted, seconds)


def _close_connection(connecting: asyncio.Task[socket.socket]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _port(text: str) -> int:
    """A port may be a service's name, as with a telnet program."""
    try:
        port = int(text) if text.isdigit() else socket.getservbyname(text, "tcp")
    except OSError as error:
        raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype") from error
    if port > 65535:
        raise OSError(0, "port must be 0-65535.")
    return port


def _plain(error: OSError) -> OSError:
    """asyncio words errors "Connect call failed ..."; users know strerror(3)'s words."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error
    return OSError(error.errno, os.strerror(error.errno))
