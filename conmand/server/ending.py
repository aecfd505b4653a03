"""The end of an event loop: what was cancelled has a moment to go, so that nothing is destroyed while it is pending.

A look-up that hangs in a thread does not hold it up: its task only waits for the thread, and that wait is cancelled.
"""

from __future__ import annotations

import asyncio

LAST_SECONDS = 1.0
"""For tasks to end that have been cancelled; they need a few turns of the loop."""


def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on ``loop``, which does not run, and let it run until that has ended."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_SECONDS))
