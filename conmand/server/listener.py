"""The client port: accepting, the handshake, and the answer to a request.

Each connection is one task until its session begins or its answer is sent; a session costs no task. Nothing a peer does
here ends or blocks the daemon: a silent one is dropped after a time limit, too many are refused, and without a free
descriptor accepting pauses (the original exits or waits for ever, errata A1, A2, A4).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Awaitable, Dict, List, Optional, Sequence, Set, Tuple, TypeVar

from conman import protocol
from conman.protocol import ErrorCode, Request, RequestCommand
from conmand.errors import reason
from conmand.proto.delta import format_delta
from conmand.server import hosts_access, notices, status
from conmand.server.client import Client, ClientContext
from conmand.server.daemonlog import DaemonLog
from conmand.server.hub import Participant, SharedConsole
from conmand.server.matching import Matcher, PatternError
from conmand.server.resolver import NameResolver, PeerName

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
BACKLOG = 1024
ACCEPTS_PER_WAKEUP = 64
PAUSE_SECONDS = 1.0
"""How long accepting rests when descriptors or memory are used up."""


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

T = TypeVar("T")


def bind(port: int, *, loopback: bool) -> socket.socket:
    """The listening socket, non-blocking and close-on-exec. Raises ``OSError`` if the port is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if loopback else "0.0.0.0", port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class Listener:
    """Accepts clients and answers them; owns the handshakes and the sessions."""

    def __init__(
        self,
        sock: socket.socket,
        consoles: Dict[str, SharedConsole],
        matcher: Matcher,
        resolver: NameResolver,
        context: ClientContext,
        *,
        keepalive: bool,
        tcpwrappers: bool,
        max_clients: int,
    ) -> None:
        self._sock = sock
        self._consoles = consoles
        self._matcher = matcher
        self._resolver = resolver
        self._context = context
        self._loop = context.loop
        self._log: DaemonLog = context.daemon_log
        self._keepalive = keepalive
        self._tcpwrappers = tcpwrappers
        self._max_clients = max_clients
        self._handshakes: Dict[asyncio.Task[None], None] = {}  # oldest first
        self._dropped: Set[asyncio.Task[None]] = set()  # cancelled, and not yet gone
        self._long_requests = _Budget(MAX_LONG_REQUESTS_BYTES)
        self.clients: Set[Client] = set()
        self._paused: Optional[asyncio.TimerHandle] = None
        self._exhausted = False
        context.closed = self.clients.discard

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._on_acceptable)

    async def stop(self) -> None:
        """Stop accepting, end the handshakes, close the sessions. Idempotent."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            try:
                self._sock.close()
            except OSError as error:
                self._log.error(f"Unable to close listening socket: {error.strerror}")
        if self._paused is not None:
            self._paused.cancel()
        handshakes = list(self._handshakes)
        for task in handshakes:
            task.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        for client in list(self.clients):
            client.abort()

    # Accepting.

    def _on_acceptable(self) -> None:
        for _ in range(ACCEPTS_PER_WAKEUP):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            self._exhausted = False
            if len(self._handshakes) + len(self.clients) >= self._max_clients and not self._make_room():
                self._log.notice(
                    f"Refused connection from <{address[0]}:{address[1]}>: {self._max_clients} clients are connected"
                )
                sock.close()
                continue
            sock.setblocking(False)
            task = self._loop.create_task(self._serve(sock, address))
            self._handshakes[task] = None
            task.add_done_callback(self._handshakes.pop)

    def _make_room(self) -> bool:
        """Drop the connection that has been silent for longest, so that silence cannot keep people out."""
        for task in self._handshakes:
            if not task.cancelled() and task not in self._dropped:
                self._dropped.add(task)
                task.add_done_callback(self._dropped.discard)
                task.cancel()
                return True
        return False

    def _accept_failed(self, error: OSError) -> None:
        if error.errno in _EXHAUSTED:
            # The waiting connection keeps the socket readable: without a pause this would be a busy loop.
            self._loop.remove_reader(self._sock.fileno())
            self._paused = self._loop.call_later(PAUSE_SECONDS, self._resume)
            if self._exhausted:
                return  # said already
            self._exhausted = True
        self._log.warning(f"Unable to accept new connection: {error.strerror}; clients wait until it succeeds")

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._sock.fileno(), self._on_acceptable)

    # One connection.

    async def _serve(self, sock: socket.socket, address: Tuple[str, int]) -> None:
        started_session = False
        try:
            started_session = await self._handshake(sock, address)
        except asyncio.CancelledError:
            if asyncio.current_task() in self._dropped:
                self._log.notice(
                    f"Dropped connection from <{address[0]}:{address[1]}>: it made no request, and others wait"
                )
            raise
        except OSError as error:
            self._log.notice(f"Unable to write to <{address[0]}:{address[1]}>: {reason(error)}")
        finally:
            if not started_session:
                sock.close()

    async def _handshake(self, sock: socket.socket, address: Tuple[str, int]) -> bool:
        """Returns whether ``sock`` has become a session's."""
        if self._keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = await self._resolver.peer_name(address[0])
        peer = _Peer(name, address[0], address[1])
        if self._tcpwrappers and not await self._admitted(sock, peer):
            return False
        incoming = _Handshake(self._loop, sock, self._loop.time() + HANDSHAKE_SECONDS, self._long_requests)
        try:
            return await self._dialogue(sock, peer, incoming)
        finally:
            incoming.forget()

    async def _dialogue(self, sock: socket.socket, peer: _Peer, incoming: _Handshake) -> bool:
        greeting = await self._next_event(incoming, peer, "greeting")
        if isinstance(greeting, protocol.Failed):
            await self._refuse(sock, peer, "unknown", greeting.code, greeting.message)
        if not isinstance(greeting, protocol.GreetingReceived):
            return False
        await self._send(sock, protocol.encode_ok())
        user = greeting.greeting.user
        event = await self._next_event(incoming, peer, "request")
        if isinstance(event, protocol.Failed):
            await self._refuse(sock, peer, user, event.code, event.message)
        if not isinstance(event, protocol.RequestReceived):
            return False
        return await self._answer(sock, peer, greeting.greeting, event.request, event.rest)

    async def _next_event(
        self, incoming: _Handshake, peer: _Peer, what: str
    ) -> Optional[protocol.HandshakeEvent]:
        """The next thing the peer says, or ``None`` (logged) if it went away or took too long."""
        try:
            event = await incoming.next_event()
        except asyncio.TimeoutError:
            self._log.notice(f"Unable to read {what} from <{peer.label}>: {os.strerror(errno.ETIMEDOUT)}")
            return None
        except OSError as error:
            self._log.notice(f"Unable to read {what} from <{peer.label}>: {reason(error)}")
            return None
        if isinstance(event, protocol.Eof):
            self._log.notice(f"Connection terminated by <{peer.label}>")
            return None
        return event

    async def _admitted(self, sock: socket.socket, peer: _Peer) -> bool:
        """Whether hosts.allow and hosts.deny let the peer in; the look-ups they need run in a thread."""
        named = peer.name.fqdn != peer.address
        client = hosts_access.ClientInfo(
            peer.address,
            peer.name.fqdn if named else None,
            named and await self._resolver.is_confirmed(peer.name.fqdn, peer.address),
        )
        decision = await self._loop.run_in_executor(None, hosts_access.check, client, sock.getsockname()[0])
        for warning in decision.warnings:
            self._log.warning(warning)
        if not decision.granted:
            self._log.notice(f"TCP-Wrappers rejected connection from <{peer.label}>")
        return decision.granted

    # Answers.

    async def _answer(
        self, sock: socket.socket, peer: _Peer, greeting: protocol.Greeting, request: Request, rest: bytes
    ) -> bool:
        user = greeting.user

        async def refuse(code: ErrorCode, message: str, lines: Sequence[str] = ()) -> bool:
            await self._refuse(sock, peer, user, code, message, lines)
            return False

        try:
            names = await self._matcher.match(request.patterns, request.regex)
        except PatternError as error:
            return await refuse(ErrorCode.BAD_REGEX, str(error))
        if not names:
            return await refuse(ErrorCode.NO_CONSOLES, protocol.NO_CONSOLES)
        if request.command is RequestCommand.QUERY and request.status:
            self._log.info(f"Client <{user}@{peer.label}> issued status query")
            await self._send_status(sock, names)
            return False
        reply = protocol.encode_ok(names, reset=self._context.resets.configured)
        if request.command is RequestCommand.QUERY:
            self._log.info(f"Client <{user}@{peer.label}> issued query")
            await self._send_last(sock, reply)
            return False
        if len(names) > 1 and not (request.command is RequestCommand.CONNECT and request.broadcast):
            return await refuse(ErrorCode.TOO_MANY_CONSOLES, protocol.too_many_consoles(len(names)), names)
        consoles = [self._consoles[name] for name in names]
        writing = request.command is RequestCommand.CONNECT
        if writing and not request.force and not request.join:
            busy = [console for console in consoles if console.writers]
            if busy:
                lines = [line for console in busy for line in _busy_lines(console)]
                return await refuse(ErrorCode.BUSY, protocol.consoles_busy(len(busy)), lines)
        client = Client(
            sock,
            self._context,
            user=user,
            tty=greeting.tty,
            host=peer.name.host,
            fqdn=peer.name.fqdn,
            port=peer.port,
            broadcast=request.broadcast and writing and len(consoles) > 1,
            quiet=request.quiet,
            force=request.force and writing,
        )
        self.clients.add(client)
        client.start(consoles, reply, rest, writing=writing)
        return True

    async def _refuse(
        self, sock: socket.socket, peer: _Peer, user: str, code: ErrorCode, message: str, lines: Sequence[str] = ()
    ) -> None:
        self._log.notice(f"Client <{user}@{peer.label}> request failed: {message}")
        await self._send_last(sock, protocol.encode_error(code, message, lines))

    async def _send_status(self, sock: socket.socket, names: Sequence[str]) -> None:
        """A block at a time: nobody else is to wait while thousands of consoles are described."""
        await self._send(sock, protocol.encode_status_ok())
        for start in range(0, len(names), status.CONSOLES_PER_BLOCK):
            block = names[start : start + status.CONSOLES_PER_BLOCK]
            await self._send(sock, b"".join([status.encode_status(self._consoles[name]) for name in block]))
        await self._send_last(sock, b"")

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        await _in_time(self._loop.sock_sendall(sock, data), REPLY_SECONDS)

    async def _send_last(self, sock: socket.socket, data: bytes) -> None:
        """Send a reply, half-close, and wait a little for the peer's end, so that the reply is not lost in a reset."""
        try:
            await self._send(sock, data)
            sock.shutdown(socket.SHUT_WR)
            deadline = self._loop.time() + LINGER_SECONDS
            while await _in_time(self._loop.sock_recv(sock, 65536), deadline - self._loop.time()):
                pass
        except asyncio.TimeoutError:
            pass
        except (ConnectionError, OSError):
            pass  # the peer has what it wanted, or does not want it


class _Budget:
    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes


class _Handshake:
    """Events of the handshake core, read from the socket as they are needed, until a deadline on the loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, deadline: float, budget: _Budget) -> None:
        self._loop = loop
        self._sock = sock
        self._deadline = deadline
        self._budget = budget
        self._free_bytes = protocol.MAX_GREETING_BYTES  # left of what does not count
        self._counted_bytes = 0
        self._core = protocol.ServerHandshake()
        self._events: List[protocol.HandshakeEvent] = []

    async def next_event(self) -> protocol.HandshakeEvent:
        """Raises ``OSError``, or ``asyncio.TimeoutError`` at the deadline."""
        while not self._events:
            data = await _in_time(self._loop.sock_recv(self._sock, READ_BYTES), self._deadline - self._loop.time())
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


async def _in_time(operation: Awaitable[T], seconds: float) -> T:
    return await asyncio.wait_for(operation, max(seconds, 0.001))


class _Peer:
    """Who is at the other end. ``label`` is ``FQDN:PORT``."""

    __slots__ = ("name", "address", "port")

    def __init__(self, name: PeerName, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port

    @property
    def label(self) -> str:
        return f"{self.name.fqdn}:{self.port}"


def _busy_lines(console: SharedConsole) -> List[str]:
    return [_busy_line(console.name, writer) for writer in console.writers]


def _busy_line(console: str, writer: Participant) -> str:
    idle = format_delta(writer.idle_seconds)
    return f"Console [{console}] open {writer.mode} by {notices.who(writer)} (idle {idle})."
