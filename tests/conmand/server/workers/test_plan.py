"""How many workers there are, and which console goes to which."""

from __future__ import annotations

from typing import Dict, Hashable, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.settings import AUTO
from conmand.server.workers.plan import assign, count, shares


def alone(name: str) -> Hashable:
    return name


@pytest.mark.parametrize(
    ("consoles", "cores", "expected"),
    [(1, 64, 1), (499, 64, 1), (500, 1, 1), (500, 2, 2), (500, 64, 2), (1000, 64, 4), (10_000, 8, 8), (10_000, 64, 40)],
)
def test_auto_takes_a_worker_per_core_that_has_enough_to_do(consoles: int, cores: int, expected: int) -> None:
    assert count(AUTO, consoles, cores) == expected


def test_a_number_is_taken_at_its_word() -> None:
    assert count(4, 1, 1) == 4
    assert count(1, 10_000, 64) == 1


def test_consoles_are_dealt_out_in_turn() -> None:
    assigned = assign(["a", "b", "c", "d", "e"], 2, together=alone)
    assert shares(assigned, 2) == [["a", "c", "e"], ["b", "d"]]


def test_consoles_with_one_log_share_a_worker() -> None:
    assigned = assign(["a", "b", "c"], 2, together=lambda name: "same" if name in "ac" else name)
    assert assigned["a"] == assigned["c"] != assigned["b"]


def test_a_console_stays_where_it_is_and_new_ones_go_where_there_is_room() -> None:
    assigned = assign(["x", "a", "y"], 2, together=alone, before={"a": 0})
    assert assigned == {"x": 1, "a": 0, "y": 0}
    assert list(assigned) == ["x", "a", "y"]


def test_a_new_console_joins_the_worker_that_has_its_log() -> None:
    before = {"a": 0, "b": 1}
    assigned = assign(["a", "b", "new"], 2, together=lambda name: "same" if name != "a" else name, before=before)
    assert assigned["new"] == 1


@given(
    names=st.lists(st.text(max_size=3), unique=True, max_size=40),
    workers=st.integers(1, 8),
    before_count=st.integers(0, 40),
)
def test_every_console_has_one_worker_and_none_is_overloaded(names: List[str], workers: int, before_count: int) -> None:
    before: Dict[str, int] = assign(names[:before_count], workers, together=alone)
    assigned = assign(names, workers, together=alone, before=before)
    assert list(assigned) == names
    assert {name: assigned[name] for name in before} == before
    sizes = [len(share) for share in shares(assigned, workers)]
    assert sum(sizes) == len(names)
    assert max(sizes) - min(sizes) <= 1
