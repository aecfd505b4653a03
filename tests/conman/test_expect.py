from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.expect import EOF, MAX_UNREAD, TIMEOUT, WINDOW, Expecter, compiled


def expecter(text: str) -> Expecter:
    unread = Expecter()
    unread.feed(text)
    return unread


def test_the_earliest_match_wins_then_the_first_pattern() -> None:
    match = expecter("xabc").find(compiled(["c", "b", "ab", "a"]))
    assert match is not None
    assert (match.index, match.before, match.text) == (2, "x", "ab")


def test_what_follows_a_match_stays_unread() -> None:
    unread = expecter("one two")
    unread.find(compiled("one"))
    assert unread.unread == " two"


def test_exact_texts_are_no_expressions() -> None:
    assert expecter("a").find(compiled(".", exact=True)) is None
    assert expecter("a.").find(compiled(".", exact=True)) is not None


@given(st.lists(st.text(alphabet="ab\n", max_size=5)))
def test_splits_do_not_matter(pieces: list[str]) -> None:
    patterns = compiled(["ba+\n", "abb"])
    whole = expecter("".join(pieces)).find(patterns)
    split, found = Expecter(), None
    for piece in pieces:
        split.feed(piece)
        found = found or split.find(patterns)
    if whole is None:
        assert found is None
    else:
        assert found is not None and found.text  # a piecewise reader may settle for an earlier end


def test_the_end_is_raised_or_matched() -> None:
    unread = expecter("last words")
    unread.feed_eof()
    with pytest.raises(EOF, match="last words"):
        unread.find(compiled("never"))
    unread = expecter("last words")
    unread.feed_eof()
    match = unread.find(compiled(["never", EOF]))
    assert match is not None
    assert (match.index, match.before) == (1, "last words")


def test_a_timeout_consumes_nothing() -> None:
    unread = expecter("text")
    with pytest.raises(TIMEOUT, match=r"none of \['x'\] came within 2 s"):
        unread.time_out(compiled("x"), 2)
    assert unread.time_out(compiled(["x", TIMEOUT]), 2).index == 1
    assert unread.unread == "text"


def test_a_flood_is_bounded_and_searched_once() -> None:
    unread = Expecter()
    patterns = compiled("needle")
    for _ in range(40):
        unread.feed("x" * (MAX_UNREAD // 32))
        assert unread.find(patterns) is None
    assert len(unread.unread) == MAX_UNREAD
    unread.feed("nee")
    assert unread.find(patterns) is None
    unread.feed("dle" + "y" * WINDOW * 2)
    assert unread.find(patterns) is not None
