"""Tasks with an owner: they end with it, and their mistakes are told."""

from __future__ import annotations

import asyncio

from conmand.server.tasks import OwnedTasks
from tests.fakes.loops import ManualLoop, run, settle


def test_cancelling_ends_all_of_them_and_waits_for_it() -> None:
    async def test(loop: ManualLoop) -> None:
        tasks = OwnedTasks(loop)
        ended = []

        async def work(number: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                ended.append(number)

        started = [tasks.start(work(number)) for number in range(3)]
        await settle()
        await tasks.cancel()
        assert sorted(ended) == [0, 1, 2]
        assert all(task.cancelled() for task in started)
        await tasks.cancel()  # nothing is left

    run(test)


def test_a_result_is_the_starters_and_a_failure_is_a_bug() -> None:
    async def test(loop: ManualLoop) -> None:
        tasks = OwnedTasks(loop)

        async def work(result: int) -> int:
            if not result:
                raise ValueError("bug")
            return result

        assert await tasks.start(work(7)) == 7
        tasks.start(work(0))
        await settle()
        (bug,) = loop.bugs
        assert (bug["message"], str(bug["exception"])) == ("a task failed", "bug")
        loop.bugs.clear()

    run(test)
