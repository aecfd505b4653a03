"""The tasks of one owner: kept while they run, and ended with it."""

from __future__ import annotations

import asyncio
from typing import Any, Coroutine, Set, TypeVar

T = TypeVar("T")


class OwnedTasks:
    """A task that fails is a mistake of ours: the loop's exception handler is told at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: Set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._loop.call_exception_handler({"message": "a task failed", "exception": task.exception()})

    async def cancel(self) -> None:
        """Cancel them all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
