"""A change of a site that is under way: what is left to be done, and whom it waits for."""

from __future__ import annotations

import asyncio
from typing import List

from conmand.consoles.base import Console
from conmand.server.logs.console_log import ConsoleLog


class ToOpen:
    """What a change leaves to be done: logs and devices to be opened, programs that have lost their consoles."""

    def __init__(self) -> None:
        self.logs: List[ConsoleLog] = []
        self.devices: List[Console] = []
        self.ending: List[int] = []

    def add(self, device: Console) -> None:
        """It is started later, and until then not for a client either."""
        device.hold()
        self.devices.append(device)


class Others:
    """The other processes of the daemon, which change at the same time: a log or a device may go from one to another.

    ``closed`` is set when all have closed what they do not have any more, ``ended`` when their programs have ended;
    ``ours_ended`` when this process's own have.
    """

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.ended = asyncio.Event()
        self.ours_ended = asyncio.Event()
