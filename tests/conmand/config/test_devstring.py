"""Splitting dev strings, and the console's name in them."""

from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.devstring import split_device_string
from conmand.config.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a"]),
        (" a\t b\v\fc ", ["a", "b", "c"]),
        ("'a b' c", ["a b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ('"a"b" c', ['a"b', "c"]),
        ('a"b c"d', ['a"b', 'c"d']),
        ("''", [""]),
        ("x '' y", ["x", "", "y"]),
        ("'", ["'"]),
        ("x '", ["x", "'"]),
        ('"""', ['"']),
        ('""x"', ['"x']),
        (r"'a\' b", ["a\\", "b"]),
        ("ssh.exp %N 22 'literal %N' ", ["ssh.exp", "n 1", "22", "literal %N"]),
        ("%N", ["n 1"]),
        ('"%N %N"', ["n 1 n 1"]),
        ("%%N %n %D", ["%n 1", "%n", "%D"]),
        ("a\u00a0b", ["a\u00a0b"]),
    ],
)
def test_words(text: str, words: List[str]) -> None:
    assert split_device_string(text, "n 1") == words


@pytest.mark.parametrize("text", ["'x", "x 'y", "' ", '"a\'', "'a'b", "'a'b c"])
def test_unterminated_quote(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        split_device_string(text, "n")
    assert str(caught.value) == "console [n] dev string parse error"


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_no_words(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        split_device_string(text, "n")
    assert str(caught.value) == "console [n] dev string is empty"


def test_a_word_with_names_holds_1023_bytes() -> None:
    name = "é" * 170  # 340 bytes
    assert split_device_string("%N%N%Nabc", name) == [name * 3 + "abc"]
    with pytest.raises(DeviceError) as caught:
        split_device_string("%N%N%Nabcd", name)
    assert str(caught.value) == f"console [{name}] dev string substitution failed"


@given(st.lists(st.text(alphabet="ab'\\%N/:é\udcff", min_size=1)), st.sampled_from(["'", '"']))
def test_quoted_words_read_back(words: List[str], quote: str) -> None:
    words = [word for word in words if quote not in word and "%N" not in word]
    if words:
        assert split_device_string(" ".join(f"{quote}{word}{quote}" for word in words), "n") == words


@given(st.text(alphabet=" \t'\"aé%N"), st.text(max_size=3))
def test_splitting_is_total(text: str, name: str) -> None:
    try:
        assert split_device_string(text, name)
    except DeviceError as error:
        assert str(error).startswith("console [")


@given(st.text(alphabet=" \tab%N"))
def test_without_quotes_words_are_what_blanks_leave(text: str) -> None:
    if text.split():
        assert split_device_string(text, "%N") == text.split()
