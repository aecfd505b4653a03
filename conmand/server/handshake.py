"""One connection's handshake: from the peer's first byte to its request, and the way to answer it.

Nothing a peer does here ends or blocks the daemon: it has a time limit, and what all peers together may send before
anybody knows them is bounded.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Awaitable, List, Optional, Sequence, TypeVar

from conman import protocol
from conman.address import joined
from conman.protocol import ErrorCode, Request
from conmand.errors import reason
from conmand.server.daemonlog import DaemonLog
from conmand.server.resolver import PeerName

HANDSHAKE_SECONDS = 60.0
"""From accept to a complete request; people type neither, programs need milliseconds."""

REPLY_SECONDS = 60.0
"""For a client to take the whole of a reply."""

LINGER_SECONDS = 2.0
"""For a client to close after its reply; closing first with input unread would destroy the reply on its way."""

MAX_LONG_REQUESTS_BYTES = 64 * 1024 * 1024
"""For all connections together, what they have sent beyond 8 KiB each before their request is answered. Without it, a
thousand peers with a MiB each would cost a GiB before any of them is known."""

READ_BYTES = 65536

UNKNOWN_USER = "unknown"
"""Of a peer that has not said who it is."""

T = TypeVar("T")


class Peer:
    """Who is at the other end. ``user`` is the kernel's word for it, ``None`` where the peer's own has to do; ``port``
    is the process id where there is no port."""

    __slots__ = ("name", "address", "port", "user")

    def __init__(self, name: PeerName, address: str, port: int, user: Optional[str] = None) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.user = user

    @property
    def label(self) -> str:
        """``FQDN:PORT``."""
        return joined(self.name.fqdn, self.port)


class Caller:
    """A peer that has said who it is: its socket until a session takes it, and the way to answer it."""

    __slots__ = ("sock", "peer", "user", "tty", "_log", "_loop")

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
        *,
        user: str = UNKNOWN_USER,
        tty: Optional[str] = None,
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.user = user
        self.tty = tty
        self._log = daemon_log
        self._loop = loop

    @property
    def label(self) -> str:
        return f"{self.user}@{self.peer.label}"

    async def send(self, data: bytes) -> None:
        """Raises ``OSError``, or ``asyncio.TimeoutError`` if the peer does not take it."""
        await in_time(self._loop.sock_sendall(self.sock, data), REPLY_SECONDS)

    async def send_last(self, data: bytes) -> None:
        """Send a reply, half-close, and wait a little for the peer's end, so that the reply is not lost in a reset."""
        try:
            await self.send(data)
            self.sock.shutdown(socket.SHUT_WR)
            deadline = self._loop.time() + LINGER_SECONDS
            while await in_time(self._loop.sock_recv(self.sock, READ_BYTES), deadline - self._loop.time()):
                pass
        except asyncio.TimeoutError:
            pass
        except (ConnectionError, OSError):
            pass  # the peer has what it wanted, or does not want it

    async def refuse(self, code: ErrorCode, message: str, lines: Sequence[str] = ()) -> None:
        """Answer with an error; its words are logged too."""
        self._log.notice(f"Client <{self.label}> request failed: {message}")
        await self.send_last(protocol.encode_error(code, message, lines))


class Asked:
    """A request, and what its peer has sent after it."""

    __slots__ = ("request", "rest")

    def __init__(self, request: Request, rest: bytes) -> None:
        self.request = request
        self.rest = rest


class ByteBudget:
    """Of what all connections may send before their requests are answered, how much is left."""

    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes


class Handshake:
    """Greeting and request of one connection, read as they are needed, until a deadline on the loop's clock."""

    def __init__(
        self, caller: Caller, daemon_log: DaemonLog, loop: asyncio.AbstractEventLoop, budget: ByteBudget
    ) -> None:
        self._caller = caller
        self._log = daemon_log
        self._loop = loop
        self._deadline = loop.time() + HANDSHAKE_SECONDS
        self._budget = budget
        self._free_bytes = protocol.MAX_GREETING_BYTES  # left of what does not count
        self._counted_bytes = 0
        self._core = protocol.ServerHandshake()
        self._events: List[protocol.HandshakeEvent] = []

    async def request(self) -> Optional[Asked]:
        """Greet the peer, learn its name, and return what it asks; ``None`` if nothing came of it, which was said."""
        caller = self._caller
        greeting = await self._next("greeting")
        if isinstance(greeting, protocol.Failed):
            await caller.refuse(greeting.code, greeting.message)
        if not isinstance(greeting, protocol.GreetingReceived):
            return None
        await caller.send(protocol.encode_ok())
        self._learn(greeting.greeting)
        event = await self._next("request")
        if isinstance(event, protocol.Failed):
            await caller.refuse(event.code, event.message)
        if not isinstance(event, protocol.RequestReceived):
            return None
        return Asked(event.request, event.rest)

    def _learn(self, greeting: protocol.Greeting) -> None:
        """Who it is; the kernel's word counts for more than the peer's own."""
        caller = self._caller
        caller.tty = greeting.tty
        if caller.peer.user is None:
            caller.user = greeting.user
        elif caller.peer.user != greeting.user:
            self._log.info(f'Client <{caller.label}> called itself "{greeting.user}"')

    async def _next(self, what: str) -> Optional[protocol.HandshakeEvent]:
        """The next thing the peer says, or ``None`` (logged) if it went away or took too long."""
        label = self._caller.peer.label
        try:
            event = await self._next_event()
        except asyncio.TimeoutError:
            self._log.notice(f"Unable to read {what} from <{label}>: {os.strerror(errno.ETIMEDOUT)}")
            return None
        except OSError as error:
            self._log.notice(f"Unable to read {what} from <{label}>: {reason(error)}")
            return None
        if isinstance(event, protocol.Eof):
            self._log.notice(f"Connection terminated by <{label}>")
            return None
        return event

    async def _next_event(self) -> protocol.HandshakeEvent:
        """Raises ``OSError``, or ``asyncio.TimeoutError`` at the deadline."""
        sock = self._caller.sock
        while not self._events:
            data = await in_time(self._loop.sock_recv(sock, READ_BYTES), self._deadline - self._loop.time())
            self._count(len(data))
            self._events = self._core.receive(data) if data else self._core.receive_eof()
        return self._events.pop(0)

    def _count(self, received_bytes: int) -> None:
        self._free_bytes -= received_bytes
        excess = max(-self._free_bytes, 0)
        self._free_bytes += excess
        if excess > self._budget.left_bytes:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        self._budget.left_bytes -= excess
        self._counted_bytes += excess

    def forget(self) -> None:
        """What was received is kept no longer."""
        self._budget.left_bytes += self._counted_bytes
        self._counted_bytes = 0


async def in_time(operation: Awaitable[T], seconds: float) -> T:
    """``operation``'s result; raises ``asyncio.TimeoutError`` after ``seconds``."""
    return await asyncio.wait_for(operation, max(seconds, 0.001))
