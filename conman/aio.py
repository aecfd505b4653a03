"""Consoles for programs that use asyncio: ``conman.console`` with ``await``.

The connection is made in a thread, by the same code as everywhere; the session itself costs no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from types import TracebackType
from typing import Optional, Sequence, Tuple, Type, TypeVar, Union

from conman import dialogues, escapes, identity
from conman.address import Address
from conman.connection import Connection, connect
from conman.console import (
    CLOSE_SECONDS,
    DEFAULT_SECONDS,
    OPEN_SECONDS,
    READ_BYTES,
    Session,
    as_address,
    session_request,
    typed,
)
from conman.dialogues import CommandResult, Dialogue, Login, State
from conman.escapes import Command
from conman.expect import EOF, TIMEOUT, Compiled, Match, PatternLike, compiled

T = TypeVar("T")


class AsyncConsole(Session):
    """An open session; made by ``open``, ended by ``close`` or the end of ``async with``. As ``Console``."""

    def __init__(
        self,
        connection: Connection,
        timeout: float,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(connection, timeout)
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls,
        name: str,
        *,
        mode: str = "connect",
        server: Optional[Union[str, Address]] = None,
        timeout: float = DEFAULT_SECONDS,
        quiet: bool = True,
    ) -> AsyncConsole:
        """Raises ``ConnectError`` or ``RefusedError``."""
        request = session_request(name, mode, quiet)
        greeting = identity.greeting(os.environ)

        def make() -> Connection:
            return connect(as_address(server), greeting, request, timeout_seconds=OPEN_SECONDS)

        connecting = asyncio.get_running_loop().run_in_executor(None, make)
        try:
            connection = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_unwanted)
            raise
        connection.sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection.sock)
        return cls(connection, timeout, reader, writer)

    # Typing.

    async def send(self, text: str) -> None:
        await self._write(typed(text))

    async def sendline(self, text: str = "") -> None:
        await self.send(text + "\r")

    async def send_break(self) -> None:
        await self._write(escapes.encode_command(Command.BREAK))

    async def reset(self) -> None:
        await self._write(self._reset_bytes())

    async def _write(self, data: bytes) -> None:
        self._require_open()
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise self._lost(error) from error

    # Waiting.

    async def expect(self, patterns: Union[PatternLike, Sequence[PatternLike]], timeout: Optional[float] = None) -> int:
        return self._keep(await self._await(compiled(patterns), self._seconds(timeout)))

    async def expect_exact(
        self, texts: Union[PatternLike, Sequence[PatternLike]], timeout: Optional[float] = None
    ) -> int:
        return self._keep(await self._await(compiled(texts, exact=True), self._seconds(timeout)))

    async def _await(self, patterns: Sequence[Compiled], seconds: float) -> Match:
        wanted = tuple(patterns)
        match = await self._find(wanted, seconds)
        return self._expecter.time_out(wanted, seconds) if match is None else match

    async def _find(self, wanted: Tuple[Compiled, ...], seconds: float) -> Optional[Match]:
        """``None`` when the time is over, whether the console is silent by then or still talks."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            match = self._expecter.find(wanted)
            if match is not None or not await self._receive(left):
                return match
            if left <= 0:
                return self._expecter.find(wanted)

    async def _receive(self, seconds: float) -> bool:
        try:
            data = await asyncio.wait_for(self._reader.read(READ_BYTES), max(seconds, 0.001))
        except asyncio.TimeoutError:
            return False
        except OSError:
            data = b""
        self._received(data)
        return True

    async def read(self, timeout: Optional[float] = None) -> str:
        deadline = time.monotonic() + self._seconds(timeout)
        while not self._expecter.unread and not self._expecter.ended:
            if not await self._receive(deadline - time.monotonic()):
                raise TIMEOUT(f"[{self.name}] said nothing within {self._seconds(timeout):g} s")
        return self._expecter.take()

    # Dialogues.

    async def perform(self, dialogue: Dialogue[T]) -> T:
        try:
            step = next(dialogue)
            while True:
                if isinstance(step, dialogues.Type):
                    await self.send(step.text)
                    step = dialogue.send(None)
                else:
                    try:
                        match = await self._find(step.patterns, step.seconds)
                    except EOF as end:
                        step = dialogue.throw(end)
                    else:
                        step = dialogue.send(match)
        except StopIteration as end:
            result: T = end.value
            return result

    async def state(self, timeout: float = 4.0) -> State:
        return await self.perform(dialogues.detect_state(wait_seconds=timeout))

    async def login(self, user: str, password: Optional[str] = None) -> Login:
        return await self.perform(dialogues.log_in(user, password, self.timeout))

    async def run(self, command: str, timeout: Optional[float] = None) -> CommandResult:
        return await self.perform(dialogues.run_command(command, self._seconds(timeout)))

    async def replay(self) -> Optional[str]:
        await self._write(escapes.encode_command(Command.REPLAY))
        return await self.perform(dialogues.await_replay())

    async def boot(self, timeout: float = 600.0) -> str:
        await self.perform(dialogues.discard())
        await self.reset()
        return await self.perform(dialogues.boot(timeout))

    async def sysrq(self, key: str, timeout: float = 10.0) -> str:
        await self.perform(dialogues.discard())
        await self.send_break()
        await self.send(key)
        return await self.perform(dialogues.sysrq_answer(seconds=timeout))

    # The end.

    async def close(self) -> None:
        """Leave the console. What was typed is delivered. May be called again."""
        if self._writer.is_closing():
            return
        try:
            self._writer.write_eof()
            deadline = time.monotonic() + CLOSE_SECONDS
            while not self._expecter.ended and await self._receive(deadline - time.monotonic()):
                if time.monotonic() > deadline:
                    break
        except OSError:
            pass
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> AsyncConsole:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], where: Optional[TracebackType]
    ) -> None:
        await self.close()


def _close_unwanted(connecting: asyncio.Future[Connection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().sock.close()
