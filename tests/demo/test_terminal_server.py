"""The terminal server over real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
from typing import AsyncIterator, Awaitable, Callable, List, Optional

import pytest

from demo.node import Node
from demo.telnet_server import TelnetPort
from demo.terminal_server import MAX_COMMAND_BYTES, TerminalServer


class Echo:
    """A machine that answers with what it got, and says so when it is touched otherwise."""

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.deadline: Optional[float] = None

    def power_on(self, now: float) -> bytes:
        return b"<power on>"

    def receive(self, data: bytes, now: float) -> bytes:
        return data

    def receive_break(self, now: float) -> bytes:
        self.deadline = now
        return b"<break>"

    def crash(self, now: float) -> bytes:
        return b"<crash>"

    def tick(self, now: float) -> bytes:
        self.deadline = None
        return b"<tick>"

    def next_deadline(self) -> Optional[float]:
        return self.deadline


class Client:
    """A peer that keeps what it read, without telnet commands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._telnet = TelnetPort()
        self.text = b""

    async def until(self, expected: bytes) -> bytes:
        """What came up to and with ``expected``."""
        while expected not in self.text:
            data = await self.reader.read(65536)
            assert data, f"hung up after {self.text!r}"
            self.text += b"".join(item for item in self._telnet.receive(data) if isinstance(item, bytes))
        end = self.text.index(expected) + len(expected)
        found, self.text = self.text[:end], self.text[end:]
        return found

    async def until_hung_up(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while await self.reader.read(65536):
                pass


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def run(conversation: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(conversation(), 60)

    asyncio.run(bounded())


async def control(port: int, line: bytes) -> bytes:
    async with connected(port) as client:
        client.writer.write(line)
        return await client.reader.read()


def test_a_port_offers_to_echo_and_answers_requests() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server, connected(server.ports["echo"]) as client:
            assert await client.reader.readexactly(6) == b"\xff\xfb\x01\xff\xfb\x03"
            client.writer.write(b"\xff\xfd\x18x")
            assert await client.reader.readexactly(4) == b"\xff\xfc\x18x"

    run(conversation)


def test_each_machine_has_its_own_port() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo("a"), Echo("b")]) as server:
            assert len({*server.ports.values(), server.control_port}) == 3
            async with connected(server.ports["a"]) as a, connected(server.ports["b"]) as b:
                a.writer.write(b"to a.")
                b.writer.write(b"to b.")
                assert await a.until(b".") == b"to a."
                assert await b.until(b".") == b"to b."

    run(conversation)


def test_breaks_and_ticks_reach_the_machine_and_ff_passes() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server, connected(server.ports["echo"]) as client:
            client.writer.write(b"a\xff\xf3")
            assert await client.until(b"<tick>") == b"a<break><tick>"
            client.writer.write(b"\xff\xff.")
            assert await client.until(b".") == b"\xff."

    run(conversation)


def test_all_peers_of_a_port_see_the_same() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server:
            port = server.ports["echo"]
            async with connected(port) as one, connected(port) as two:
                await two.reader.readexactly(6)  # both are connected now
                await one.reader.readexactly(6)
                one.writer.write(b"hello")
                assert await two.until(b"hello") == b"hello"

    run(conversation)


def test_hang_up_closes_connections_and_still_accepts() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server:
            async with connected(server.ports["echo"]) as client:
                await client.reader.readexactly(6)
                server.hang_up("echo")
                await client.until_hung_up()
            async with connected(server.ports["echo"]) as client:
                client.writer.write(b"again")
                await client.until(b"again")

    run(conversation)


def test_close_hangs_up_and_may_be_repeated() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server:
            async with connected(server.ports["echo"]) as client:
                await client.reader.readexactly(6)
                await server.close()
                await client.until_hung_up()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", server.ports["echo"])

    run(conversation)


def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server:
            taken = server.ports["echo"]
            with pytest.raises(OSError):
                await TerminalServer([Echo("a")], port=taken).__aenter__()

    run(conversation)


@pytest.mark.parametrize(
    "line, reply",
    [
        (b"echo reboot\n", b"ok\n"),
        (b"echo crash\r\n", b"ok\n"),
        (b"echo melt\n", b'error: no action "melt"; there are reboot and crash\n'),
        (b"nobody reboot\n", b'error: no machine "nobody"\n'),
        (b"\n", b'error: no machine ""\n'),
        (b"x" * (MAX_COMMAND_BYTES + 1), b"error: the command is too long\n"),
    ],
)
def test_what_the_control_port_replies(line: bytes, reply: bytes) -> None:
    async def conversation() -> None:
        async with TerminalServer([Echo()]) as server:
            assert await control(server.control_port, line) == reply

    run(conversation)


def test_the_reset_button_reboots_a_node() -> None:
    async def conversation() -> None:
        node = Node("node1", pace=0, chatter_seconds=None)
        async with TerminalServer([node]) as server, connected(server.ports["node1"]) as client:
            await client.reader.readexactly(6)
            await control(server.control_port, b"node1 reboot\n")
            assert b"BIOS Date" in await client.until(b"node1 login: ")

    run(conversation)


def test_a_session_on_a_node() -> None:
    async def conversation() -> None:
        node = Node("node1", pace=0, chatter_seconds=None)
        async with TerminalServer([node]) as server, connected(server.ports["node1"]) as client:
            steps: List[List[bytes]] = [
                [b"\r\0", b"node1 login: "],
                [b"root\r\0", b"Password: "],
                [b"demo\r\0", b"[root@node1 ~]# "],
                [b"hostname\r\n", b"\r\nnode1\r\n[root@node1 ~]# "],
                [b"\xff\xf3t", b"sysrq: Show State"],
            ]
            for typed, expected in steps:
                client.writer.write(typed)
                await client.until(expected)

    run(conversation)
