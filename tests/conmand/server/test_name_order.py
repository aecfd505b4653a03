from __future__ import annotations

from typing import List

from hypothesis import given
from hypothesis import strategies as st

from conmand.server.name_order import sorted_names


def test_trailing_digits_count_as_numbers() -> None:
    assert sorted_names(["n10", "n2", "n1"]) == ["n1", "n2", "n10"]
    assert sorted_names(["10", "7"]) == ["7", "10"]
    huge = ["n" + "9" * 5000, "n1" + "0" * 5000, "n5"]
    assert sorted_names(huge) == ["n5", *huge[:2]]


def test_only_trailing_digits_do() -> None:
    assert sorted_names(["x2y1", "x1y10", "x1y2", "x10y1"]) == ["x10y1", "x1y2", "x1y10", "x2y1"]


def test_everything_else_compares_as_signed_bytes() -> None:
    names = ["é", "7", "10", "B", "a", "a'b", "ab", "n", "n-1", "n0"]
    assert sorted_names(reversed(names)) == names


def test_equal_names_keep_their_order() -> None:
    assert sorted_names(["n01", "n1", "n001"]) == ["n01", "n1", "n001"]


def test_a_name_comes_before_itself_with_digits() -> None:
    assert sorted_names(["n0", "n00", "n"]) == ["n", "n0", "n00"]


@given(st.lists(st.text("an-0129é", max_size=6)))
def test_sorting_keeps_every_name(names: List[str]) -> None:
    assert sorted(sorted_names(names)) == sorted(names)


@given(st.lists(st.integers(min_value=0, max_value=10**30), unique=True))
def test_numbers_are_in_their_own_order(numbers: List[int]) -> None:
    assert sorted_names(f"node{number}" for number in numbers) == [f"node{number}" for number in sorted(numbers)]
