"""Waiting for so long: the result, the failure, the time-out, and the cancellation, also at the very last moment."""

from __future__ import annotations

import asyncio

import pytest

from conmand.timeouts import within
from tests.fakes.loops import ManualLoop, run, settle


async def answer() -> int:
    return 42


def test_result_and_failure_are_passed_on() -> None:
    async def test(loop: ManualLoop) -> None:
        assert await within(answer(), 5) == 42
        future: asyncio.Future[int] = loop.create_future()
        future.set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await within(future, 5)

    run(test)


def test_what_comes_too_late_is_given_up() -> None:
    async def test(loop: ManualLoop) -> None:
        future: asyncio.Future[int] = loop.create_future()
        waiting = loop.create_task(within(future, 5))
        await loop.advance(5)
        with pytest.raises(asyncio.TimeoutError):
            await waiting
        assert future.cancelled()

    run(test)


@pytest.mark.parametrize("has_result", [False, True])
def test_a_cancellation_is_never_forgotten(has_result: bool) -> None:
    async def test(loop: ManualLoop) -> None:
        future: asyncio.Future[int] = loop.create_future()
        waiting = loop.create_task(within(future, 5))
        await settle()
        if has_result:
            future.set_result(42)
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert future.cancelled() is not has_result
        assert loop.timers() == []

    run(test)
