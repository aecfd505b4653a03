"""An event loop whose clock stands still until a test moves it: a delay of a minute costs nothing, and no timer fires
by accident. Descriptors, signals and threads are real.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Callable, Coroutine, List, Mapping, Optional, Tuple, TypeVar

T = TypeVar("T")

WATCHDOG_SECONDS = 20.0
"""Real time without any event after which a test is stuck. No test passes or fails by how long it takes otherwise."""


class _PatientSelector(selectors.DefaultSelector):
    """Waits for events only: timers that are due are polled for, those that are not never become so by waiting."""

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(WATCHDOG_SECONDS)
        if not events:
            raise AssertionError(f"nothing happened for {WATCHDOG_SECONDS} s: the test waits for what does not come")
        return events


class ManualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 1000.0
        self.bugs: List[Mapping[str, Any]] = []
        super().__init__(_PatientSelector())
        self.set_exception_handler(lambda _loop, context: self.bugs.append(context))

    def time(self) -> float:
        return self._now

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, in order: each timer on the way sees its own time, and what it starts is run."""
        end = self._now + seconds
        await settle()
        while True:
            soonest = min(self.timers(), default=end - self._now + 1)
            if self._now + soonest > end:
                break
            self._now += max(soonest, 0)
            await settle()
        self._now = end
        await settle()

    def timers(self) -> List[float]:
        """Seconds from now at which timers are due, soonest first."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        return sorted(timer.when() - self._now for timer in scheduled if not timer.cancelled())


async def settle(turns: int = 8) -> None:
    """Let everything that is ready now run, and what follows from it."""
    for _ in range(turns):
        await asyncio.sleep(0)


def run(test: Callable[[ManualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``test(loop)`` on a loop of its own. Fails if anything raised where nobody could catch it."""
    loop = ManualLoop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(test(loop))
        _cancel_rest(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert not loop.bugs, loop.bugs
    return result


def _cancel_rest(loop: ManualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
