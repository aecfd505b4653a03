"""The reset command (``server resetcmd``): one at a time for a console, and none for longer than a minute."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Callable, Dict, Optional

from conmand.config.model import LogLevel
from conmand.server import notices
from conmand.server.children import ChildReaper

if TYPE_CHECKING:
    from conmand.server.hub import SharedConsole

LIMIT_SECONDS = 60


class ResetCommands:
    """Runs the expanded command under ``/bin/sh -c`` with its input and output on ``/dev/null``.

    ``expand(console_settings)`` gives the command for a console; it raises ``ValueError`` when it would be too long.
    ``None`` for it means that no command is configured, and a request is ignored as the original does.
    """

    def __init__(
        self,
        expand: Optional[Callable[[SharedConsole], str]],
        children: ChildReaper,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._expand = expand
        self._children = children
        self._loop = loop
        self._running: Dict[SharedConsole, int] = {}  # to the command's pid
        self.changed: Callable[[], None] = lambda: None  # called when ``pids`` have

    @property
    def configured(self) -> bool:
        return self._expand is not None

    def configure(self, expand: Optional[Callable[[SharedConsole], str]]) -> None:
        """For what is asked from now on; a command that runs is not touched."""
        self._expand = expand

    def reset(self, console: SharedConsole, client: notices.Person) -> None:
        if self._expand is None:
            return
        if console in self._running:
            # Only while it runs; the original refuses for the whole minute (errata D12).
            console.announce(LogLevel.INFO, notices.reset_ignored(console.name, self._running[console]))
            return
        try:
            command = self._expand(console)
        except ValueError:
            console.announce(LogLevel.WARNING, notices.reset_too_long(console.name))
            return
        try:
            pid = self._spawn(command, console)
        except OSError as error:
            console.announce(LogLevel.WARNING, notices.reset_failed(console.name, error.strerror or str(error)))
            return
        self._running[console] = pid
        self.changed()
        console.announce(LogLevel.NOTICE, notices.reset_by(console.name, client, pid))

    def _spawn(self, command: str, console: SharedConsole) -> int:
        limit: Optional[asyncio.TimerHandle] = None

        def exited(_code: int) -> None:
            if limit is not None:
                limit.cancel()
            self._running.pop(console, None)
            self.changed()

        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pid = self._children.spawn(["/bin/sh", "-c", command], stdin=null, stdout=null, stderr=null, on_exit=exited)
        finally:
            os.close(null)
        limit = self._loop.call_later(LIMIT_SECONDS, self._terminate, console, pid)
        return pid

    def _terminate(self, console: SharedConsole, pid: int) -> None:
        self._children.kill(pid, signal.SIGKILL)
        console.announce(LogLevel.NOTICE, notices.reset_terminated(console.name, LIMIT_SECONDS, pid))

    def pids(self) -> list[int]:
        """Of the commands that run now. The daemon lets them finish when it stops: half a power cycle is an outage."""
        return list(self._running.values())
