"""One function on many consoles, so many at a time; what each returned or raised is collected."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Awaitable, Callable, Dict, Generic, Iterable, List, Optional, TypeVar, Union

from conman.address import Address
from conman.aio import AsyncConsole
from conman.console import DEFAULT_SECONDS, Console, query
from conman.errors import ConmanError

DEFAULT_LIMIT = 64
"""As the original's example that runs a shell command on many nodes."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """Of one console: ``value`` if ``error`` is ``None``."""

    console: str
    value: Optional[T] = None
    error: Optional[ConmanError] = None

    @property
    def ok(self) -> bool:
        return self.error is None


def run_on(
    consoles: Iterable[str],
    function: Callable[..., T],
    *arguments: object,
    limit: int = DEFAULT_LIMIT,
    mode: str = "connect",
    server: Optional[Union[str, Address]] = None,
    timeout: float = DEFAULT_SECONDS,
    on_done: Optional[Callable[[Outcome[T]], None]] = None,
    on_interrupt: Optional[Callable[[List[str]], None]] = None,
) -> Dict[str, Outcome[T]]:
    """Call ``function(console, *arguments)`` with an open ``Console`` for each of ``consoles`` (names, not patterns:
    see ``query``), at most ``limit`` at a time, each in a thread of its own.

    A ``ConmanError`` of one console is its outcome, and the others go on; anything else is a bug and is raised when all
    have ended. ``on_done`` is told each outcome, in the caller's thread. After an interrupt no further console is
    begun; ``on_interrupt`` is told which are under way, and when these have ended the interrupt is raised. A second one
    is raised at once, with threads left that still work. Raises ``ValueError`` for a ``limit`` below 1.
    """
    names = list(dict.fromkeys(consoles))

    def job(name: str) -> Outcome[T]:
        try:
            with Console(name, mode=mode, server=server, timeout=timeout) as console:
                return Outcome(name, function(console, *arguments))
        except ConmanError as error:
            return Outcome(name, error=error)

    outcomes: Dict[str, Outcome[T]] = {}
    _check_limit(limit)
    if not names:
        return outcomes

    def collect(futures: Iterable[Future[Outcome[T]]]) -> None:
        for done in as_completed(futures):
            outcome = done.result()
            outcomes[outcome.console] = outcome
            if on_done is not None:
                on_done(outcome)

    pool = ThreadPoolExecutor(min(limit, len(names)))
    futures = {pool.submit(job, name): name for name in names}
    try:
        collect(futures)
    except (KeyboardInterrupt, SystemExit):
        pool.shutdown(wait=False, cancel_futures=True)
        begun = [future for future, name in futures.items() if not future.cancelled() and name not in outcomes]
        if on_interrupt is not None:
            on_interrupt([futures[future] for future in begun if not future.done()])
        collect(begun)
        raise
    except BaseException:
        pool.shutdown()
        raise
    pool.shutdown()
    return {name: outcomes[name] for name in names}


def _check_limit(limit: int) -> None:
    """To do nothing and report success would be worse."""
    if limit < 1:
        raise ValueError(f"limit is {limit}, and should be at least 1")


async def run_on_async(
    consoles: Iterable[str],
    function: Callable[..., Awaitable[T]],
    *arguments: object,
    limit: int = DEFAULT_LIMIT,
    mode: str = "connect",
    server: Optional[Union[str, Address]] = None,
    timeout: float = DEFAULT_SECONDS,
    on_done: Optional[Callable[[Outcome[T]], None]] = None,
) -> Dict[str, Outcome[T]]:
    """``run_on`` for asyncio: ``function`` is a coroutine function and gets an ``AsyncConsole``."""
    names = list(dict.fromkeys(consoles))
    _check_limit(limit)
    places = asyncio.Semaphore(limit)

    async def job(name: str) -> Outcome[T]:
        async with places:
            try:
                async with await AsyncConsole.open(name, mode=mode, server=server, timeout=timeout) as console:
                    outcome = Outcome(name, await function(console, *arguments))
            except ConmanError as error:
                outcome = Outcome(name, error=error)
            if on_done is not None:
                on_done(outcome)
            return outcome

    jobs = [asyncio.ensure_future(job(name)) for name in names]
    try:
        found = await asyncio.gather(*jobs)
    finally:
        for each in jobs:
            each.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    return {outcome.console: outcome for outcome in found}


async def query_async(*patterns: str, server: Optional[Union[str, Address]] = None, regex: bool = False) -> list[str]:
    """``query`` in a thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: query(*patterns, server=server, regex=regex))
