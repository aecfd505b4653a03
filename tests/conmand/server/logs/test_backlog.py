"""What waits for a log, and how many of the device's bytes it is."""

from __future__ import annotations

from typing import List, Tuple

from hypothesis import given
from hypothesis import strategies as st

from conmand.server.logs.backlog import PIECE_BYTES, Backlog, BacklogBudget


def test_bytes_are_logged_when_the_last_of_their_text_is_written() -> None:
    backlog = Backlog(BacklogBudget())
    backlog.append(b"x" * PIECE_BYTES, 100)
    backlog.append(b"y" * 10, 7)
    backlog.written(PIECE_BYTES - 1)
    assert backlog.device_bytes == 107
    backlog.written(1)
    assert (backlog.device_bytes, bytes(backlog.text)) == (7, b"y" * 10)
    backlog.written(10)
    assert (backlog.device_bytes, bytes(backlog.text)) == (0, b"")


def test_bytes_that_leave_nothing_in_the_log_wait_for_what_is_before_them() -> None:
    backlog = Backlog(BacklogBudget())
    backlog.append(b"", 3)
    assert backlog.device_bytes == 0
    backlog.append(b"line\r\n", 5)
    backlog.append(b"", 1)
    assert backlog.device_bytes == 6
    backlog.written(6)
    assert backlog.device_bytes == 0


def test_words_put_in_front_need_no_room() -> None:
    budget = BacklogBudget(5)
    backlog = Backlog(budget)
    backlog.append(b"later", 5)
    backlog.put_in_front(b"first ")
    assert backlog.text == b"first later"
    assert budget.left_bytes == -6
    backlog.written(6)
    assert (backlog.device_bytes, budget.left_bytes) == (5, 0)


def test_words_put_in_front_again_and_again_are_there_once() -> None:
    budget = BacklogBudget(100)
    backlog = Backlog(budget)
    backlog.put_in_front(b"opened at 1 ")
    backlog.append(b"text", 4)
    backlog.put_in_front(b"opened at 2 ")
    assert (bytes(backlog.text), budget.left_bytes, backlog.device_bytes) == (b"opened at 2 text", 84, 4)
    backlog.written(1)
    backlog.put_in_front(b"opened at 3 ")
    assert bytes(backlog.text) == b"opened at 3 pened at 2 text"
    backlog.written(len(backlog.text))
    assert (budget.left_bytes, backlog.device_bytes) == (100, 0)


@given(
    st.lists(st.tuples(st.integers(0, 2 * PIECE_BYTES), st.integers(0, 5000)), max_size=20),
    st.lists(st.integers(1, PIECE_BYTES)),
)
def test_in_any_portions_all_is_counted_once(pieces: List[Tuple[int, int]], portions: List[int]) -> None:
    budget = BacklogBudget()
    whole = budget.left_bytes
    backlog = Backlog(budget)
    for length, device_bytes in pieces:
        backlog.append(b"x" * length, device_bytes)
    for portion in portions:
        before = backlog.device_bytes
        backlog.written(min(portion, len(backlog.text)))
        assert 0 <= backlog.device_bytes <= before
    backlog.written(len(backlog.text))
    assert (backlog.device_bytes, budget.left_bytes) == (0, whole)
