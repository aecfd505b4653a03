"""Keys in, echo and lines out."""

from __future__ import annotations

from typing import List, Tuple, Union

from hypothesis import given
from hypothesis import strategies as st

from demo.lineedit import MAX_LINE_BYTES, Key, LineEditor


def typing(keys: bytes, echo: bool = True) -> Tuple[bytes, List[Union[bytes, Key]]]:
    editor = LineEditor()
    results = [editor.receive_byte(byte, echo) for byte in keys]
    return b"".join(shown for shown, _ in results), [typed for _, typed in results if typed is not None]


def test_keys_are_echoed_and_enter_gives_the_line() -> None:
    assert typing(b"ls -l\r") == (b"ls -l\r\n", [b"ls -l"])


def test_cr_lf_and_cr_nul_and_lf_are_one_enter_each() -> None:
    assert typing(b"a\r\nb\r\0c\nd\r")[1] == [b"a", b"b", b"c", b"d"]
    assert typing(b"\r\r")[1] == [b"", b""]


def test_without_echo_only_the_line_end_is_shown() -> None:
    assert typing(b"deom\x7f\x7fmo\r", echo=False) == (b"\r\n", [b"demo"])


def test_backspace_and_delete_erase_one_key_and_stop_at_the_start() -> None:
    assert typing(b"ab\x08\x7f\x7fc\r") == (b"ab\b \b\b \bc\r\n", [b"c"])


def test_control_u_erases_the_line_and_control_w_a_word() -> None:
    assert typing(b"one two\x15x\r")[1] == [b"x"]
    assert typing(b"one two \x17x\r")[1] == [b"one x"]


def test_control_c_and_control_d() -> None:
    assert typing(b"ls\x03pwd\r") == (b"ls^C\r\npwd\r\n", [Key.INTERRUPT, b"pwd"])
    assert typing(b"\x04") == (b"", [Key.EOF])
    assert typing(b"a\x04\r")[1] == [b"a"]


def test_cursor_keys_leave_no_trace() -> None:
    assert typing(b"l\x1b[As\x1bOB\x1b[1;5C\r") == (b"ls\r\n", [b"ls"])


@given(st.binary(max_size=3 * MAX_LINE_BYTES))
def test_any_keys_give_bounded_lines(keys: bytes) -> None:
    assert all(isinstance(typed, Key) or len(typed) <= MAX_LINE_BYTES for typed in typing(keys)[1])
