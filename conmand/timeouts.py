"""Waiting for no longer than so many seconds."""

from __future__ import annotations

import asyncio
from typing import Awaitable, TypeVar

T = TypeVar("T")


async def within(awaitable: Awaitable[T], seconds: float) -> T:
    """As ``asyncio.wait_for``, which up to Python 3.11 forgets a cancellation that comes together with the result: a
    console that was stopped in that moment came up afterwards. Raises ``asyncio.TimeoutError``.

    Cancelled or too late, it gives up what it waits for, and does not wait for the end of that.
    """
    future = asyncio.ensure_future(awaitable)
    try:
        done, _pending = await asyncio.wait([future], timeout=seconds)
    except asyncio.CancelledError:
        future.cancel()
        raise
    if not done:
        future.cancel()
        raise asyncio.TimeoutError()
    return future.result()
