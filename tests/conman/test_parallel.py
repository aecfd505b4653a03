"""Many consoles at once: limits and interrupts. What is done on real consoles is in tests/system/client."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Iterator, List

import pytest

from conman import Outcome, parallel, run_on, run_on_async
from tests.fakes.files import PATIENCE_SECONDS


@contextmanager
def named(name: str, **_options: object) -> Iterator[str]:
    """In place of a console: its name."""
    yield name


def test_an_interrupt_begins_no_more_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was a mistake must not go on to the other nodes."""
    over = threading.Event()
    begun: List[str] = []

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            over.set()
            super().shutdown(wait=wait)

    def work(name: str) -> None:
        begun.append(name)
        if name != "n0":
            over.wait(PATIENCE_SECONDS)

    def interrupt(_outcome: Outcome[None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "Console", named)
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        run_on([f"n{number}" for number in range(9)], work, limit=1, on_done=interrupt)
    assert len(begun) <= 2


def test_a_limit_that_lets_nothing_begin_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        run_on(["n1"], lambda _console: None, limit=0)

    async def nothing(_console: object) -> None: ...

    with pytest.raises(ValueError, match="limit is 0"):
        asyncio.run(run_on_async(["n1"], nothing, limit=0))
