"""What must not occur twice, and in which order that is found."""

from __future__ import annotations

import time

import pytest

from conmand.config.consoles import ConsoleList
from conmand.config.errors import ConfigurationError
from conmand.config.model import (
    ConsoleSettings,
    Device,
    IpmiDevice,
    ProcessDevice,
    SerialDevice,
    TelnetDevice,
    TestDevice,
    UnixDevice,
)


def consoles(*devices: Device) -> ConsoleList:
    """Consoles named 0, 1, ... with these devices."""
    known = ConsoleList()
    for number, device in enumerate(devices):
        known.add(ConsoleSettings(str(number), device))
    return known


def refusal(known: ConsoleList, name: str, device: Device) -> str:
    with pytest.raises(ConfigurationError) as caught:
        known.refuse_duplicate(name, device)
    return str(caught.value)


def test_names_are_unique() -> None:
    assert refusal(consoles(TestDevice()), "0", TestDevice()) == "console [0] specifies duplicate console name"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (UnixDevice("/a"), 'console [n] specifies duplicate device "/a"'),
        (SerialDevice("/a"), 'console [n] specifies duplicate device "/a"'),
        (IpmiDevice("a"), 'console [n] specifies duplicate hostname "a"'),
    ],
)
def test_some_devices_are_unique(device: Device, message: str) -> None:
    assert refusal(consoles(device), "n", device) == message


@pytest.mark.parametrize("device", [TelnetDevice("a", 1), ProcessDevice(("/a",)), TestDevice()])
def test_other_devices_are_not(device: Device) -> None:
    consoles(device).refuse_duplicate("n", device)


def test_types_do_not_share_their_names() -> None:
    consoles(UnixDevice("/a")).refuse_duplicate("n", SerialDevice("/a"))


def test_hosts_are_case_sensitive() -> None:
    consoles(IpmiDevice("a")).refuse_duplicate("n", IpmiDevice("A"))


def test_the_earliest_console_is_reported_its_name_first() -> None:
    known = consoles(UnixDevice("/a"), UnixDevice("/b"))
    assert refusal(known, "1", UnixDevice("/a")) == 'console [1] specifies duplicate device "/a"'
    assert refusal(known, "0", UnixDevice("/b")) == "console [0] specifies duplicate console name"
    assert refusal(known, "1", UnixDevice("/b")) == "console [1] specifies duplicate console name"


def test_a_log_has_one_owner() -> None:
    known = consoles()
    assert known.claim_log("/a", "n", TestDevice()) == ""
    for pattern, name in (("/a", "m"), ("/%N", "a")):
        with pytest.raises(ConfigurationError) as caught:
            known.claim_log(pattern, name, TestDevice())
        assert str(caught.value) == 'console [n] already logging to "/a"'


def test_logs_that_only_expand_to_one_name_are_warned_of() -> None:
    known = consoles()
    year = time.localtime().tm_year
    assert known.claim_log("/%N-%Y", "n", TestDevice()) == ""
    assert known.claim_log("/n-%Y", "m", TestDevice()) == f'console [m] shares log "/n-{year}" with console [n]'
    assert known.claim_log(f"/n-{year}", "o", TestDevice()) == f'console [o] shares log "/n-{year}" with console [n]'


def test_devices_are_expanded_in_logs() -> None:
    known = consoles()
    assert known.claim_log("/ts_1", "n", TestDevice()) == ""
    with pytest.raises(ConfigurationError):
        known.claim_log("/%D", "m", UnixDevice("/run/ts_1"))


def test_a_log_name_that_expands_too_far_is_left_to_its_opening() -> None:
    assert consoles().claim_log("%Y" * 300, "n", TestDevice()) == ""
