"""``-r -v``: asking the running daemon for a reload, and hearing what came of it.

A signal has no answer. So a daemon also listens on a socket without a file, in the kernel's table of abstract names,
which is there for as long as the daemon is and cannot be left behind. Each side has the kernel tell who the other is:
the daemon serves root and its own user, who may also signal it; the asker believes only the process it has looked up.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import Awaitable, Callable, Optional, Tuple

from conmand.server.tasks import OwnedTasks

REQUEST = b"RELOAD\n"
REQUEST_SECONDS = 10.0
"""For the request to come; an asker sends it at once."""

ANSWER_SECONDS = 120.0
"""For the daemon to reload: a hung file server holds its logs for ten, and a large site is read in a few."""

PAUSE_SECONDS = 1.0
"""Between two attempts to accept when descriptors are used up."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024

_CREDENTIALS = struct.Struct("iII")  # struct ucred of unix(7): pid, uid, gid


@dataclass(frozen=True)
class Outcome:
    """Of a reload: whether it was done, and what to tell whoever asked for it; of a refusal, the lines of the log."""

    is_done: bool
    lines: Tuple[str, ...]


def address_of(pid: int) -> str:
    return f"\0conmand-py-{pid}"


class ControlSocket:
    """The daemon's side. ``reload`` does the work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reload: Callable[[], Awaitable[Outcome]]) -> None:
        self._loop = loop
        self._reload = reload
        self._listening: Optional[socket.socket] = None
        self._paused: Optional[asyncio.TimerHandle] = None
        self._tasks = OwnedTasks(self._loop)

    def start(self) -> Optional[str]:
        """Returns why nobody can ask, if so: another container of the same network may have our pid. Signals work."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.bind(address_of(os.getpid()))
            sock.listen(8)
        except OSError as error:
            sock.close()
            return error.strerror or str(error)
        self._listening = sock
        self._resume()
        return None

    def _resume(self) -> None:
        assert self._listening is not None, "stopping cancels the timer"
        self._paused = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def stop(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        if self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None
        await self._tasks.cancel()

    def _accept(self) -> None:
        assert self._listening is not None, "a reader is registered only while it is open"
        try:
            sock, _address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # descriptors are used up: without a pause, who waits would keep us busy
            self._loop.remove_reader(self._listening.fileno())
            self._paused = self._loop.call_later(PAUSE_SECONDS, self._resume)
            return
        if peer(sock)[1] not in (0, os.geteuid()):
            sock.close()
            return
        sock.setblocking(False)
        self._tasks.start(self._answer(sock))

    async def _answer(self, sock: socket.socket) -> None:
        with sock:
            try:
                request = await asyncio.wait_for(self._loop.sock_recv(sock, len(REQUEST)), REQUEST_SECONDS)
                if request != REQUEST:
                    return
                outcome = await self._reload()
                answer = json.dumps({"done": outcome.is_done, "lines": outcome.lines}).encode("ascii")
                await asyncio.wait_for(self._loop.sock_sendall(sock, answer), REQUEST_SECONDS)
            except (OSError, asyncio.TimeoutError):
                pass  # whoever asked has gone


def request_reload(pid: int) -> Optional[Outcome]:
    """Have the daemon ``pid`` reload, and wait for the outcome. ``None`` if it does not serve us: then signal it.

    Raises ``OSError`` if there is no answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect(address_of(pid))
        except OSError:
            return None
        if peer(sock)[0] != pid:
            return None  # the name was taken by somebody else
        try:
            sock.sendall(REQUEST)
            answer = _read_all(sock)
        except ConnectionError:
            return None  # we are not among those it serves
    if not answer:
        return None
    values = json.loads(answer)
    return Outcome(bool(values["done"]), tuple(values["lines"]))


def _read_all(sock: socket.socket) -> bytes:
    answer = b""
    while len(answer) < MAX_ANSWER_BYTES:
        chunk = sock.recv(65536)
        if not chunk:
            break
        answer += chunk
    return answer


def peer(sock: socket.socket) -> Tuple[int, int]:
    """Pid and user id of the other end, as the kernel has them: of who connected, or who listens."""
    pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid
