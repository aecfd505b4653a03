"""The tools of device scripts inside the daemon: they end, one way or another; and connections without a tool."""

from __future__ import annotations

import os
import signal
import socket
import threading
import tty
from typing import Any, List, Tuple

import pytest

from conman_exec.dialogue import Connect
from conman_exec.tools import Tool
from conmand.consoles.script_tools import FAREWELL_SECONDS, SOCKET_SECONDS, TERMINAL_SECONDS, ToolKeeper, Tools
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeChildren, FakeResolver


class Children(FakeChildren):
    """``exit(pid)`` is the end of one that was adopted."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted: dict[int, Any] = {}

    def adopt(self, pid: int, on_exit: Any = None) -> None:
        self.adopted[pid] = on_exit

    def exit(self, pid: int) -> None:
        self.adopted.pop(pid)(0)


def made(loop: ManualLoop, resolver: Any = None) -> Tuple[Tools, Children]:
    children = Children()
    return Tools(loop, children, resolver or FakeResolver()), children


@pytest.mark.parametrize("on_terminal, seconds", [(False, SOCKET_SECONDS), (True, TERMINAL_SECONDS)])
def test_tool_that_stays_is_killed(on_terminal: bool, seconds: float) -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        tools.adopt(7)
        tools.end(7, on_terminal)
        await loop.advance(seconds - 0.1)
        assert children.killed == []
        await loop.advance(0.1)
        assert children.killed == [(7, signal.SIGKILL)]
        children.exit(7)

    run(test)


def test_tool_that_goes_is_left_alone_and_its_number_too() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        tools.adopt(7)
        tools.end(7, False)
        children.exit(7)
        tools.adopt(7)  # another one
        await loop.advance(SOCKET_SECONDS)
        assert children.killed == [] and loop.timers() == []
        children.exit(7)  # by itself, while its session was open

    run(test)


def test_number_of_a_tool_that_had_ended_before_is_not_killed_for_it() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        tools.adopt(7)
        children.exit(7)
        tools.end(7, False)  # its end was read after it was reaped
        tools.adopt(7)  # another one
        await loop.advance(SOCKET_SECONDS)
        assert children.killed == [] and loop.timers() == []
        children.exit(7)

    run(test)


def test_keeper_adopts_and_tells_and_ends() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        begun: List[int] = []
        keeper = ToolKeeper(tools, begun.append)
        keeper.started(7)
        keeper.started(0)
        assert begun == [7, 0] and list(children.adopted) == [7]
        keeper.dropped(Tool(-1, 7, None, True))
        await loop.advance(TERMINAL_SECONDS)
        assert children.killed == [(7, signal.SIGKILL)]

    run(test)


def test_farewell_is_typed_and_the_terminal_closed_when_the_tool_has_gone() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        tools.adopt(7)
        tools.bid_farewell(7, ours, b"&.")
        assert os.read(theirs, 10) == b"&."
        os.write(theirs, b"x" * 1000)  # nobody is to wait for this
        await settle()
        os.close(theirs)
        await settle()
        children.exit(7)
        with pytest.raises(OSError):
            os.fstat(ours)
        assert loop.timers() == []

    run(test)


def test_farewell_is_waited_for_but_not_long() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        ours, theirs = os.openpty()
        tools.adopt(7)
        tools.bid_farewell(7, ours, b"&.")
        await loop.advance(FAREWELL_SECONDS)
        with pytest.raises(OSError):
            os.fstat(ours)
        await loop.advance(TERMINAL_SECONDS)
        assert children.killed == [(7, signal.SIGKILL)]
        os.close(theirs)

    run(test)


def test_farewell_that_cannot_be_typed_is_none() -> None:
    async def test(loop: ManualLoop) -> None:
        tools, children = made(loop)
        reading, writing = os.pipe()
        tools.adopt(7)
        tools.bid_farewell(7, reading, b"&.")
        with pytest.raises(OSError):
            os.fstat(reading)
        children.exit(7)
        os.close(writing)

    run(test)


def test_connection_is_made_to_the_first_address_that_answers() -> None:
    async def test(loop: ManualLoop) -> None:
        with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as listening:
            closed.bind(("127.0.0.1", 0))
            addresses: List[Tuple[int, Any]] = [(socket.AF_INET, end.getsockname()) for end in (closed, listening)]
            resolver = FakeResolver(addresses)
            tools, _ = made(loop, resolver)
            tool, words = await tools.connect(Connect("h", "telnet"), 5.0)
            assert resolver.asked == [("h", 23)]
            assert tool is not None and tool.codec is not None and tool.pid == 0
            assert words == b"Connected to h.\r\n"
            assert not os.get_blocking(tool.descriptor)
            os.close(tool.descriptor)
            resolver.answer = addresses[:1]
            assert await tools.connect(Connect("h", "23"), 5.0) == (
                None,
                b"telnet: Unable to connect to remote host: Connection refused\r\n",
            )

    run(test)


@pytest.mark.parametrize(
    "answer, port, words",
    [
        (socket.gaierror(-2, "Name or service not known"), "23", "could not resolve h/23: Name or service not known"),
        ([], "23", "could not resolve h/23: no address"),
        ([], "no-such-service", "could not resolve h/no-such-service: Servname not supported for ai_socktype"),
        ([], "70000", "Unable to connect to remote host: port must be 0-65535."),
    ],
)
def test_failed_connection_is_told_in_telnets_words(answer: Any, port: str, words: str) -> None:
    async def test(loop: ManualLoop) -> None:
        tools, _ = made(loop, FakeResolver(answer))
        assert await tools.connect(Connect("h", port), 5.0) == (None, f"telnet: {words}\r\n".encode())

    run(test)


def test_names_of_services_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def silent(_name: str, _protocol: str) -> int:
        asked.set()
        answer.wait()
        return 1

    async def test(loop: ManualLoop) -> None:
        tools, _ = made(loop)
        connecting = loop.create_task(tools.connect(Connect("h", "console"), 5.0))
        while not asked.is_set():
            await settle()
        await loop.advance(5.0)
        words = b"telnet: Unable to connect to remote host: Connection timed out\r\n"
        assert await connecting == (None, words)
        answer.set()

    answer = threading.Event()
    monkeypatch.setattr(socket, "getservbyname", silent)
    run(test)


def test_connection_that_takes_too_long_is_given_up() -> None:
    async def test(loop: ManualLoop) -> None:
        resolver = FakeResolver()
        resolver.hold = loop.create_future()
        tools, _ = made(loop, resolver)
        connecting = loop.create_task(tools.connect(Connect("h", "23"), 5.0))
        await loop.advance(5.0)
        assert await connecting == (None, b"telnet: Unable to connect to remote host: Connection timed out\r\n")

    run(test)
