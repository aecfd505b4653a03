"""The sessions with the consoles of this process."""

from __future__ import annotations

from typing import AsyncIterator, Dict, List, Sequence, Set

from conman import protocol
from conman.protocol import ErrorCode, RequestCommand
from conmand.proto.delta import format_delta
from conmand.server import notices, status
from conmand.server.client import Client, ClientContext
from conmand.server.handshake import Asked, Caller
from conmand.server.hub import Participant, SharedConsole


class LocalSessions:
    """Begins sessions and knows them while they last. ``consoles`` is the site's own table, which may change."""

    def __init__(self, consoles: Dict[str, SharedConsole], context: ClientContext) -> None:
        self._consoles = consoles
        self._context = context
        self.clients: Set[Client] = set()
        context.closed = self.clients.discard

    def __len__(self) -> int:
        return len(self.clients)

    @property
    def can_reset(self) -> bool:
        return self._context.resets.configured

    async def begin(self, caller: Caller, asked: Asked, names: Sequence[str]) -> bool:
        """Begin a session with the consoles ``names``, or refuse. Returns whether the caller's socket was taken."""
        request = asked.request
        # A console may have gone from the configuration since it was looked for.
        consoles = [self._consoles[name] for name in names if name in self._consoles]
        if not consoles:
            await caller.refuse(ErrorCode.NO_CONSOLES, protocol.NO_CONSOLES)
            return False
        writing = request.command is RequestCommand.CONNECT
        if writing and not request.force and not request.join:
            busy = [console for console in consoles if console.writers]
            if busy:
                lines = [line for console in busy for line in busy_lines(console)]
                await caller.refuse(ErrorCode.BUSY, protocol.consoles_busy(len(busy)), lines)
                return False
        client = Client(
            caller.sock,
            self._context,
            user=caller.user,
            tty=caller.tty,
            host=caller.peer.name.host,
            fqdn=caller.peer.name.fqdn,
            port=caller.peer.port,
            broadcast=request.broadcast and writing and len(consoles) > 1,
            quiet=request.quiet,
            force=request.force and writing,
        )
        self.clients.add(client)
        reply = protocol.encode_ok([console.name for console in consoles], reset=self.can_reset)
        client.start(consoles, reply, asked.rest, writing=writing)
        return True

    async def describe(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        """A block at a time: nobody else is to wait while thousands of consoles are described."""
        for start in range(0, len(names), status.CONSOLES_PER_BLOCK):
            block = names[start : start + status.CONSOLES_PER_BLOCK]
            yield b"".join([status.encode_status(self._consoles[name]) for name in block if name in self._consoles])

    def stop(self) -> None:
        """Close all sessions at once, saying nothing. Idempotent."""
        for client in list(self.clients):
            client.abort()
        self._context.farewells.cut_short()


def busy_lines(console: SharedConsole) -> List[str]:
    """Who writes to ``console``, as a refusal shows it."""
    return [_busy_line(console.name, writer) for writer in console.writers]


def _busy_line(console: str, writer: Participant) -> str:
    idle = format_delta(writer.idle_seconds)
    return f"Console [{console}] open {writer.mode} by {notices.who(writer)} (idle {idle})."
