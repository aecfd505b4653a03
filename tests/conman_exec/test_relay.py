from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conman_exec import relay
from conman_exec.relay import CHUNK_BYTES, Relay, command_line, drain
from conman_exec.sessions import Guarded, IbmBc, Line, Session, SunIlom, TelnetBreak
from conman_exec.telnet import TelnetCodec

PATIENCE_SECONDS = 30


class Running:
    """A relay in a thread, with the far ends of its sockets: ``daemon`` and ``tool``."""

    def __init__(self, session: Session, codec: Optional[TelnetCodec] = None, begin: bytes = b"") -> None:
        self.daemon, daemon_end = socket.socketpair()
        self.tool, tool_end = socket.socketpair()
        for end in (self.daemon, self.tool):
            end.settimeout(PATIENCE_SECONDS)
        for end in (daemon_end, tool_end):
            end.setblocking(False)
        self.ends = (daemon_end, tool_end)
        # As in life: input and output are two descriptors of one socket.
        self.output = os.dup(daemon_end.fileno())
        self.relay = Relay(session, tool_end.fileno(), codec, daemon_end.fileno(), self.output)
        self.relay.begin(begin)
        self.status: Optional[int] = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.status = self.relay.run()
        for end in self.ends:
            end.close()
        os.close(self.output)

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.daemon.close()
        self.ended()
        self.tool.close()

    def ended(self) -> Optional[int]:
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        return self.status


def receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = end.recv(count - len(data))
        assert more, data
        data += more
    return data


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=500), st.binary(max_size=500).filter(lambda keys: b"&" not in keys))
def test_bytes_pass_unchanged_both_ways(output: bytes, keys: bytes) -> None:
    with Running(Session(), begin=b"first ") as running:
        running.tool.sendall(output)
        assert receive(running.daemon, 6 + len(output)) == b"first " + output
        running.daemon.sendall(keys)
        assert receive(running.tool, len(keys)) == keys


def test_break_is_not_read_together_with_the_keys_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "READ_SECONDS", PATIENCE_SECONDS)
    with Running(Guarded()) as running:
        running.daemon.sendall(b"ab&Bh")
        assert running.tool.recv(100) in (b"ab", b"ab\r")
        rest = b""
        while not rest.endswith(b"&Bh"):
            more = running.tool.recv(100)
            assert more.startswith(b"&B") or b"&" not in more
            rest += more


def test_keys_go_through_the_session() -> None:
    with Running(Guarded()) as running:
        running.daemon.sendall(b"ab&B")
        assert receive(running.tool, 5) == b"ab\r&B"


def test_ampersand_typed_by_itself_is_not_withheld_for_long() -> None:
    with Running(Session()) as running:
        running.daemon.sendall(b"&")
        assert receive(running.tool, 1) == b"&"


def test_end_of_the_tool_ends_the_relay_when_all_is_written() -> None:
    with Running(Session()) as running:
        running.tool.sendall(b"last words")
        running.tool.shutdown(socket.SHUT_WR)
        assert receive(running.daemon, 10) == b"last words"
        assert running.ended() == 0


def test_end_of_the_daemon_ends_the_relay() -> None:
    with Running(Session()) as running:
        running.daemon.close()
        assert running.ended() == 0
        assert running.tool.recv(1) == b""


def test_daemon_that_does_not_read_stops_the_tool_and_loses_nothing() -> None:
    data = bytes(range(256)) * 8192
    with Running(Session()) as running:
        sender = threading.Thread(target=running.tool.sendall, args=(data,), daemon=True)
        sender.start()
        sender.join(0.2)
        assert sender.is_alive()  # neither lost nor kept: the tool waits
        assert len(running.relay._for_daemon) <= 3 * CHUNK_BYTES
        assert receive(running.daemon, len(data)) == data
        sender.join(PATIENCE_SECONDS)


def test_tool_that_does_not_read_stops_the_keys_and_loses_nothing() -> None:
    data = b"0123456789abcdef" * 65536
    with Running(Session()) as running:
        sender = threading.Thread(target=running.daemon.sendall, args=(data,), daemon=True)
        sender.start()
        sender.join(0.2)
        assert sender.is_alive()
        running.tool.sendall(b"output goes on")
        assert receive(running.daemon, 14) == b"output goes on"
        assert receive(running.tool, len(data)) == data
        sender.join(PATIENCE_SECONDS)


def test_daemon_that_goes_while_nothing_can_be_delivered_is_noticed() -> None:
    with Running(Session()) as running:
        sender = threading.Thread(target=send_until_gone, args=(running.daemon,), daemon=True)
        sender.start()
        sender.join(0.2)
        running.daemon.shutdown(socket.SHUT_RDWR)
        assert running.ended() == 0
        sender.join(PATIENCE_SECONDS)


def send_until_gone(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.sendall(b"x" * 10_000_000)


def test_telnet_is_spoken_with_the_tool_only() -> None:
    with Running(TelnetBreak(), TelnetCodec()) as running:
        running.tool.sendall(b"a\xff\xfb\x01\xff\xffb\r\0")
        assert receive(running.daemon, 4) == b"a\xffb\r"
        assert receive(running.tool, 3) == b"\xff\xfd\x01"
        running.daemon.sendall(b"x\xff\r&By")
        assert receive(running.tool, 8) == b"x\xff\xff\r\0\xff\xf3y"


def test_break_on_the_line_keeps_its_place() -> None:
    running = Running(Line())
    running.relay.make_break = lambda: running.ends[1].send(b"<BREAK>")
    with running:
        running.daemon.sendall(b"ab&Bcd")
        assert receive(running.tool, 11) == b"ab<BREAK>cd"


def test_session_may_end_the_relay_with_a_status() -> None:
    session = SunIlom()
    session.quiet_seconds = 0.01
    with Running(session) as running:
        running.tool.sendall(b"\r\n-> ")
        assert receive(running.daemon, 27).strip() == b"Console session stolen."
        assert running.ended() == 1


def test_session_gets_its_time() -> None:
    with Running(IbmBc("console", "0.05")) as running:
        running.tool.sendall(b"x")
        assert receive(running.tool, 2) == b" \x7f"


def test_pipe_is_read_empty() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 1000)
    os.close(writing)
    assert drain(reading) == b"x" * 1000


def test_command_line_starts_a_bare_interpreter() -> None:
    argv = command_line("/bin/py", "/lib", "Guarded", ("a",), 5, 77, 6, "-")
    assert argv[:4] == ["/bin/py", "-I", "-S", "-c"]
    assert argv[5:] == ["/lib", "Guarded", "5", "77", "6", "-", "a"]


def test_relay_imports_only_what_is_built_in() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import conman_exec.relay; "
        "print(*sorted(set(sys.modules) - before))"
    )
    parent = os.path.dirname(os.path.dirname(relay.__file__))
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, parent], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.split()
    assert set(found) <= {"__future__", "conman_exec", "conman_exec.relay", "conman_exec.sessions", "select", "_signal"}
