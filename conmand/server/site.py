"""All that one process serves: its consoles, their logs, the sessions with them, and what these need to run.

With workers each of them has a site of its own; without, the daemon has the only one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Dict, List, Optional, Sequence, Tuple

from conmand.config import specifiers
from conmand.config.errors import ExpansionTooLong
from conmand.config.model import ConsoleSettings, IpmiDevice, ServerSettings
from conmand.config.settings import DaemonSettings
from conmand.consoles.base import Services
from conmand.server.children import ChildReaper
from conmand.server.client import ClientContext
from conmand.server.clock import LogClock
from conmand.server.console_log import BacklogBudget, ConsoleLog
from conmand.server.daemonlog import DaemonLog
from conmand.server.hub import SharedConsole
from conmand.server.inotify import PathWatcher
from conmand.server.log_files import BATCH, LogFiles, stamp_at_intervals
from conmand.server.poller import BatchPoller
from conmand.server.reset import ResetCommands
from conmand.server.resolver import NameResolver
from conmand.server.sessions import LocalSessions

if TYPE_CHECKING:
    from conmand.consoles.ipmi_engine import SolEngine

CHILDREN_SECONDS = 2.0
"""At the end, for programs that saw their input close, and again for those that were sent SIGTERM."""


@dataclass(frozen=True)
class SiteOptions:
    """What is decided once, when the daemon starts."""

    foreground: bool
    truncate_logs: bool
    settings: DaemonSettings = DaemonSettings()
    pid: int = field(default_factory=os.getpid)
    """Of the daemon, which the names of logs and reset commands may hold; a worker's own is nobody's business."""


class Site:
    """Made and used on the running loop. ``start`` once, ``stop`` once; in between it looks after itself."""

    def __init__(
        self,
        server: ServerSettings,
        consoles: Sequence[ConsoleSettings],
        options: SiteOptions,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
        report_bug: Callable[[Dict[str, Any]], None],
    ) -> None:
        self.server = server
        self._settings: Tuple[ConsoleSettings, ...] = tuple(consoles)
        self._options = options
        self._log = daemon_log
        self._loop = loop
        self._report_bug = report_bug
        self._tasks: set[asyncio.Task[None]] = set()
        self.children = ChildReaper(loop, cwd=None if options.foreground else "/")
        self.children.start()
        self.resolver = NameResolver(loop)
        self._watcher = PathWatcher(loop, daemon_log.error)
        self._log_files = LogFiles(loop)
        self._poller = BatchPoller(loop)
        self._ipmi = self._start_ipmi_engine()
        self._services = Services(loop, self._poller, self.children, self.resolver, self._watcher, self._ipmi)
        self._clock, self._budget = LogClock(), BacklogBudget()
        self.consoles: Dict[str, SharedConsole] = {}
        self.logs: List[ConsoleLog] = []
        for settings in self._settings:
            self._add(settings)
        self.resets = ResetCommands(self._expand_reset if server.resetcmd else None, self.children, loop)
        self.sessions = LocalSessions(
            self.consoles, ClientContext(loop, daemon_log, self.resets, lambda client: None)
        )

    @property
    def names(self) -> List[str]:
        """Of all consoles, in the order of their definition."""
        return list(self.consoles)

    @property
    def shares(self) -> List[List[ConsoleSettings]]:
        """All consoles are one process's."""
        return [[console.device.settings for console in self.consoles.values()]]

    def daemon_log_changed(self) -> None:
        """Nobody else needs to know where the daemon's log is."""

    def start(self) -> None:
        """Begin to open the consoles; clients may come at once."""
        self._own(self._start_consoles())
        if self.server.timestamp_minutes and self.logs:
            self._own(stamp_at_intervals(self.logs, self.server.timestamp_minutes))

    async def reopen_logs(self) -> None:
        """Close and open every log, its name expanded anew."""
        await self._log_files.reopen(self.logs)

    # Start.

    def _start_ipmi_engine(self) -> Optional[SolEngine]:
        consoles = sum(isinstance(settings.device, IpmiDevice) for settings in self._settings)
        if not consoles:
            return None
        from conmand.consoles.ipmi_engine import start_engine, threads_for

        threads = threads_for(consoles)
        engine = start_engine(self._loop, self.resolver, threads, keep_file_limit=self.server.nofile != 0)
        if engine.problem:
            self._log.error(f"Unable to start IPMI SOL engine: {engine.problem}")
        else:
            self._log.info(
                f"IPMI SOL engine started with {threads} thread{'' if threads == 1 else 's'} "
                f"for {consoles} console{'' if consoles == 1 else 's'}"
            )
        return engine

    def _add(self, settings: ConsoleSettings) -> None:
        log = self._create_log(settings)
        if log is not None:
            self.logs.append(log)
        self.consoles[settings.name] = SharedConsole(settings, self._services, self._log, log)

    def _create_log(self, settings: ConsoleSettings) -> Optional[ConsoleLog]:
        if settings.log is None:
            return None
        return ConsoleLog(
            settings.name,
            settings.log_options,
            partial(_log_path, settings, self._options.pid),
            clock=self._clock,
            daemon_log=self._log,
            budget=self._budget,
            loop=self._loop,
            retry_open=self._log_files.retry,
        )

    async def _start_consoles(self) -> None:
        """Open every console, its log before it, in the order of their definition; clients are served meanwhile."""
        consoles = list(self.consoles.values())
        for start in range(0, len(consoles), BATCH):
            batch = consoles[start : start + BATCH]
            await self._log_files.open(
                [console.log for console in batch if console.log is not None], truncate=self._options.truncate_logs
            )
            for console in batch:
                console.device.start()
            await asyncio.sleep(0)
        # What exists now stays: the collector need not look at the objects of 9,000 consoles again and again.
        gc.collect()
        gc.freeze()

    def _expand_reset(self, console: SharedConsole) -> str:
        assert self.server.resetcmd is not None, "asked for only when there is one"
        return expand(self.server.resetcmd, console.device.settings, self._options.pid)

    # Stop.

    async def stop(self) -> None:
        """Close everything in order. Whoever accepts clients has stopped before."""
        # 1. Nothing new: no consoles, no stamps, no clients.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.sessions.stop()
        # 2. Close the devices; programs see the end of their input, which is how ipmitool ends its session in order.
        for console in self.consoles.values():
            console.device.stop()
        if self._ipmi is not None and not await self._ipmi.stop():
            self._log.warning("Some BMCs did not confirm the end of their sessions, and will end them by themselves")
        # 3. Write what can be written.
        for log in self.logs:
            log.stop()
        self._log_files.close()
        # 4. Programs that did not go by themselves are told to, twice. Reset commands may finish.
        await self._end_children()
        # 5. Done.
        self._poller.close()
        self._watcher.close()
        self.resolver.close()

    async def _end_children(self) -> None:
        resets = set(self.resets.pids())
        programs = [pid for pid in self.children.pids() if pid not in resets]
        left = programs
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = await self.children.wait_all(left, CHILDREN_SECONDS)
            for pid in left:
                self.children.kill(pid, number)
        for pid in programs:
            # What a program has started goes with it (errata D3), also if the program itself went when it was asked.
            self.children.kill(pid, signal.SIGKILL)
        for pid in resets:
            self._log.warning(f"Reset command (pid {pid}) is still running and is left to finish")

    # Odds and ends.

    def _own(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._report_bug({"message": "a task failed", "exception": task.exception()})


def expand(pattern: str, settings: Optional[ConsoleSettings], pid: Optional[int] = None) -> str:
    """``pattern`` with its conversion specifiers replaced, for now; ``pid`` is the daemon's, ``None`` if we are it.

    Raises ``ValueError`` beyond ConMan's limit.
    """
    now = time.time()
    try:
        return specifiers.expand(
            pattern,
            now=time.localtime(now),
            epoch_seconds=int(now),
            pid=os.getpid() if pid is None else pid,
            name=None if settings is None else settings.name,
            device=None if settings is None else specifiers.device_text(settings.device),
        )
    except ExpansionTooLong as error:
        raise ValueError(str(error)) from error


def _log_path(settings: ConsoleSettings, pid: int) -> str:
    assert settings.log is not None, "only logged consoles have a path"
    try:
        return expand(settings.log, settings, pid)
    except ValueError as error:
        raise ValueError(f"Unable to open logfile for [{settings.name}]: filename exceeded buffer") from error
