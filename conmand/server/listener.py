"""The client port: accepting connections, each served by a task until its session begins or its answer is sent.

Nothing a peer does here ends or blocks the daemon: a silent one is dropped after a time limit, too many are refused,
and without a free descriptor accepting pauses (the original exits or waits for ever, errata A1, A2, A4).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial
from typing import Dict, Optional, Sequence, Set

from conmand.errors import FatalError, reason
from conmand.server import handshake, hosts_access
from conmand.server.answers import Answers, Sessions
from conmand.server.daemonlog import DaemonLog
from conmand.server.handshake import UNKNOWN_USER, ByteBudget, Caller, Handshake, Peer
from conmand.server.listening import ListeningSocket
from conmand.server.peers import LOCAL_HOST, Origin, origin
from conmand.server.resolver import NameResolver, PeerName

ACCEPTS_PER_WAKEUP = 64
PAUSE_SECONDS = 1.0
"""How long accepting rests when descriptors or memory are used up."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """Accepts clients on every socket of ``listening`` and owns their handshakes; sessions are ``sessions``'."""

    def __init__(
        self,
        listening: Sequence[ListeningSocket],
        answers: Answers,
        sessions: Sessions,
        resolver: NameResolver,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
        *,
        keepalive: bool,
        tcpwrappers: bool,
        max_clients: int,
    ) -> None:
        self._listening = list(listening)
        self._answers = answers
        self._sessions = sessions
        self._resolver = resolver
        self._loop = loop
        self._log = daemon_log
        self._keepalive = keepalive
        self._tcpwrappers = tcpwrappers
        self._max_clients = max_clients
        self._handshakes: Dict[asyncio.Task[None], None] = {}  # oldest first
        self._dropped: Set[asyncio.Task[None]] = set()  # cancelled, and not yet gone
        self._long_requests = ByteBudget(handshake.MAX_LONG_REQUESTS_BYTES)
        self._paused: Optional[asyncio.TimerHandle] = None
        self._exhausted = False

    def configure(self, *, keepalive: bool, tcpwrappers: bool, max_clients: int) -> None:
        """For those who connect from now on."""
        self._keepalive = keepalive
        self._tcpwrappers = tcpwrappers
        self._max_clients = max_clients

    def start(self) -> None:
        for one in self._listening:
            self._listen(one)

    def _listen(self, one: ListeningSocket) -> None:
        self._loop.add_reader(one.sock.fileno(), partial(self._on_acceptable, one.sock))

    async def renew(self) -> None:
        """Make socket files anew that somebody has removed: with them the way in is gone."""
        for place, one in enumerate(list(self._listening)):
            if not one.is_lost():
                continue
            try:
                making = self._loop.run_in_executor(None, one.made_anew)
                new = await asyncio.shield(making)
            except asyncio.CancelledError:
                making.add_done_callback(_close_unwanted)
                raise
            except (FatalError, RuntimeError) as error:  # the latter: no thread can be started
                self._log.error(str(error))
                continue
            if place >= len(self._listening):  # stopped meanwhile
                new.close()
                return
            self._listening[place] = new
            self._loop.remove_reader(one.sock.fileno())
            one.sock.close()
            self._listen(new)
            self._log.warning(f"{new.announcement}, whose file had been removed")

    async def stop(self) -> None:
        """Stop accepting, end the handshakes, close the sessions. Idempotent."""
        listening, self._listening = self._listening, []
        for one in listening:
            self._loop.remove_reader(one.sock.fileno())
            try:
                one.close()
            except OSError as error:
                self._log.error(f"Unable to close listening socket: {error.strerror}")
        if self._paused is not None:
            self._paused.cancel()
        handshakes = list(self._handshakes)
        for task in handshakes:
            task.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        self._sessions.stop()

    # Accepting.

    def _on_acceptable(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_WAKEUP):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            self._exhausted = False
            try:
                come_from = origin(sock, address)
            except OSError as error:
                self._log.warning(f"Unable to get address of remote peer: {reason(error)}")
                sock.close()
                continue
            if len(self._handshakes) + len(self._sessions) >= self._max_clients and not self._make_room():
                self._log.notice(
                    f"Refused connection from <{come_from.label}>: {self._max_clients} clients are connected"
                )
                sock.close()
                continue
            sock.setblocking(False)
            task = self._loop.create_task(self._serve(sock, come_from))
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
            for one in self._listening:
                self._loop.remove_reader(one.sock.fileno())
            self._paused = self._loop.call_later(PAUSE_SECONDS, self._resume)
            if self._exhausted:
                return  # said already
            self._exhausted = True
        self._log.warning(f"Unable to accept new connection: {error.strerror}; clients wait until it succeeds")

    def _resume(self) -> None:
        self._paused = None
        self.start()

    # One connection.

    async def _serve(self, sock: socket.socket, come_from: Origin) -> None:
        started_session = False
        try:
            started_session = await self._answer(sock, come_from)
        except asyncio.CancelledError:
            if asyncio.current_task() in self._dropped:
                self._log.notice(
                    f"Dropped connection from <{come_from.label}>: it made no request, and others wait"
                )
            raise
        except OSError as error:
            self._log.notice(f"Unable to write to <{come_from.label}>: {reason(error)}")
        finally:
            if not started_session:
                sock.close()

    async def _answer(self, sock: socket.socket, come_from: Origin) -> bool:
        """Returns whether ``sock`` has become a session's."""
        if come_from.address is None:
            peer = await self._local_peer(come_from)
        else:
            if self._keepalive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = await self._resolver.peer_name(come_from.address)
            peer = Peer(name, come_from.address, come_from.port)
            if self._tcpwrappers and not await self._admitted(sock, peer):
                return False
        caller = Caller(sock, peer, self._log, self._loop, user=peer.user or UNKNOWN_USER)
        incoming = Handshake(caller, self._log, self._loop, self._long_requests)
        try:
            asked = await incoming.request()
            return asked is not None and await self._answers.answer(caller, asked)
        finally:
            incoming.forget()

    async def _local_peer(self, come_from: Origin) -> Peer:
        """On a Unix socket; whom the file's mode lets in may come, hosts.allow speaks of hosts."""
        assert come_from.uid is not None, "the kernel tells it with the process id"
        user = await self._resolver.user_name(come_from.uid)
        return Peer(PeerName(LOCAL_HOST, LOCAL_HOST), LOCAL_HOST, come_from.port, user)

    async def _admitted(self, sock: socket.socket, peer: Peer) -> bool:
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


def _close_unwanted(making: asyncio.Future[ListeningSocket]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()
