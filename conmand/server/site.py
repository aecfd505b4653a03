"""All that one process serves: its consoles, their logs, the sessions with them, and what these need to run.

With workers each of them has a site of its own; without, the daemon has the only one.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Callable, Dict, Iterable, List, Optional, Sequence

from conmand.config import specifiers
from conmand.config.changes import ConsoleChange, ConsoleChanges
from conmand.config.errors import ExpansionTooLong
from conmand.config.model import ConsoleSettings, IpmiDevice, ProcessDevice, ServerSettings
from conmand.config.settings import DaemonSettings
from conmand.consoles.base import Console, Services
from conmand.server.changing import Others, ToOpen
from conmand.server.children import ChildReaper
from conmand.server.client import ClientContext
from conmand.server.daemonlog import DaemonLog
from conmand.server.hub import SharedConsole
from conmand.server.inotify import PathWatcher
from conmand.server.logs.backlog import MAX_ALL_BACKLOGS_BYTES, BacklogBudget
from conmand.server.logs.clock import LogClock
from conmand.server.logs.console_log import ConsoleLog
from conmand.server.logs.files import BATCH, LogFiles, look_for_deleted, stamp_at_intervals
from conmand.server.logs.open_files import OpenFiles
from conmand.server.logs.rotation import Rotation
from conmand.server.poller import BatchPoller
from conmand.server.reset import ResetCommands
from conmand.server.resolver import NameResolver
from conmand.server.sessions import LocalSessions
from conmand.server.tasks import OwnedTasks

if TYPE_CHECKING:
    from conmand.consoles.libipmiconsole import Started

CHILDREN_SECONDS = 2.0
"""At the end, for programs that saw their input close, and again for those that were sent SIGTERM."""

STARTED_TOGETHER = 16
"""Consoles: few, for the first ones wait for their logs; one at a time, each would wait for a thread."""


@dataclass(frozen=True)
class SiteOptions:
    """What is decided once, when the daemon starts."""

    foreground: bool
    truncate_logs: bool
    settings: DaemonSettings = DaemonSettings()
    pid: int = field(default_factory=os.getpid)
    """Of the daemon, which the names of logs and reset commands may hold; a worker's own is nobody's business."""

    part: float = 1.0
    """Of the daemon's consoles that are this site's; what all may have together is divided by it."""

    ipmi: Optional[Started] = None
    """An engine that was started early, in this process."""


class Site:
    """Made and used on the running loop. ``start`` once, ``stop`` once; in between it looks after itself."""

    def __init__(
        self,
        server: ServerSettings,
        consoles: Sequence[ConsoleSettings],
        options: SiteOptions,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.server = server
        self._options = options
        self._log = daemon_log
        self._loop = loop
        self._tasks = OwnedTasks(self._loop)
        self._opening: Optional[asyncio.Task[None]] = None
        self._stamping: Optional[asyncio.Task[None]] = None
        self.children = ChildReaper(loop, cwd=None if options.foreground else "/")
        self.children.start()
        self.resolver = NameResolver(loop)
        self._watcher = PathWatcher(loop, daemon_log.error)
        self._log_files = LogFiles(loop)
        self._rotation = Rotation(options.settings.rotation, self._log_files, loop, daemon_log, self.children)
        self._poller = BatchPoller(loop)
        self._services = Services(
            loop, self._poller, self.children, self.resolver, self._watcher, scripts=options.settings.scripts
        )
        self._start_ipmi_engine(consoles)
        self._clock = LogClock()
        self._open_log_files = OpenFiles()
        self._budget = BacklogBudget(math.ceil(MAX_ALL_BACKLOGS_BYTES * options.part))
        self.consoles: Dict[str, SharedConsole] = {}
        self.logs: List[ConsoleLog] = []
        for settings in consoles:
            self._add(settings)
        self.resets = ResetCommands(self._expand_reset if server.resetcmd else None, self.children, loop)
        self.sessions = LocalSessions(self.consoles, ClientContext(loop, daemon_log, self.resets, lambda client: None))

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
        self._opening = self._tasks.start(self._start_consoles())
        self._stamp_logs()
        self._tasks.start(look_for_deleted(self.logs, self._log_files))
        self._rotation.start()

    async def opened(self, seconds: float) -> None:
        """Wait until every console and its log have been tried, for so long at most."""
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=seconds)

    async def reopen_logs(self) -> None:
        """Close and open every log, its name expanded anew."""
        await self._log_files.reopen(self.logs)

    # Start.

    def _start_ipmi_engine(self, configured: Iterable[ConsoleSettings]) -> None:
        """Start the engine if there are consoles for it, and it does not run yet."""
        consoles = sum(isinstance(settings.device, IpmiDevice) for settings in configured)
        if not consoles or self._services.ipmi is not None:
            return
        from conmand.consoles import libipmiconsole
        from conmand.consoles.ipmi_engine import SolEngine

        started = self._options.ipmi or libipmiconsole.start(
            libipmiconsole.threads_for(consoles), keep_file_limit=self.server.nofile != 0
        )
        engine = SolEngine(self._loop, self.resolver, started.library, problem=started.problem, part=self._options.part)
        if engine.problem:
            self._log.error(f"Unable to start IPMI SOL engine: {engine.problem}")
        else:
            self._log.info(
                f"IPMI SOL engine started with {started.threads} thread{'' if started.threads == 1 else 's'} "
                f"for {consoles} console{'' if consoles == 1 else 's'}"
            )
        self._services.ipmi = engine

    def _add(self, settings: ConsoleSettings) -> SharedConsole:
        log = self._create_log(settings)
        if log is not None:
            self.logs.append(log)
        self.consoles[settings.name] = console = SharedConsole(settings, self._services, self._log, log)
        return console

    def _create_log(self, settings: ConsoleSettings) -> Optional[ConsoleLog]:
        if settings.log is None:
            return None
        log = ConsoleLog(
            settings.name,
            settings.log_options,
            self._log_namer(settings),
            clock=self._clock,
            daemon_log=self._log,
            budget=self._budget,
            loop=self._loop,
            retry_open=self._log_files.retry,
            open_files=self._open_log_files,
        )
        self._rotation.add(log, settings.log)
        return log

    def _log_namer(self, settings: ConsoleSettings) -> Callable[[], str]:
        return partial(_log_path, settings, self._options.pid)

    async def _start_consoles(self) -> None:
        """Open every console, its log before it, in the order of their definition; clients are served meanwhile.

        The logs of some are opened, in threads, while those before them are started.
        """
        consoles = list(self.consoles.values())
        logged: List[SharedConsole] = []
        for start in range(0, len(consoles) + STARTED_TOGETHER, STARTED_TOGETHER):
            batch = consoles[start : start + STARTED_TOGETHER]
            opening = self._tasks.start(self._open_logs(batch))
            await asyncio.sleep(0)  # it begins before we do
            for console in logged:
                self._start(console.device)
            await asyncio.wait([opening])  # what is wrong with it has been told
            logged = batch
        # What exists now stays: the collector need not look at the objects of 9,000 consoles again and again.
        gc.collect()
        gc.freeze()

    async def _open_logs(self, consoles: Sequence[SharedConsole]) -> None:
        logs = [console.log for console in consoles if console.log is not None]
        await self._log_files.open(logs, truncate=self._options.truncate_logs)

    def _stamp_logs(self) -> None:
        if self._stamping is not None:
            self._stamping.cancel()
            self._stamping = None
        if self.server.timestamp_minutes:
            self._stamping = self._tasks.start(stamp_at_intervals(self.logs, self.server.timestamp_minutes))

    def _expand_reset(self, console: SharedConsole) -> str:
        assert self.server.resetcmd is not None, "asked for only when there is one"
        return expand(self.server.resetcmd, console.device.settings, self._options.pid)

    # Change.

    async def apply(
        self,
        server: ServerSettings,
        changes: ConsoleChanges,
        settings: DaemonSettings,
        others: Optional[Others] = None,
    ) -> None:
        """Go on with these. Consoles that are not in ``changes`` notice nothing; the others change all at once.

        Returns when there are just the consoles that there should be, while those that are new or have another device
        are still being opened. What comes before is opened first: changes wait for each other, and for the start.
        """
        if self._opening is not None:
            await asyncio.wait([self._opening])
        stamps = server.timestamp_minutes != self.server.timestamp_minutes
        rotation = settings.rotation != self._options.settings.rotation
        self.server = server
        self._options = replace(self._options, settings=settings)
        self._services.scripts = settings.scripts
        if self._services.script_logins is not None:
            self._services.script_logins.configure(settings.scripts)
        self.resets.configure(self._expand_reset if server.resetcmd else None)
        self._opening = self._tasks.start(self._open_changed(self._change(changes), others))
        if stamps:
            self._stamp_logs()
        if rotation:
            consoles = self.consoles.values()
            named = [(console.log, console.device.settings.log) for console in consoles]
            self._rotation.configure(settings.rotation, [(log, name) for log, name in named if log and name])

    def _change(self, changes: ConsoleChanges) -> ToOpen:
        """Make ``consoles`` and ``logs`` those of the new configuration. Returns what is to be opened now."""
        to_open = ToOpen()
        for name in changes.removed:
            self._remove(self.consoles.pop(name), to_open)
        devices = [change.after for change in changes.changed if change.device]
        self._start_ipmi_engine([*changes.added, *devices])
        for change in changes.changed:
            self._reconfigure(self.consoles[change.name], change, to_open)
        self.logs[:] = [log for log in self.logs if not log.is_stopped]
        for settings in changes.added:
            console = self._add(settings)
            to_open.add(console.device)
            if console.log is not None:
                to_open.logs.append(console.log)
        return to_open

    def _remove(self, console: SharedConsole, to_open: ToOpen) -> None:
        to_open.ending += console.device.programs()
        console.remove()
        if console.log is not None:
            console.log.stop()
            console.change_log(None)  # a reset command that still runs has more to say

    def _reconfigure(self, console: SharedConsole, change: ConsoleChange, to_open: ToOpen) -> None:
        programs = console.device.programs()
        if console.reconfigure(change.after, self._services):
            to_open.ending += programs
            to_open.add(console.device)
        log = console.log
        if log is None or change.after.log is None:
            if log is not None:
                log.stop()
            new = self._create_log(change.after)
            console.change_log(new)
            if new is not None:
                self.logs.append(new)
                to_open.logs.append(new)
            return
        log.reconfigure(change.after.log_options, self._log_namer(change.after))
        self._rotation.add(log, change.after.log)
        if change.log or change.before.log_options.lock != change.after.log_options.lock:
            # All are closed before one is opened: two may exchange their files, and closing one ends the other's lock.
            log.close_file(elsewhere=change.log)
            to_open.logs.append(log)

    async def _open_changed(self, to_open: ToOpen, others: Optional[Others]) -> None:
        """Each log before its console, and programs last: one that is to go may still hold another's device."""
        programs: List[Console] = []
        others_than_programs: List[Console] = []
        for device in to_open.devices:
            is_program = isinstance(device.settings.device, ProcessDevice)
            (programs if is_program else others_than_programs).append(device)
        try:
            if others is not None:
                await others.closed.wait()
            await self._log_files.reopen(to_open.logs)
            await self._start_all(others_than_programs)
            await self._end_programs(to_open.ending)
        finally:
            if others is not None:
                others.ours_ended.set()  # whatever has happened: the others wait for it
        if others is not None:
            await others.ended.wait()
        await self._start_all(programs)

    async def _start_all(self, devices: Iterable[Console]) -> None:
        for number, device in enumerate(devices, 1):
            self._start(device)
            if number % BATCH == 0:
                await asyncio.sleep(0)

    def _start(self, device: Console) -> None:
        """A mistake of ours in one kind of device must not cost all consoles after it."""
        try:
            device.start()
        except Exception as error:
            context = {"message": f"the start of [{device.name}] failed", "exception": error}
            self._loop.call_exception_handler(context)

    # Stop.

    async def stop(self) -> None:
        """Close everything in order. Whoever accepts clients has stopped before."""
        # 1. Nothing new: no consoles, no stamps, no clients.
        await self._tasks.cancel()
        await self._rotation.close()
        self.sessions.stop()
        # 2. Close the devices; programs see the end of their input, which is how ipmitool ends its session in order.
        for console in self.consoles.values():
            console.device.stop()
        ipmi = self._services.ipmi
        if ipmi is not None and not await ipmi.stop():
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
        await self._end_programs([pid for pid in self.children.pids() if pid not in resets])
        for pid in resets:
            self._log.warning(f"Reset command (pid {pid}) is still running and is left to finish")

    async def _end_programs(self, programs: Sequence[int]) -> None:
        """See ``programs`` go, whose input has been closed."""
        left = list(programs)
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = await self.children.wait_all(left, CHILDREN_SECONDS)
            for pid in left:
                self.children.kill(pid, number)
        for pid in programs:
            # What a program has started goes with it (errata D3), also if the program itself went when it was asked.
            self.children.kill(pid, signal.SIGKILL)


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
