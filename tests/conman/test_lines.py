from __future__ import annotations

from typing import List

from hypothesis import given
from hypothesis import strategies as st

from conman.lines import MAX_LINE, LineCutter, prefixed, shown


def test_lines_come_whole() -> None:
    cutter = LineCutter()
    assert cutter.feed("one\r\ntw") == ["one"]
    assert cutter.feed("o\r\n\r\nlogin: ") == ["two", ""]
    assert cutter.take_partial() == ["login: "]
    assert cutter.take_partial() == []


def test_control_characters_are_left_out() -> None:
    assert shown("\x1b[1;31mred\x1b[0m\x07\tb\x1b(B\x1b[?25l") == "red\tb"
    assert shown("50%\r100%\r") == "50% 100%"


def test_a_line_that_never_ends_is_cut() -> None:
    assert [len(line) for line in LineCutter().feed("x" * (MAX_LINE + 1))] == [MAX_LINE + 1]


def test_prefixes() -> None:
    assert prefixed("n1", "text") == "n1:text"
    assert prefixed("n1", "text", colour=True).endswith("mn1:\x1b[0mtext")


@given(st.lists(st.text(alphabet="ab\r\n\x1b[0m")))
def test_what_is_shown_has_no_controls(pieces: List[str]) -> None:
    cutter = LineCutter()
    for line in [line for piece in pieces for line in cutter.feed(piece)] + cutter.take_partial():
        assert line.isprintable() or not line
