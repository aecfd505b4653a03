"""People at a console server, all day: they look, type, take consoles from each other, ask, and pull the plug."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from typing import Any, AsyncIterator, Coroutine, Dict, List, Sequence

from conman.escapes import ESCAPE
from tests.soak.devices import line, without_notices

PATIENCE_SECONDS = 60.0
_NUMBERED = re.compile(rb"([\w-]+) (\d{8}) [^\r\n]*\r\n")
_LOST = re.compile(rb"<ConMan> [^\r\n]*[0-9]+ bytes[^\r\n]*\r\n")


class Complaint(AssertionError):
    """A user did not get what was promised."""


class Users:
    """What users do, one coroutine each; ``done`` counts what came out well."""

    def __init__(self, port: int, printers: Sequence[str], echoes: Sequence[str], chance: random.Random) -> None:
        self._port = port
        self._printers = printers
        self._echoes = echoes
        self._chance = chance
        self.done: Dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def _connection(self, request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        try:
            writer.write(b"HELLO USER='soak'\n" + request)
            if await self._in_time(reader.readline()) != b"OK\n":
                raise Complaint("a greeting was not answered with OK")
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @staticmethod
    async def _in_time(reading: Coroutine[Any, Any, bytes]) -> bytes:
        return await asyncio.wait_for(reading, PATIENCE_SECONDS)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    async def watch(self) -> None:
        """Monitor a console for a while: its lines come one after the other, without a gap."""
        name = self._chance.choice(self._printers)
        async with self._connection(f"MONITOR CONSOLE='{name}'\n".encode()) as (reader, _writer):
            await self._expect_ok(reader, "watch")
            data = await self._read_for(reader, self._chance.uniform(0.5, 5))
        check_consecutive(name, data)
        self._count("watch")

    async def dawdle(self) -> None:
        """Monitor and stop reading: what is missing later was said to be missing."""
        name = self._chance.choice(self._printers)
        async with self._connection(f"MONITOR CONSOLE='{name}'\n".encode()) as (reader, _writer):
            await self._expect_ok(reader, "dawdle")
            await asyncio.sleep(self._chance.uniform(1, 10))
            data = await self._read_for(reader, 1)
        if not _LOST.search(data):
            check_consecutive(name, data)
        self._count("dawdle")

    async def type(self) -> None:
        """Join an echoing console and find one's own keys in what it prints, in order."""
        name = self._chance.choice(self._echoes[1:])  # the first is for fights
        word = f"k{self._chance.randrange(10**12):012d}".encode()
        request = f"CONNECT OPTION=QUIET OPTION=JOIN CONSOLE='{name}'\n".encode()
        async with self._connection(request) as (reader, writer):
            await self._expect_ok(reader, "type")
            for round_ in range(self._chance.randrange(1, 20)):
                sent = word + b"-%d;" % round_
                writer.write(sent)
                await self._until(reader, sent, name)
        self._count("type")

    async def steal(self) -> None:
        """Take a console by force; whoever typed is closed."""
        name = self._echoes[0]
        async with self._connection(f"CONNECT OPTION=FORCE CONSOLE='{name}'\n".encode()) as (reader, writer):
            await self._expect_ok(reader, "steal")
            writer.write(bytes([ESCAPE]) + self._chance.choice((b"Q", b"L", b"M", b"B", b"S")))
            await self._read_for(reader, self._chance.uniform(0.01, 1))
        self._count("steal")

    async def broadcast(self) -> None:
        """Type to several echoing consoles at once."""
        names = " ".join(f"CONSOLE='{name}'" for name in self._echoes[1:])
        request = f"CONNECT OPTION=JOIN OPTION=BROADCAST {names}\n".encode()
        async with self._connection(request) as (reader, writer):
            await self._expect_ok(reader, "broadcast")
            writer.write(b"b%09d;" % self._chance.randrange(10**9))
            await writer.drain()
        self._count("broadcast")

    async def query(self) -> None:
        async with self._connection(b"QUERY\n") as (reader, _writer):
            answer = await self._in_time(reader.read())
        for name in self._printers:
            if name.encode() not in answer:
                raise Complaint(f"{name} is missing in the answer to a query: {answer[:200]!r}")
        self._count("query")

    async def status(self) -> None:
        async with self._connection(b"QUERY OPTION=STATUS\n") as (reader, _writer):
            answer = await self._in_time(reader.read())
        described = [json.loads(text)["console"] for text in answer.splitlines()[1:]]
        if not set(self._printers) <= set(described):
            raise Complaint(f"consoles are missing in the status: {set(self._printers) - set(described)}")
        self._count("status")

    async def hang_up(self) -> None:
        """Connect and go, at any moment, with a reset as often as not."""
        _reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        whole = f"HELLO USER='soak'\nMONITOR CONSOLE='{self._printers[0]}'\n".encode()
        writer.write(whole[: self._chance.randrange(len(whole) + 1)])
        if self._chance.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self._count("hang up")

    async def _expect_ok(self, reader: asyncio.StreamReader, what: str) -> None:
        reply = await self._in_time(reader.readline())
        if not reply.startswith(b"OK "):
            raise Complaint(f"{what}: a request was answered with {reply!r}")

    async def _read_for(self, reader: asyncio.StreamReader, seconds: float) -> bytes:
        data: List[bytes] = []
        deadline = asyncio.get_running_loop().time() + seconds
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                left = deadline - asyncio.get_running_loop().time()
                chunk = await asyncio.wait_for(reader.read(1 << 20), max(left, 0.01))
                if not chunk:
                    break
                data.append(chunk)
        return b"".join(data)

    async def _until(self, reader: asyncio.StreamReader, wanted: bytes, name: str) -> None:
        data = b""
        while wanted not in data:
            chunk = await self._in_time(reader.read(65536))
            if not chunk:
                raise Complaint(f"{name} ended before it echoed {wanted!r}: {data[-200:]!r}")
            data += chunk


def check_consecutive(name: str, data: bytes) -> None:
    """Every whole line of a printer in ``data`` is right, and follows the one before it."""
    expected = -1
    for match in _NUMBERED.finditer(without_notices(data)):
        number = int(match[2])
        if match.start() == 0 and match[0] != line(name, number):
            continue  # the session began within this line
        if match[0] != line(name, number):
            raise Complaint(f"{name}: line {number} reads {match[0]!r}")
        if expected not in (-1, number):
            raise Complaint(f"{name}: line {number} came where {expected} was due, and nothing was said to be lost")
        expected = number + 1
