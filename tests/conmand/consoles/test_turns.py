"""Turns: so many at a time, in order, and the slow ones stand in nobody's way."""

from __future__ import annotations

from conmand.consoles.script_logins import TURN_SECONDS
from conmand.consoles.turns import Turns
from tests.fakes.loops import ManualLoop, run


def test_turns_come_in_order_and_end_once() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 2, TURN_SECONDS)
        first, second, third, fourth = (turns.ask() for _ in range(4))
        assert first.come.done() and second.come.done() and not third.come.done()
        first.end()
        first.end()
        assert third.come.done() and not fourth.come.done()
        fourth.end()  # it waits no more
        second.end()
        third.end()
        assert all(turns.ask().come.done() for _ in range(2))
        assert not turns.ask().come.done()

    run(test)


def test_there_may_be_more_or_fewer_turns_from_now_on() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS)
        asked = [turns.ask() for _ in range(6)]
        turns.limit(3)
        assert [turn.come.done() for turn in asked] == [True] * 3 + [False] * 3
        turns.limit(1)  # nobody loses one
        asked[0].end()
        asked[1].end()
        assert not asked[3].come.done()
        asked[2].end()
        assert [turn.come.done() for turn in asked[3:]] == [True, False, False]

    run(test)


def test_turn_that_takes_long_counts_no_more() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS)
        slow, other, last = (turns.ask() for _ in range(3))
        await loop.advance(TURN_SECONDS)
        assert other.come.done()
        slow.end()  # later, which frees nothing again
        assert not last.come.done()

    run(test)


def test_turn_that_somebody_waits_for_comes_next() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS)
        first, second, third = (turns.ask() for _ in range(3))
        third.hurry()
        first.hurry()  # has come
        first.end()
        assert third.come.done() and not second.come.done()
        third.hurry()

    run(test)


def test_turn_of_one_who_was_cancelled_goes_to_the_next() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS)
        first, second, third = (turns.ask() for _ in range(3))
        second.come.cancel()
        second.hurry()
        first.end()
        assert third.come.done()
        second.end()
        third.end()
        assert turns.ask().come.done()

    run(test)


def test_quick_turns_make_room_for_more() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS, most=3, quick_seconds=0.25)
        asked = [turns.ask() for _ in range(8)]
        asked[0].end()
        assert [turn.come.done() for turn in asked] == [True] * 3 + [False] * 5
        asked[1].end()
        asked[2].end()  # there are three at a time by now, and never more
        assert [turn.come.done() for turn in asked] == [True] * 6 + [False] * 2

    run(test)


def test_a_turn_that_is_not_quick_makes_no_room() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS, most=3, quick_seconds=0.25)
        asked = [turns.ask() for _ in range(3)]
        await loop.advance(0.5)
        asked[0].end()
        assert [turn.come.done() for turn in asked] == [True, True, False]

    run(test)


def test_a_turn_that_outlasts_its_time_takes_room_away_again() -> None:
    async def test(loop: ManualLoop) -> None:
        turns = Turns(loop, 1, TURN_SECONDS, most=2, quick_seconds=0.25)
        asked = [turns.ask() for _ in range(6)]
        asked[0].end()
        await loop.advance(TURN_SECONDS)  # both of the second and the third: the one takes, the other leaves its own
        assert [turn.come.done() for turn in asked] == [True] * 4 + [False] * 2
        await loop.advance(0.5)
        asked[3].end()
        assert [turn.come.done() for turn in asked] == [True] * 5 + [False]

    run(test)
