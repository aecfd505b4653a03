from __future__ import annotations

import asyncio
import threading
from typing import Any, Dict, List

from conmand.server.ending import end_tasks


def test_nothing_is_pending_when_the_loop_closes() -> None:
    complaints: List[Dict[str, Any]] = []
    release = threading.Event()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    ended: List[str] = []

    async def hang() -> None:
        try:
            await asyncio.wait_for(loop.run_in_executor(None, release.wait), 3600)
        finally:
            ended.append("hang")

    async def start() -> None:
        tasks.append(loop.create_task(hang()))
        await asyncio.sleep(0)

    tasks: List[asyncio.Task[None]] = []
    loop.run_until_complete(start())
    tasks.pop().cancel()  # as a console does that is stopped while it connects
    end_tasks(loop)
    assert ended == ["hang"]
    end_tasks(loop)
    release.set()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert complaints == []
