from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.errors import ConmanError
from conman.status import DeviceBytes, age, parse_statuses, table

LINE = json.dumps(
    {
        "console": "n1",
        "state": "down",
        "state_seconds": 65.2,
        "retry_seconds": 9.9,
        "kind": "telnet",
        "device": "<h:23>",
        "log": None,
        "logged_bytes": 1234,
        "last_line": "login:",
        "clients": [{"user": "u", "host": "h", "tty": None, "mode": "R/O", "idle_seconds": 4.2}],
        "something": "new",
    }
).encode()


def test_a_status_and_its_row() -> None:
    (status,) = parse_statuses(LINE + b"\n\n")
    assert (status.console, status.is_up, status.clients[0].mode) == ("n1", False, "R/O")
    heading, row = table([status]).splitlines()
    assert " ".join(heading.split()) == "CONSOLE STATE SINCE DEVICE CLIENTS BYTES LAST LINE"
    assert " ".join(row.split()) == "n1 down (retry in 9s) 1m5s <h:23> u@h R/O idle 4s 1234 login:"


def test_a_log_in_trouble_shows_what_waits_and_what_is_lost() -> None:
    accounts = {"read": 100, "logged": 70, "waiting": 20, "lost": 10}
    line = json.dumps({**json.loads(LINE), "device_bytes": accounts, "log_complaint": "no space"}).encode()
    (status,) = parse_statuses(line)
    assert status.device_bytes == DeviceBytes(read=100, logged=70, waiting=20, lost=10)
    assert status.log_complaint == "no space"
    assert "  70, 20 waiting, 10 lost  login:" in table([status])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (62, "1m2s"), (7260, "2h1m"), (86400, "1d0h"), (-3, "0s")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@given(st.binary())
def test_any_bytes_are_statuses_or_an_error(data: bytes) -> None:
    try:
        parse_statuses(data)
    except ConmanError as error:
        assert "invalid status" in str(error)
