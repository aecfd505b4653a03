"""The front's sessions: clients whose sockets have been handed to workers, and broadcasts over several of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from typing import Any, AsyncIterator, Callable, Dict, List, Mapping, Sequence, Tuple, cast

from conman import protocol
from conman.protocol import ErrorCode, RequestCommand
from conmand.config import specifiers
from conmand.config.model import ConsoleSettings
from conmand.consoles.base import State
from conmand.server import notices, status
from conmand.server.client import Client, ClientContext
from conmand.server.daemonlog import DaemonLog
from conmand.server.handshake import Asked, Caller
from conmand.server.hub import SharedConsole
from conmand.server.reset import ResetCommands
from conmand.server.workers import messages as m
from conmand.server.workers.broadcast import BroadcastClient, Share, give_words, person
from conmand.server.workers.process import WorkerGone, WorkerProcess


class _Handed:
    """A session in a worker. Our copy of its socket tells the client what happened if the worker cannot any more."""

    __slots__ = ("sock", "worker", "names", "caller", "has_begun")

    def __init__(self, sock: socket.socket, worker: WorkerProcess, names: Tuple[str, ...], label: str) -> None:
        self.sock = sock
        self.worker = worker
        self.names = names
        self.caller = label
        self.has_begun = False


class RemoteSessions:
    """Implements ``answers.Sessions`` for consoles that are in workers; ``worker_of`` is the front's own table."""

    def __init__(
        self,
        worker_of: Mapping[str, WorkerProcess],
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
        *,
        can_reset: bool,
    ) -> None:
        self.can_reset = can_reset
        self._worker_of = worker_of
        self._log = daemon_log
        self._loop = loop
        self._numbers = itertools.count(1)
        self._handed: Dict[int, _Handed] = {}
        self._broadcasts: Dict[int, BroadcastClient] = {}
        # Client asks resets for one thing, and a share is what it was given as a console.
        self._context = ClientContext(loop, daemon_log, cast(ResetCommands, _RemoteResets()), self._closed)

    def __len__(self) -> int:
        return len(self._handed) + len(self._broadcasts)

    async def begin(self, caller: Caller, asked: Asked, names: Sequence[str]) -> bool:
        """Begin a session with the consoles ``names``, or refuse. Returns whether the caller's socket was taken."""
        # A console may have gone from the configuration since it was looked for.
        names = [name for name in names if name in self._worker_of]
        if not names:
            await caller.refuse(ErrorCode.NO_CONSOLES, protocol.NO_CONSOLES)
            return False
        shares = self._shares(names)
        try:
            for worker in shares:
                await worker.ready()
            if len(shares) == 1:
                return self._hand_over(caller, asked, tuple(names), next(iter(shares)))
            return await self._begin_broadcast(caller, asked, names, shares)
        except WorkerGone:
            await self._refuse_for_now(caller, names)
            return False

    def _shares(self, names: Sequence[str]) -> Dict[WorkerProcess, List[str]]:
        made: Dict[WorkerProcess, List[str]] = {}
        for name in names:
            made.setdefault(self._worker_of[name], []).append(name)
        return made

    async def _refuse_for_now(self, caller: Caller, names: Sequence[str]) -> None:
        gone = [name for name in names if name not in self._worker_of or not self._worker_of[name].is_ready] or names
        what = f"Console [{gone[0]}] is" if len(gone) == 1 else f"{len(gone)} consoles are"
        await caller.refuse(ErrorCode.BUSY, f"{what} being restarted; try again soon")

    def _hand_over(self, caller: Caller, asked: Asked, names: Tuple[str, ...], worker: WorkerProcess) -> bool:
        if not worker.is_ready:
            raise WorkerGone()  # it was, when we began to wait; whoever told its clients knew nothing of this one
        session = next(self._numbers)
        self._handed[session] = _Handed(caller.sock, worker, names, caller.label)
        try:
            worker.send(m.Begin(session, caller.user, caller.tty, caller.peer, asked, names), caller.sock.fileno())
        except OSError:  # no descriptor is free for the time that it would have to wait
            del self._handed[session]
            raise
        return True

    # Broadcasts.

    async def _begin_broadcast(
        self, caller: Caller, asked: Asked, names: Sequence[str], by_worker: Dict[WorkerProcess, List[str]]
    ) -> bool:
        request = asked.request
        exclusive = not request.force and not request.join
        if exclusive:
            busy = await asyncio.gather(*(one.ask(m.WhoWrites(tuple(part))) for one, part in by_worker.items()))
            if any(busy):
                await _refuse_busy(caller, names, busy)
                return False
        session = next(self._numbers)
        client = BroadcastClient(
            caller.sock,
            self._context,
            user=caller.user,
            tty=caller.tty,
            host=caller.peer.name.host,
            fqdn=caller.peer.name.fqdn,
            port=caller.peer.port,
            broadcast=True,
            quiet=request.quiet,
            force=request.force and request.command is RequestCommand.CONNECT,
        )
        client.prepare([Share(session, worker, part) for worker, part in by_worker.items()])
        self._broadcasts[session] = client
        try:
            begun = await self._attach(client, caller, names, exclusive=exclusive)
        except BaseException:
            self._withdraw(session)
            raise
        if not begun:
            self._withdraw(session)
            return False
        reply = protocol.encode_ok(names, reset=self.can_reset)
        # A share has all that the session of a broadcast uses of a console.
        client.start(cast("List[SharedConsole]", client.shares), reply, asked.rest, writing=True)
        client.started()
        return True

    async def _attach(self, client: BroadcastClient, caller: Caller, names: Sequence[str], *, exclusive: bool) -> bool:
        """Make the client a writer everywhere. Returns whether that was allowed; who was refused has been told."""
        shares = list(client.shares)
        for share in shares:
            share.attached = True  # also if the answer never comes
        answers = await asyncio.gather(
            *(
                share.worker.ask(m.Attach(share.session, person(client), tuple(share.names), exclusive))
                for share in shares
            )
        )
        busy = [answer for answer in answers if not isinstance(answer, m.Attached)]
        if busy:
            # Somebody was quicker than we, between question and deed. Those that let us in hear that we left again.
            await _refuse_busy(caller, names, busy)
            return False
        give_words(shares, names, answers)
        return True

    def _withdraw(self, session: int) -> None:
        client = self._broadcasts.pop(session)
        for share in client.shares:
            share.detach()

    def _closed(self, client: Client) -> None:
        for session, other in list(self._broadcasts.items()):
            if other is client:
                self._withdraw(session)

    # Status.

    async def describe(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        """A block at a time, each gathered from the workers and put in order."""
        size = status.CONSOLES_PER_BLOCK * max(len(set(self._worker_of.values())), 1)
        for start in range(0, len(names), size):
            yield await self._describe_block(names[start : start + size])

    async def _describe_block(self, names: Sequence[str]) -> bytes:
        parts = self._shares([name for name in names if name in self._worker_of])
        described: Dict[str, bytes] = {}

        async def ask(worker: WorkerProcess, part: List[str]) -> None:
            with contextlib.suppress(WorkerGone):
                described.update(await worker.ask(m.Describe(tuple(part))))

        await asyncio.gather(*(ask(worker, part) for worker, part in parts.items()))
        return b"".join(
            [
                described.get(name) or _unreachable(self._worker_of[name].settings(name))
                for name in names
                if name in self._worker_of
            ]
        )

    # What workers say.

    def said(self, worker: WorkerProcess, message: Any) -> None:
        _HEARD[type(message)](self, worker, message)

    def _begun(self, worker: WorkerProcess, message: m.Begun) -> None:
        if message.session in self._handed:
            self._handed[message.session].has_begun = True

    def _ended(self, worker: WorkerProcess, message: m.Ended) -> None:
        handed = self._handed.pop(message.session, None)
        if handed is not None:
            handed.sock.close()

    def _inform(self, worker: WorkerProcess, message: m.Inform) -> None:
        client = self._broadcasts.get(message.session)
        if client is not None:
            client.hear(message)

    def _robbed(self, worker: WorkerProcess, message: m.Robbed) -> None:
        client = self._broadcasts.get(message.session)
        for share in client.shares if client is not None else ():
            if share.worker is worker:
                cast(BroadcastClient, client).hear_robbed(share, message)
                return

    def worker_gone(self, worker: WorkerProcess) -> None:
        """Tell the clients of a worker that has ended, and close their sessions."""
        for session, handed in list(self._handed.items()):
            if handed.worker is worker:
                del self._handed[session]
                self._tell_end(handed)
        for client in list(self._broadcasts.values()):
            for share in list(client.shares):
                if share.worker is worker:
                    client.lose(share, notices.framed(notices.worker_ended(share.names)))

    def _tell_end(self, handed: _Handed) -> None:
        if handed.has_begun:
            self._log.info(f"Client <{handed.caller}> disconnected")
            words = notices.framed(notices.worker_ended(handed.names))
        else:
            words = protocol.encode_error(
                ErrorCode.BUSY, f"Console [{handed.names[0]}] is being restarted; try again soon"
            )
        with contextlib.suppress(OSError):
            handed.sock.send(words)
        handed.sock.close()

    def stop(self) -> None:
        """Close all sessions at once. Idempotent. Workers close theirs when they are told to stop."""
        for client in list(self._broadcasts.values()):
            client.abort()

    def close(self) -> None:
        """When the workers have ended."""
        for handed in self._handed.values():
            handed.sock.close()
        self._handed.clear()


_HEARD: Dict[type, Callable[[RemoteSessions, WorkerProcess, Any], None]] = {
    m.Begun: RemoteSessions._begun,
    m.Ended: RemoteSessions._ended,
    m.Inform: RemoteSessions._inform,
    m.Robbed: RemoteSessions._robbed,
}


class _RemoteResets:
    """Reset commands run where the consoles are."""

    def reset(self, share: Share, client: Client) -> None:
        share.reset()


async def _refuse_busy(caller: Caller, names: Sequence[str], answers: Sequence[Mapping[str, List[str]]]) -> None:
    lines_of = {name: lines for answer in answers for name, lines in answer.items()}
    busy = [name for name in names if name in lines_of]
    lines = [line for name in busy for line in lines_of[name]]
    await caller.refuse(ErrorCode.BUSY, protocol.consoles_busy(len(busy)), lines)


def _unreachable(settings: ConsoleSettings) -> bytes:
    """The status of a console whose worker is not there."""
    unknown = dict.fromkeys(("retry_seconds", "log", "logged_bytes", "device_bytes", "log_complaint", "last_line"))
    described: Dict[str, object] = {
        "console": settings.name,
        "state": State.DOWN.value,
        "state_seconds": 0.0,
        "kind": type(settings.device).__name__.replace("Device", "").lower(),
        "device": specifiers.device_text(settings.device),
        "clients": [],
        **unknown,
    }
    return json.dumps(described).encode("ascii") + b"\n"
