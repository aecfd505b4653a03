"""What a console's status line says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.server.status import describe, encode_status, last_line
from tests.fakes.clients import Site
from tests.fakes.loops import ManualLoop, run


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"", None),
        (b"\r\n \r\n", None),
        (b"boot\r\nlogin: ", "login:"),
        (b"boot\r\ndone\r\n\r\n", "done"),
        (b"\x1b[1;32mroot@n1\x1b[0m:~# \x07", "root@n1:~#"),
        (b"up\r\n\r\n<ConMan> Console [n1] joined by <u@h> at 01-02 03:04.\r\n", "up"),
        (b"half\xff", "half\ufffd"),
        (b"x" * 300, "x" * 200),
    ],
)
def test_the_last_line_is_what_a_user_would_see(tail: bytes, line: object) -> None:
    assert last_line(tail) == line


@given(st.binary())
def test_the_last_line_of_anything_is_one_line(tail: bytes) -> None:
    line = last_line(tail)
    assert line is None or (line.strip() and not any(ord(character) < 0x20 for character in line))


def test_clients_are_listed_once_with_mode_and_idle_time() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2, logged=False)
        site.consoles[0].device = site.consoles[1].device = StubDevice()  # type: ignore[assignment]
        site.connect("w", 1, tty="pts/1")
        await loop.advance(5)
        site.connect("m", 1, writing=False)
        site.connect("b", 1, 2, broadcast=True)
        described = describe(site.consoles[0])
        assert [(client["user"], client["mode"], client["idle_seconds"]) for client in described["clients"]] == [  # type: ignore[attr-defined]
            ("w", "R/W", 5.0),
            ("m", "R/O", 0.0),
            ("b", "B/C", 0.0),
        ]
        assert described["log"] is described["logged_bytes"] is described["last_line"] is None
        assert described["device_bytes"] is described["log_complaint"] is None
        line = encode_status(site.consoles[0])
        assert line.endswith(b"}\n")
        assert line.isascii()
        assert json.loads(line) == described
        site.close()

    run(test)


class StubDevice:
    class state:
        value = "up"

    class settings:
        device = object()

    state_seconds = 3.04
    retry_seconds = None
    label = '"test:"'

    def set_attended(self, attended: bool) -> None: ...

    def client_attached(self) -> None: ...
