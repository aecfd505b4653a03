"""Telnet consoles against a listening socket: connecting, failing, the protocol on the wire."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import pytest

from conmand.config.model import ConsoleSettings, LogLevel, TelnetDevice, UnixDevice
from conmand.consoles.base import State
from conmand.consoles.telnet import TelnetConsole
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeResolver, FakeServices
from tests.fakes.sinks import RecordingSink

OPENING = b"\xff\xfd\x00\xff\xfd\x01\xff\xfd\x03\xff\xfb\x00\xff\xfb\x03"


class TerminalServer:
    """A listening socket and the last connection to it."""

    def __init__(self, loop: ManualLoop, *, keepalive: bool = True, ipv6: bool = False) -> None:
        self.loop = loop
        host = "::1" if ipv6 else "127.0.0.1"
        self.listening = socket.create_server((host, 0), family=socket.AF_INET6 if ipv6 else socket.AF_INET)
        self.listening.setblocking(False)
        self.port = self.listening.getsockname()[1]
        self.resolver = FakeResolver()
        self.sink = RecordingSink()
        services = FakeServices(loop, resolver=self.resolver)
        device = TelnetDevice(host, self.port, keepalive=keepalive)
        self.console = TelnetConsole(ConsoleSettings("t", device), self.sink, services)
        self.label = f"<[::1]:{self.port}>" if ipv6 else f"<127.0.0.1:{self.port}>"

    async def accept(self) -> socket.socket:
        peer, _ = await self.loop.sock_accept(self.listening)
        peer.setblocking(False)
        return peer

    async def connected(self) -> socket.socket:
        """Start the console and take its opening."""
        self.console.start()
        peer = await self.accept()
        assert await self.read(peer, len(OPENING)) == OPENING
        await self.sink.until(lambda: len(self.sink.announced) > 0)
        return peer

    async def read(self, peer: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = await self.loop.sock_recv(peer, count - len(data))
            assert chunk, data
            data += chunk
        return data

    def close(self) -> None:
        self.console.stop()
        self.listening.close()

    def refuse(self) -> None:
        """Nobody listens from now on."""
        self.listening.close()


def test_it_opens_with_conmans_options_and_says_that_it_is_connected() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.console.start()
        assert server.console.state is State.PENDING
        with await server.accept() as peer:
            assert await server.read(peer, len(OPENING)) == OPENING
            await server.sink.until(lambda: server.sink.announced == [f"Console [t] connected to {server.label}"])
            assert server.sink.levels == [LogLevel.INFO]
            assert server.console.state is State.UP
        server.close()

    run(test)


def test_an_ipv6_address_stands_in_brackets() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop, ipv6=True)
        server.resolver.answer = [(socket.AF_INET6, ("::1", server.port, 0, 0))]
        with await server.connected() as peer:
            assert server.resolver.asked == [("::1", server.port)]
            assert server.sink.announced == [f"Console [t] connected to <[::1]:{server.port}>"]
            await loop.sock_sendall(peer, b"hello")
            await server.sink.until(lambda: server.sink.published == b"hello")
        server.close()

    run(test)


def test_a_family_that_the_machine_does_not_have_is_passed_over() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        no_such_family = 4711
        server.resolver.answer = [(no_such_family, ("x",)), (socket.AF_INET, ("127.0.0.1", server.port))]
        (await server.connected()).close()
        server.close()

    run(test)


def test_output_loses_its_protocol_and_typing_gains_it() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        with await server.connected() as peer:
            await loop.sock_sendall(peer, b"a\xff\xffb\xff\xfd\x18c\xff\xfa\x18\xff\xff\x01\xff\xf0end\r\0")
            await server.sink.until(lambda: server.sink.published.endswith(b"\0"))
            assert server.sink.published == b"a\xffbcend\r\0"
            server.console.send(b"x\xffy")
            server.console.send_break()
            assert await server.read(peer, 9) == b"\xff\xfc\x18x\xff\xffy\xff\xf3"
        server.close()

    run(test)


def test_commands_of_the_peer_are_reported_at_the_originals_levels() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        with await server.connected() as peer:
            await loop.sock_sendall(peer, b"\xff\xfc\x01\xff\xf6\xff\x42.")
            await server.sink.until(lambda: server.sink.published == b".")
            assert server.sink.reported == [
                (LogLevel.NOTICE, "Received telnet cmd WONT ECHO from console [t]"),
                (LogLevel.INFO, "Ignoring telnet cmd AYT OPT:-1 from console [t]"),
                (LogLevel.DEBUG, "Received invalid telnet cmd 0x42 from console [t]"),
            ]
        server.close()

    run(test)


def test_a_lost_connection_is_announced_and_its_half_sequence_forgotten() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        peer = await server.connected()
        await loop.advance(20)
        await loop.sock_sendall(peer, b"x\xff")
        peer.close()
        await server.sink.until(lambda: len(server.sink.announced) == 2)
        assert server.sink.announced[1] == f"Console [t] disconnected from {server.label}"
        await loop.advance(0)  # it had been up for 15 s: at once
        with await server.accept() as peer:
            await server.read(peer, len(OPENING))
            await loop.sock_sendall(peer, b"\xf3y")
            await server.sink.until(lambda: server.sink.published == b"x\xf3y")
        server.close()

    run(test)


def test_refused_attempts_are_made_at_the_originals_times_and_complained_of_once() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.refuse()
        start = loop.time()
        server.console.start()
        times = []
        for _ in range(6):
            times.append(loop.time() - start)
            while server.console.state is State.PENDING:
                await settle(1)
            (delay,) = loop.timers()
            await loop.advance(delay)
        assert times == [0, 15, 45, 105, 225, 465]
        reason = f"Unable to connect to {server.label} for [t]: Connection refused"
        assert server.sink.reported == [(LogLevel.INFO, reason)]
        assert server.sink.announced == []
        server.close()

    run(test)


def test_a_name_without_address_is_a_warning_and_the_next_reason_another() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.resolver.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        server.console.start()
        await loop.advance(100)
        warning = 'Unable to resolve hostname "127.0.0.1" for [t]'
        assert server.sink.reported == [(LogLevel.WARNING, warning)]
        server.resolver.answer = []
        await loop.advance(100)
        assert server.sink.reported[1:] == [
            (LogLevel.INFO, f"Unable to connect to {server.label} for [t]: the host has no address")
        ]
        server.close()

    run(test)


def test_without_descriptors_the_attempt_fails_and_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original exits (errata A2)."""

    def exhausted(*_args: object) -> None:
        raise OSError(24, "Too many open files")

    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", exhausted)
            server.console.start()
            await loop.advance(10)
        reason = f"Unable to connect to {server.label} for [t]: Too many open files"
        assert server.sink.reported == [(LogLevel.INFO, reason)]
        await loop.advance(5)
        (await server.accept()).close()
        server.close()

    run(test)


def test_the_hosts_addresses_are_tried_in_turn() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # bound, not listening: refused
            server.resolver.answer = [
                (socket.AF_INET, closed.getsockname()),
                (socket.AF_INET, ("127.0.0.1", server.port)),
            ]
            (await server.connected()).close()
        server.close()

    run(test)


def test_a_client_that_comes_starts_the_delays_again() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.resolver.answer = socket.gaierror(socket.EAI_NONAME, "unknown")
        server.console.start()
        await loop.advance(300)
        assert loop.timers() == [165]
        assert server.console.client_attached() == f"Console [t] is currently disconnected from {server.label}"
        server.console.retry_now()
        await loop.advance(0)
        assert loop.timers() == [15]
        server.close()

    run(test)


def test_a_client_that_comes_during_an_attempt_starts_no_other_but_the_delays_again() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.resolver.answer = socket.gaierror(socket.EAI_NONAME, "unknown")
        server.console.start()
        await loop.advance(60)
        server.resolver.hold = loop.create_future()
        await loop.advance(45)
        asked = len(server.resolver.asked)
        assert server.console.state is State.PENDING
        assert server.console.client_attached() is not None
        server.console.retry_now()
        await settle()
        assert len(server.resolver.asked) == asked
        server.resolver.hold.set_result(None)
        await settle()
        assert loop.timers() == [15]
        server.close()

    run(test)


def test_typing_and_breaks_before_the_connection_are_discarded() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        server.resolver.hold = loop.create_future()
        server.console.start()
        await settle()
        server.console.send(b"stale")
        server.console.send_break()
        server.resolver.hold.set_result(None)
        with await server.accept() as peer:
            await server.sink.until(lambda: len(server.sink.announced) == 1)
            server.console.send(b"new")
            assert await server.read(peer, len(OPENING) + 3) == OPENING + b"new"
        server.close()

    run(test)


def test_stop_ends_an_attempt_wherever_it_is_and_leaves_nothing_open() -> None:
    """Look-up not begun, look-up under way, connection made but not yet seen."""

    async def test(loop: ManualLoop) -> None:
        for turns in range(6):
            server = TerminalServer(loop)
            if turns == 1:
                server.resolver.hold = loop.create_future()
            server.console.start()
            await settle(turns)
            server.close()
            await settle()
            assert server.console.state is State.DOWN
            assert loop.timers() == []

    run(test)


def test_urgent_data_is_read_in_line_and_keepalive_is_as_configured() -> None:
    async def test(loop: ManualLoop) -> None:
        for keepalive in (True, False):
            server = TerminalServer(loop, keepalive=keepalive)
            with await server.connected() as peer:
                with socket.socket(fileno=socket.dup(server.console._fd)) as ours:
                    assert bool(ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive
                peer.send(b"u", socket.MSG_OOB)
                await server.sink.until(lambda server=server: server.sink.published == b"u")  # type: ignore[misc]
            server.close()

    run(test)


def test_a_peer_that_is_gone_when_we_answer_it_ends_the_connection_once() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        peer = await server.connected()
        await loop.sock_sendall(peer, b"bye\xff\xfd\x18")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()  # a reset: our answer cannot be sent
        await server.sink.until(lambda: len(server.sink.announced) == 2)
        await settle()
        assert server.console.state is State.DOWN
        assert len(server.sink.announced) == 2
        assert len(loop.timers()) == 1
        server.close()

    run(test)


def test_last_words_with_protocol_in_them_are_read_though_a_key_fails_first() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        peer = await server.connected()
        server.console.set_attended(True)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # A stream whose writing side fails while its last bytes wait, which TCP does not do to order.
        server.console._shut()
        server.console._attach(ours.detach())
        theirs.sendall(b"line is busy\xff\xfd\x18")
        theirs.close()
        server.console.send(b"x")
        assert server.sink.published == b"line is busy"
        assert server.console.state is State.DOWN
        peer.close()
        server.close()

    run(test)


def test_keepalive_is_changed_on_the_live_connection_and_nothing_else_is() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        device = TelnetDevice("127.0.0.1", server.port)
        without = ConsoleSettings("t", replace(device, keepalive=False))
        with await server.connected() as peer:
            fd = server.console._fd
            assert server.console.adopt(without) and server.console.settings is without
            with socket.socket(fileno=os.dup(fd)) as sock:
                assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for other in (replace(device, port=1), replace(device, host="h"), UnixDevice("/s")):
                assert not server.console.adopt(ConsoleSettings("t", other))
            assert server.console.settings is without
            await loop.sock_sendall(peer, b"still here")
            await server.sink.until(lambda: server.sink.published == b"still here")
        server.close()

    run(test)


def test_keepalive_of_a_console_that_is_down_is_for_the_next_connection() -> None:
    async def test(loop: ManualLoop) -> None:
        server = TerminalServer(loop)
        assert server.console.adopt(ConsoleSettings("t", TelnetDevice("127.0.0.1", server.port, keepalive=False)))
        (await server.connected()).close()
        server.close()

    run(test)
