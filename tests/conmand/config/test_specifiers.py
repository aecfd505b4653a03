"""Conversion specifiers, compared with the C library's own where the locale is C."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.errors import ExpansionTooLong
from conmand.config.model import (
    Device,
    IpmiDevice,
    ProcessDevice,
    SerialDevice,
    TelnetDevice,
    TestDevice,
    UnixDevice,
)
from conmand.config.specifiers import MAX_EXPANSION_BYTES, device_text, expand, sanitized

EPOCH = 1700000000
NOW = time.gmtime(EPOCH)  # Tuesday 2023-11-14 22:13:20, day 318


def expanded(pattern: str) -> str:
    return expand(pattern, now=NOW, epoch_seconds=EPOCH, pid=42, name="p 1/x", device="/dev:é")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("plain", "plain"),
        ("%N", "p_1_x"),
        ("%D", "_dev:__"),
        ("%P", "42"),
        ("%Y-%m-%d %H:%M:%S", "2023-11-14 22:13:20"),
        ("%y %j %s", "23 318 1700000000"),
        ("%G %g %V", "2023 23 46"),
        ("%u %w %U %W", "2 2 46 46"),
        ("%%N %%%N", "%N %p_1_x"),
        ("%x %n %é %", "%x %n %é %"),
        ("%", "%"),
        ("%N%", "p_1_x%"),
        ("%\n", "%\n"),
        ("dir/é\udcff", "dir/é\udcff"),
    ],
)
def test_specifiers(pattern: str, text: str) -> None:
    assert expanded(pattern) == text


def test_without_a_console_its_specifiers_stay() -> None:
    assert expand("%N.%D.%P", now=NOW, epoch_seconds=EPOCH, pid=42) == "%N.%D.42"


def test_a_device_without_text_expands_to_nothing() -> None:
    assert expand("a%Db", now=NOW, epoch_seconds=EPOCH, pid=42, name="n", device="") == "ab"


def test_sanitized_is_bytewise() -> None:
    assert sanitized("a\tb/é\udcff\x7f~!") == "a_b_____~!"


def test_limit() -> None:
    exact = "é" + "x" * (MAX_EXPANSION_BYTES - 7) + "%N"
    assert len(expanded(exact).encode()) == MAX_EXPANSION_BYTES
    for pattern in ("x" + exact, "x" * (MAX_EXPANSION_BYTES + 1)):
        with pytest.raises(ExpansionTooLong):
            expanded(pattern)


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (SerialDevice("/dev/ttyS0"), "ttyS0"),
        (UnixDevice("/run/vm/a.sock"), "a.sock"),
        (TelnetDevice("ts1", 2001), "ts1:2001"),
        (TelnetDevice("::1", 2001), "[::1]:2001"),
        (ProcessDevice(("/bin/cat",)), ""),
        (IpmiDevice("bmc1"), ""),
        (TestDevice(), ""),
    ],
)
def test_device_text(device: Device, text: str) -> None:
    assert device_text(device) == text


@given(st.integers(calendar.timegm((1970, 1, 1, 0, 0, 0)), calendar.timegm((2200, 1, 1, 0, 0, 0))))
def test_dates_and_weeks_are_those_of_the_c_library(seconds: int) -> None:
    now = time.gmtime(seconds)
    for specifier in "dHjmMSyYgGVuwUW":
        assert expand(f"%{specifier}", now=now, epoch_seconds=seconds, pid=1) == time.strftime(f"%{specifier}", now)


@given(st.text())
def test_any_pattern_expands_or_is_too_long(pattern: str) -> None:
    try:
        assert len(expanded(pattern).encode("utf-8", "surrogateescape")) <= MAX_EXPANSION_BYTES
    except ExpansionTooLong:
        assert len(pattern) > 50
