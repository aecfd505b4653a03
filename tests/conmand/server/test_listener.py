"""The client port over real connections on loopback: what is answered, and that no peer stops it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any, Awaitable, Callable, List, Optional, Sequence

import pytest

from conman.protocol import MAX_GREETING_BYTES
from conmand.config.model import LogLevel, ServerSettings
from conmand.config.settings import ListenSettings, UnixSocketSettings
from conmand.server import handshake
from conmand.server import listener as listener_module
from conmand.server.answers import Answers
from conmand.server.handshake import HANDSHAKE_SECONDS, REPLY_SECONDS
from conmand.server.hosts_access import Decision
from conmand.server.listener import PAUSE_SECONDS, Listener
from conmand.server.listening import ListeningSocket, open_listening
from conmand.server.matching import PatternError
from conmand.server.resolver import PeerName
from conmand.server.sessions import LocalSessions
from tests.fakes.clients import Site
from tests.fakes.loops import ManualLoop, run, settle

OK = b"OK\n"
HELLO = b"HELLO USER='bob' TTY='pts/3'\n"


class NamesOfPeers:
    async def peer_name(self, address: str) -> PeerName:
        return PeerName(address, address) if ":" in address else PeerName("host", "host.example.org")

    async def user_name(self, uid: int) -> str:
        return f"user{uid}"

    async def is_confirmed(self, fqdn: str, address: str) -> bool:
        return True


class Literal:
    """Patterns are names, ``*`` is all, and ``(`` is a mistake."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    async def match(self, patterns: Sequence[str], regex: bool) -> List[str]:
        if "(" in patterns:
            raise PatternError("Unmatched ( or \\(")
        return [name for name in self._names if not patterns or "*" in patterns or name in patterns]


IPV4 = ListenSettings(addresses=(("127.0.0.1", None),))


class Port:
    def __init__(self, loop: ManualLoop, consoles: int = 2, listen: ListenSettings = IPV4, **options: Any) -> None:
        self.loop = loop
        self.site = Site(loop, consoles)
        opened = open_listening(ServerSettings(port=0), listen, warn=self.site.daemon_log.warning)
        self.listening = opened[0].sock
        self.address = self.listening.getsockname()
        settings = {"keepalive": True, "tcpwrappers": False, "max_clients": 10, **options}
        self.sessions = LocalSessions({console.name: console for console in self.site.consoles}, self.site.context)
        self.answers = Answers(
            Literal([console.name for console in self.site.consoles]),  # type: ignore[arg-type]
            self.sessions,
            self.site.daemon_log,
        )
        self.listener = Listener(
            opened,
            self.answers,
            self.sessions,
            NamesOfPeers(),  # type: ignore[arg-type]
            self.site.daemon_log,
            loop,
            **settings,
        )
        self.listener.start()
        self.peers: List[socket.socket] = []

    @property
    def log(self) -> List[str]:
        return self.site.daemon_log.texts

    def connect(self) -> socket.socket:
        peer = socket.socket(self.listening.family)
        peer.connect(self.address)
        peer.setblocking(False)
        self.peers.append(peer)
        return peer

    async def say(self, peer: socket.socket, data: bytes) -> None:
        await self.loop.sock_sendall(peer, data)

    async def until(self, peer: socket.socket, end: bytes) -> bytes:
        data = b""
        while end not in data:
            chunk = await self.loop.sock_recv(peer, 65536)
            assert chunk, f"closed after {data!r}"
            data += chunk
        return data

    async def rest(self, peer: socket.socket) -> bytes:
        """Everything up to the end of file."""
        data = b""
        while True:
            chunk = await self.loop.sock_recv(peer, 65536)
            if not chunk:
                return data
            data += chunk

    async def ask(self, request: bytes) -> bytes:
        """Greeting and request at once; the whole answer after the greeting's OK."""
        peer = self.connect()
        await self.say(peer, HELLO + request)
        answer = await self.rest(peer)
        peer.close()
        assert answer.startswith(OK)
        return answer[len(OK) :]

    async def until_connections(self, count: int) -> None:
        """Until so many are being greeted."""
        while len(self.listener._handshakes) < count:
            await settle(1)
        await settle()

    async def session(self, request: bytes) -> socket.socket:
        peer = self.connect()
        clients = len(self.sessions.clients)
        await self.say(peer, HELLO + request)
        await self.until(peer, b"'\n")
        while len(self.sessions.clients) == clients:
            await settle(1)
        return peer


def serving(test: Callable[[Port], Awaitable[None]], **options: Any) -> None:
    async def whole(loop: ManualLoop) -> None:
        port = Port(loop, **options)
        try:
            await test(port)
        finally:
            await port.listener.stop()
            await port.listener.stop()
            for peer in port.peers:
                peer.close()
            port.site.close()

    run(whole)


def test_a_query_is_answered_and_logged() -> None:
    async def test(port: Port) -> None:
        assert await port.ask(b"QUERY\n") == b"OK CONSOLE='n1' CONSOLE='n2'\n"
        assert await port.ask(b"QUERY CONSOLE='n2'\n") == b"OK CONSOLE='n2'\n"
        (line, _again) = port.site.daemon_log.lines
        peer = port.peers[0]
        assert line[0] is LogLevel.INFO
        assert line[1].startswith("Client <bob@host.example.org:") and line[1].endswith("> issued query")
        assert peer.fileno() == -1

    serving(test)


def test_a_reply_of_any_length_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original closes without an answer above 131071 bytes (errata F2)."""

    async def test(port: Port) -> None:
        names = [f"a-rather-long-console-name-{number}" for number in range(20_000)]
        port.answers._matcher = Literal(names)  # type: ignore[assignment]
        answer = await port.ask(b"QUERY\n")
        assert answer.count(b"CONSOLE=") == 20_000 and answer.endswith(b"'\n")

    serving(test)


def test_a_peer_that_does_not_take_its_answer_is_dropped_in_time() -> None:
    async def test(port: Port) -> None:
        # More than the kernel holds for a connection.
        port.answers._matcher = Literal([f"{number:0100}" for number in range(200_000)])  # type: ignore[assignment]
        peer = port.connect()
        await port.say(peer, HELLO + b"QUERY\n")
        await port.site.daemon_log.until("issued query")
        await port.loop.advance(REPLY_SECONDS)
        assert not (await port.rest(peer)).endswith(b"\n")

    serving(test)


@pytest.mark.parametrize(
    "request_line, answer, logged",
    [
        (b"QUERY CONSOLE='zz'\n", b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n", "Found no matching consoles"),
        (b"BOGUS\n", b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n", "Found no matching consoles"),
        (b"MONITOR\n", b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n", "Found no matching consoles"),
        (
            b"QUERY OPTION=REGEX CONSOLE='('\n",
            b"ERROR CODE=3 MESSAGE='Unmatched ( or \\('\n",
            "Unmatched ( or \\(",
        ),
        (
            b"MONITOR CONSOLE='*'\n",
            b"ERROR CODE=6 MESSAGE='Found 2 matching consoles'\nn1\nn2\n",
            "Found 2 matching consoles",
        ),
        (
            b"CONNECT CONSOLE='*'\n",
            b"ERROR CODE=6 MESSAGE='Found 2 matching consoles'\nn1\nn2\n",
            "Found 2 matching consoles",
        ),
        (
            b"MONITOR OPTION=BROADCAST CONSOLE='*'\n",
            b"ERROR CODE=6 MESSAGE='Found 2 matching consoles'\nn1\nn2\n",
            "Found 2 matching consoles",
        ),
    ],
)
def test_refusals_are_the_originals(request_line: bytes, answer: bytes, logged: str) -> None:
    async def test(port: Port) -> None:
        assert await port.ask(request_line) == answer
        ((level, text),) = port.site.daemon_log.lines
        assert level is LogLevel.NOTICE
        assert text.startswith("Client <bob@host.example.org:") and text.endswith(f"> request failed: {logged}")

    serving(test)


def test_a_greeting_without_user_is_refused() -> None:
    async def test(port: Port) -> None:
        peer = port.connect()
        await port.say(peer, b"HELLO\n")
        assert await port.rest(peer) == b"ERROR CODE=2 MESSAGE='Invalid greeting: no user specified'\n"
        assert port.log[0].startswith("Client <unknown@host.example.org:")

    serving(test)


def test_a_busy_console_is_refused_with_a_line_for_each_writer() -> None:
    async def test(port: Port) -> None:
        await port.session(b"CONNECT CONSOLE='n1'\n")
        await port.session(b"CONNECT OPTION=JOIN OPTION=BROADCAST CONSOLE='*'\n")
        await port.loop.advance(62)
        assert await port.ask(b"CONNECT CONSOLE='n1'\n") == (
            b"ERROR CODE=7 MESSAGE='Found console already in use'\n"
            b"Console [n1] open R/W by <bob@host> on pts/3 (idle 1m2s).\n"
            b"Console [n1] open B/C by <bob@host> on pts/3 (idle 1m2s).\n"
        )
        assert await port.ask(b"CONNECT OPTION=BROADCAST CONSOLE='*'\n") == (
            b"ERROR CODE=7 MESSAGE='Found 2 consoles already in use'\n"
            b"Console [n1] open R/W by <bob@host> on pts/3 (idle 1m2s).\n"
            b"Console [n1] open B/C by <bob@host> on pts/3 (idle 1m2s).\n"
            b"Console [n2] open B/C by <bob@host> on pts/3 (idle 1m2s).\n"
        )
        (await port.session(b"MONITOR CONSOLE='n1'\n")).close()

    serving(test)


def test_input_behind_the_request_belongs_to_the_session() -> None:
    async def test(port: Port) -> None:
        await port.session(b"CONNECT CONSOLE='n1'\nls\r")
        assert port.site.devices[0].sent == [b"ls\r"]
        assert port.log[-1].endswith("> connected to [n1]")

    serving(test)


def test_a_broadcast_to_one_console_is_an_ordinary_session() -> None:
    async def test(port: Port) -> None:
        await port.session(b"CONNECT OPTION=BROADCAST CONSOLE='n1'\n")
        (client,) = port.sessions.clients
        assert client.mode == "R/W"
        assert port.site.consoles[0].readers == (client,)

    serving(test)


def test_lines_may_come_byte_by_byte_and_the_last_without_its_end() -> None:
    async def test(port: Port) -> None:
        peer = port.connect()
        for byte in HELLO + b"QUERY CONSOLE='n1'":
            await port.say(peer, bytes([byte]))
            await settle(1)
        peer.shutdown(socket.SHUT_WR)
        assert await port.rest(peer) == b"OK\nOK CONSOLE='n1'\n"

    serving(test)


@pytest.mark.parametrize("said", [b"", HELLO])
def test_a_peer_that_goes_away_early_is_a_line_in_the_log(said: bytes) -> None:
    async def test(port: Port) -> None:
        peer = port.connect()
        label = f"host.example.org:{peer.getsockname()[1]}"
        await port.say(peer, said)
        if said:
            await port.until(peer, OK)
        peer.close()
        await port.site.daemon_log.until("Connection terminated")
        assert port.site.daemon_log.lines == [(LogLevel.NOTICE, f"Connection terminated by <{label}>")]

    serving(test)


def test_a_peer_that_resets_at_once_stops_nobody() -> None:
    """Any peer can stop the original so (errata A1)."""

    async def test(port: Port) -> None:
        for _ in range(20):
            peer = port.connect()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
        assert await port.ask(b"QUERY CONSOLE='n1'\n") == b"OK CONSOLE='n1'\n"

    serving(test, max_clients=100)


def test_a_socket_option_that_cannot_be_set_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original exits (errata A2)."""

    async def test(port: Port) -> None:
        peer = port.connect()
        label = f"127.0.0.1:{peer.getsockname()[1]}"
        with monkeypatch.context() as patch:
            patch.setattr(socket, "TCP_NODELAY", 9999)
            assert await port.rest(peer) == b""
        assert port.site.daemon_log.lines == [
            (LogLevel.NOTICE, f"Unable to write to <{label}>: Protocol not available")
        ]
        assert await port.ask(b"QUERY CONSOLE='n1'\n") == b"OK CONSOLE='n1'\n"

    serving(test)


def test_a_silent_peer_is_dropped_in_time() -> None:
    """The original waits for ever (errata A4)."""

    async def test(port: Port) -> None:
        silent = [port.connect() for _ in range(2)]
        await port.until_connections(2)
        await port.loop.advance(HANDSHAKE_SECONDS)
        assert [await port.rest(peer) for peer in silent] == [b"", b""]
        assert sorted(port.log) == sorted(
            f"Unable to read greeting from <host.example.org:{peer.getsockname()[1]}>: Connection timed out"
            for peer in silent
        )

    serving(test)


def test_long_requests_are_bounded_together_and_short_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    total_bytes = 500_000
    monkeypatch.setattr(handshake, "MAX_LONG_REQUESTS_BYTES", total_bytes)
    request = b"QUERY" + b" CONSOLE='n1'" * 30_000

    async def test(port: Port) -> None:
        def left_bytes() -> int:
            return port.listener._long_requests.left_bytes

        first, second = port.connect(), port.connect()
        await port.say(first, HELLO + request)  # its end is to come
        while left_bytes() > total_bytes - len(request) + 2 * MAX_GREETING_BYTES:
            await settle(1)
        with contextlib.suppress(ConnectionError):
            await port.say(second, HELLO + request + b"\n")
        while not port.log:
            await settle(1)
        who = f"host.example.org:{second.getsockname()[1]}"
        assert port.log == [f"Unable to read request from <{who}>: No buffer space available"]
        assert await port.ask(b"QUERY CONSOLE='n2'\n") == b"OK CONSOLE='n2'\n"
        await port.say(first, b"\n")
        assert await port.rest(first) == OK + b"OK CONSOLE='n1'\n"
        first.close()
        while port.listener._handshakes:
            await settle(1)
        assert left_bytes() == total_bytes

    serving(test)


def test_silence_keeps_nobody_out() -> None:
    async def test(port: Port) -> None:
        oldest = port.connect()
        await port.until_connections(1)
        port.connect()
        await port.until_connections(2)
        await port.session(b"MONITOR CONSOLE='n1'\n")
        assert await port.rest(oldest) == b""
        label = f"127.0.0.1:{oldest.getsockname()[1]}"
        assert port.log[0] == f"Dropped connection from <{label}>: it made no request, and others wait"

    serving(test, max_clients=2)


def test_sessions_are_not_dropped_for_others() -> None:
    async def test(port: Port) -> None:
        for _ in range(2):
            await port.session(b"MONITOR CONSOLE='n1'\n")
        refused = port.connect()
        assert await port.rest(refused) == b""
        label = f"127.0.0.1:{refused.getsockname()[1]}"
        assert port.site.daemon_log.lines[-1] == (
            LogLevel.NOTICE,
            f"Refused connection from <{label}>: 2 clients are connected",
        )
        assert len(port.sessions.clients) == 2

    serving(test, max_clients=2)


def test_without_descriptors_accepting_pauses_and_goes_on() -> None:
    """The original exits (errata A2)."""

    async def test(port: Port) -> None:
        accept = port.listening.accept
        failing = Failing(port.listening, OSError(errno.EMFILE, "Too many open files"))
        port.listener._listening = [ListeningSocket(failing, None)]  # type: ignore[arg-type]
        port.listener.start()
        peer = port.connect()
        await settle()
        warning = "Unable to accept new connection: Too many open files; clients wait until it succeeds"
        assert port.site.daemon_log.lines == [(LogLevel.WARNING, warning)]
        await port.loop.advance(3 * PAUSE_SECONDS)
        assert failing.calls > 1
        assert len(port.log) == 1
        failing.error = None
        await port.loop.advance(PAUSE_SECONDS)
        await port.say(peer, HELLO + b"QUERY CONSOLE='n1'\n")
        assert await port.rest(peer) == b"OK\nOK CONSOLE='n1'\n"
        assert callable(accept)

    serving(test)


class Failing:
    """A listening socket whose accept fails."""

    def __init__(self, sock: socket.socket, error: Optional[OSError]) -> None:
        self._sock = sock
        self.error = error
        self.calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self._sock.accept()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


@pytest.mark.parametrize("granted", [True, False])
def test_hosts_access_decides(monkeypatch: pytest.MonkeyPatch, granted: bool) -> None:
    asked: List[Any] = []

    def check(client: Any, server_address: str) -> Decision:
        asked.append((client.address, client.hostname, client.hostname_verified, server_address))
        return Decision(granted, "", ("a warning",))

    async def test(port: Port) -> None:
        monkeypatch.setattr(listener_module.hosts_access, "check", check)
        peer = port.connect()
        await port.say(peer, HELLO + b"QUERY CONSOLE='n1'\n")
        try:
            assert await port.rest(peer) == (b"OK\nOK CONSOLE='n1'\n" if granted else b"")
        except ConnectionResetError:
            assert not granted
        assert asked == [("127.0.0.1", "host.example.org", True, "127.0.0.1")]
        assert port.log[0] == "a warning"
        if not granted:
            label = f"host.example.org:{peer.getsockname()[1]}"
            assert port.site.daemon_log.lines[1] == (
                LogLevel.NOTICE,
                f"TCP-Wrappers rejected connection from <{label}>",
            )

    serving(test, tcpwrappers=True)


def test_stopping_ends_handshakes_and_sessions_without_a_word() -> None:
    async def test(port: Port) -> None:
        session = await port.session(b"CONNECT CONSOLE='n1'\n")
        half_open = port.connect()
        await port.say(half_open, HELLO)
        await port.until(half_open, OK)
        await port.listener.stop()
        assert await port.rest(session) == b""
        assert await port.rest(half_open) == b""
        assert port.sessions.clients == set()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(port.address)

    serving(test)


@pytest.mark.parametrize("keepalive", [True, False])
def test_keepalive_is_as_configured_and_small_writes_are_not_delayed(keepalive: bool) -> None:
    async def test(port: Port) -> None:
        await port.session(b"CONNECT CONSOLE='n1'\n")
        (client,) = port.sessions.clients
        assert bool(client._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive
        assert client._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    serving(test, keepalive=keepalive)


def test_a_session_that_ends_is_forgotten() -> None:
    async def test(port: Port) -> None:
        peer = await port.session(b"CONNECT CONSOLE='n1'\n")
        peer.shutdown(socket.SHUT_WR)
        assert await port.rest(peer) == b""
        assert port.sessions.clients == set()

    serving(test)


def test_an_ipv6_peer_without_a_name_is_its_address_in_brackets() -> None:
    async def test(port: Port) -> None:
        peer = await port.session(b"CONNECT CONSOLE='n1'\n")
        label = f"<bob@[::1]:{peer.getsockname()[1]}>"
        assert port.log == [f"Client {label} connected to [n1]"]
        answer = await port.ask(b"CONNECT CONSOLE='n1'\n")
        assert b"Console [n1] open R/W by <bob@::1> on pts/3 (idle 0s).\n" in answer

    serving(test, listen=ListenSettings(addresses=(("::1", None),)))


def test_every_socket_accepts(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def test(port: Port) -> None:
        addresses = [one.sock.getsockname() for one in port.listener._listening]
        assert len(addresses) == 3
        for port.address, family in zip(addresses, (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)):
            with socket.socket(family) as peer:
                peer.connect(port.address)
                peer.setblocking(False)
                await port.say(peer, HELLO + b"QUERY CONSOLE='n1'\n")
                assert await port.rest(peer) == b"OK\nOK CONSOLE='n1'\n"
        await port.listener.stop()
        assert not os.path.exists(path)

    serving(test, listen=ListenSettings(unix_socket=UnixSocketSettings(path)))


def on_unix_socket(test: Callable[[Port], Awaitable[None]], directory: Path, **options: Any) -> None:
    serving(test, listen=ListenSettings(tcp=False, unix_socket=UnixSocketSettings(str(directory / "s"))), **options)


def test_on_a_unix_socket_the_kernel_says_who_it_is(tmp_path: Path) -> None:
    me, label = f"user{os.getuid()}", f"user{os.getuid()}@localhost:{os.getpid()}"

    async def test(port: Port) -> None:
        await port.session(b"CONNECT CONSOLE='n1'\n")
        assert port.log == [f'Client <{label}> called itself "bob"', f"Client <{label}> connected to [n1]"]
        answer = await port.ask(b"CONNECT CONSOLE='n1'\n")
        assert answer.endswith(f"Console [n1] open R/W by <{me}@localhost> on pts/3 (idle 0s).\n".encode())
        assert port.log[-1] == f"Client <{label}> request failed: Found console already in use"

    on_unix_socket(test, tmp_path)


def test_a_user_that_tells_its_own_name_is_not_spoken_of(tmp_path: Path) -> None:
    async def test(port: Port) -> None:
        peer = port.connect()
        await port.say(peer, f"HELLO USER='user{os.getuid()}'\nQUERY CONSOLE='n1'\n".encode())
        assert await port.rest(peer) == b"OK\nOK CONSOLE='n1'\n"
        assert port.log == [f"Client <user{os.getuid()}@localhost:{os.getpid()}> issued query"]

    on_unix_socket(test, tmp_path)


def test_the_kernels_user_is_named_before_the_greeting_is_understood(tmp_path: Path) -> None:
    async def test(port: Port) -> None:
        peer = port.connect()
        await port.say(peer, b"HELLO\n")
        await port.rest(peer)
        assert port.log[0].startswith(f"Client <user{os.getuid()}@localhost:{os.getpid()}> request failed: ")
        port.connect().close()
        await port.site.daemon_log.until("Connection terminated")
        assert port.log[-1] == f"Connection terminated by <localhost:{os.getpid()}>"

    on_unix_socket(test, tmp_path)


def test_hosts_access_is_not_asked_about_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_arguments: object) -> Decision:
        raise AssertionError("there is no host")

    async def test(port: Port) -> None:
        monkeypatch.setattr(listener_module.hosts_access, "check", check)
        assert await port.ask(b"QUERY CONSOLE='n1'\n") == b"OK CONSOLE='n1'\n"

    on_unix_socket(test, tmp_path, tcpwrappers=True)


def test_waiting_is_bounded_by_the_loops_clock() -> None:
    async def test(loop: ManualLoop) -> None:
        waiting = loop.create_task(handshake.in_time(loop.create_future(), 5))
        await loop.advance(5)
        with pytest.raises(asyncio.TimeoutError):
            await waiting

    run(test)
