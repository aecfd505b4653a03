"""Lengths of time as ConMan writes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.delta import format_delta

SIZES = {"y": 52 * 7 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (-1, "0s"),
        (0.99, "0s"),
        (59.9, "59s"),
        (60, "1m0s"),
        (62, "1m2s"),
        (7207, "2h0m7s"),
        (3 * 86400 + 4 * 3600 + 1, "3d4h0m1s"),
        (7 * 86400, "1w0d0h0m0s"),
        (52 * 7 * 86400, "1y0w0d0h0m0s"),
        (52 * 7 * 86400 - 1, "51w6d23h59m59s"),
    ],
)
def test_known_lengths(seconds: float, text: str) -> None:
    assert format_delta(seconds) == text


@given(st.integers(0, 10**12))
def test_units_add_up_and_only_leading_zeros_are_left_out(seconds: int) -> None:
    text = format_delta(seconds)
    parts = re.findall(r"(\d+)([ywdhms])", text)
    assert sum(int(count) * SIZES[unit] for count, unit in parts) == seconds
    units = [unit for _count, unit in parts]
    assert units == list("ywdhms")[-len(units) :]
    assert parts[0][0] != "0" or text == "0s"
