"""What a session does when its daemon takes nothing. The rest is played on terminals, in tests/system/client."""

from __future__ import annotations

import socket

import pytest

from conman import session
from conman.address import Endpoint
from conman.connection import Connection
from conman.keys import Keyboard
from conman.protocol import Ok
from conman.session import MAX_UNSENT_BYTES, Session
from conman.session_log import SessionLog


def test_a_daemon_that_takes_no_keys_does_not_keep_who_leaves(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FLUSH_SECONDS", 0.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(b"x" * 4096)
        connection = Connection(ours, Endpoint(socket.AF_INET, ("127.0.0.1", 7890), "h", 7890), Ok(("n1",)), b"")
        left = Session(connection, Keyboard(ord("&"), ("n1",), "h:7890"), SessionLog(None))
        left._to_server += b"x" * MAX_UNSENT_BYTES
        left._close()
        assert capfd.readouterr().out == "\r\n<ConMan> Connection to console [n1] closed.\r\n"
        left._signals.give_back()
