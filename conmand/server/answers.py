"""The answer to a request: which consoles it means, whether it may have them, and a reply or a session.

What is asked of consoles goes through ``Sessions``: those of this process (``LocalSessions``), or those of workers.
"""

from __future__ import annotations

from typing import AsyncIterator, Protocol, Sequence

from conman import protocol
from conman.protocol import ErrorCode, Request, RequestCommand
from conmand.server.daemonlog import DaemonLog
from conmand.server.handshake import Asked, Caller
from conmand.server.matching import Matcher, PatternError


class Sessions(Protocol):
    """Where the consoles are, and the sessions with them."""

    def __len__(self) -> int:
        """How many sessions there are."""

    @property
    def can_reset(self) -> bool:
        """Whether there is a reset command, which a reply says."""

    async def begin(self, caller: Caller, asked: Asked, names: Sequence[str]) -> bool:
        """Begin a session with the consoles ``names``, or refuse. Returns whether the caller's socket was taken."""

    def describe(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        """The consoles' status, in blocks of whole lines, in the order of ``names``."""

    def stop(self) -> None:
        """Close all sessions at once. Idempotent."""


class Answers:
    """Answers requests until none is left to answer."""

    def __init__(self, matcher: Matcher, sessions: Sessions, daemon_log: DaemonLog) -> None:
        self._matcher = matcher
        self._sessions = sessions
        self._log = daemon_log

    async def answer(self, caller: Caller, asked: Asked) -> bool:
        """Returns whether the caller's socket has become a session's."""
        request = asked.request
        try:
            names = await self._matcher.match(request.patterns, request.regex)
        except PatternError as error:
            await caller.refuse(ErrorCode.BAD_REGEX, str(error))
            return False
        if not names:
            await caller.refuse(ErrorCode.NO_CONSOLES, protocol.NO_CONSOLES)
            return False
        if request.command is RequestCommand.QUERY:
            await self._answer_query(caller, request, names)
            return False
        if len(names) > 1 and not (request.command is RequestCommand.CONNECT and request.broadcast):
            await caller.refuse(ErrorCode.TOO_MANY_CONSOLES, protocol.too_many_consoles(len(names)), names)
            return False
        return await self._sessions.begin(caller, asked, names)

    async def _answer_query(self, caller: Caller, request: Request, names: Sequence[str]) -> None:
        if not request.status:
            self._log.info(f"Client <{caller.label}> issued query")
            await caller.send_last(protocol.encode_ok(names, reset=self._sessions.can_reset))
            return
        self._log.info(f"Client <{caller.label}> issued status query")
        await caller.send(protocol.encode_status_ok())
        async for block in self._sessions.describe(names):
            await caller.send(block)
        await caller.send_last(b"")
