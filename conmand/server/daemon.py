"""The running daemon: everything that lives on the event loop, its start in order and its stop in steps."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import resource
import signal
import socket
import time
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Coroutine, Dict, List, Optional, Sequence

from conman import __version__
from conmand.config import specifiers
from conmand.config.errors import ExpansionTooLong
from conmand.config.model import Configuration, ConsoleSettings, Device, IpmiDevice
from conmand.config.native_scripts import serve_natively
from conmand.consoles.base import Services
from conmand.server.children import ChildReaper
from conmand.server.client import ClientContext
from conmand.server.clock import LogClock
from conmand.server.console_log import BacklogBudget, ConsoleLog
from conmand.server.daemonlog import DaemonLog, open_log
from conmand.server.hub import SharedConsole
from conmand.server.inotify import PathWatcher
from conmand.server.listener import Listener
from conmand.server.log_files import BATCH, LogFiles, stamp_at_intervals
from conmand.server.matching import Matcher
from conmand.server.pidfile import PidFile
from conmand.server.poller import BatchPoller
from conmand.server.process_setup import ServiceManager, release_signals
from conmand.server.reset import ResetCommands
from conmand.server.resolver import NameResolver

if TYPE_CHECKING:
    from conmand.consoles.ipmi_engine import SolEngine

CHILDREN_SECONDS = 2.0
"""At the end, for programs that saw their input close, and again for those that were sent SIGTERM."""

DAEMON_LOG_RETRY_SECONDS = 60.0

MAX_CLIENTS = 10_000
MIN_CLIENTS = 16
RESERVED_DESCRIPTORS = 64


@dataclass(frozen=True)
class RunOptions:
    """What the command line decides about the running daemon."""

    foreground: bool
    truncate_logs: bool


class Daemon:
    """One configuration being served. ``run`` returns when a signal has ended it and everything is closed."""

    def __init__(
        self,
        configuration: Configuration,
        options: RunOptions,
        *,
        listening: socket.socket,
        daemon_log: DaemonLog,
        pid_file: PidFile,
        service_manager: ServiceManager,
    ) -> None:
        self._configuration = configuration
        self._options = options
        self._listening = listening
        self._log = daemon_log
        self._pid_file = pid_file
        self._service_manager = service_manager

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._report_bug)
        self._stopping: asyncio.Future[int] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reconfiguring = asyncio.Lock()
        self._build()
        self._catch_signals()
        self._listener.start()
        self._service_manager.notify(f"READY=1\nMAINPID={os.getpid()}")
        self._own(self._start_consoles())
        self._own(self._retry_daemon_log())
        if self._configuration.server.timestamp_minutes and self._logs:
            self._own(stamp_at_intervals(self._logs, self._configuration.server.timestamp_minutes))
        signal_number = await self._stopping
        await self._stop(signal_number)

    # Start.

    def _build(self) -> None:
        self._configuration = serve_natively(self._configuration, self._log.error)
        server = self._configuration.server
        self._children = ChildReaper(self._loop, cwd=None if self._options.foreground else "/")
        self._children.start()
        self._resolver = NameResolver(self._loop)
        self._watcher = PathWatcher(self._loop, self._log.error)
        self._log_files = LogFiles(self._loop)
        self._poller = BatchPoller(self._loop)
        self._ipmi = self._start_ipmi_engine()
        services = Services(self._loop, self._poller, self._children, self._resolver, self._watcher, self._ipmi)
        clock, budget = LogClock(), BacklogBudget()
        self._consoles: Dict[str, SharedConsole] = {}
        self._logs: List[ConsoleLog] = []
        for settings in self._configuration.consoles:
            log = self._create_log(settings, clock, budget)
            if log is not None:
                self._logs.append(log)
            self._consoles[settings.name] = SharedConsole(settings, services, self._log, log)
        self._resets = ResetCommands(self._expand_reset if server.resetcmd else None, self._children, self._loop)
        self._matcher = Matcher(list(self._consoles), self._children)
        self._listener = Listener(
            self._listening,
            self._consoles,
            self._matcher,
            self._resolver,
            ClientContext(self._loop, self._log, self._resets, lambda client: None),
            keepalive=server.keepalive,
            tcpwrappers=server.tcpwrappers,
            max_clients=max_clients([settings.device for settings in self._configuration.consoles]),
        )

    def _start_ipmi_engine(self) -> Optional[SolEngine]:
        consoles = sum(isinstance(settings.device, IpmiDevice) for settings in self._configuration.consoles)
        if not consoles:
            return None
        from conmand.consoles.ipmi_engine import start_engine, threads_for

        threads = threads_for(consoles)
        keep_file_limit = self._configuration.server.nofile != 0
        engine = start_engine(self._loop, self._resolver, threads, keep_file_limit=keep_file_limit)
        if engine.problem:
            self._log.error(f"Unable to start IPMI SOL engine: {engine.problem}")
        else:
            self._log.info(
                f"IPMI SOL engine started with {threads} thread{'' if threads == 1 else 's'} "
                f"for {consoles} console{'' if consoles == 1 else 's'}"
            )
        return engine

    def _create_log(self, settings: ConsoleSettings, clock: LogClock, budget: BacklogBudget) -> Optional[ConsoleLog]:
        if settings.log is None:
            return None
        return ConsoleLog(
            settings.name,
            settings.log_options,
            partial(_log_path, settings),
            clock=clock,
            daemon_log=self._log,
            budget=budget,
            loop=self._loop,
            retry_open=self._log_files.retry,
        )

    async def _start_consoles(self) -> None:
        """Open every console, its log before it, in the order of their definition; clients are served meanwhile."""
        consoles = list(self._consoles.values())
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
        command = self._configuration.server.resetcmd
        assert command is not None, "asked for only when there is one"
        return _expand(command, console.device.settings)

    # Signals.

    def _catch_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._asked_to_stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._asked_to_reconfigure)
        for number in (signal.SIGQUIT, signal.SIGABRT):
            self._loop.add_signal_handler(number, self._terminate, number)
        release_signals()

    def _asked_to_stop(self, number: int) -> None:
        if not self._stopping.done():
            self._stopping.set_result(number)

    def _asked_to_reconfigure(self) -> None:
        if self._stopping.done():
            return  # a log must not be opened again behind the one who closes it
        self._log.notice(f"Performing reconfig on signal={int(signal.SIGHUP)}")
        self._own(self._reopen_logs())

    async def _reopen_logs(self) -> None:
        async with self._reconfiguring:
            await self._log_files.reopen(self._logs)
            await self._reopen_daemon_log()

    async def _reopen_daemon_log(self) -> None:
        pattern = self._configuration.server.logfile
        if pattern is None or self._options.foreground:
            return
        self._log.close_file()
        self._log.adopt(await self._loop.run_in_executor(None, open_log, daemon_log_path(pattern)))
        faulthandler.enable(self._log.fileno() or 2, all_threads=False)

    async def _retry_daemon_log(self) -> None:
        """The daemon's log may fail like any other; what it would have said waits (errata E19)."""
        while True:
            await asyncio.sleep(DAEMON_LOG_RETRY_SECONDS)
            if self._log.file_is_failing:
                async with self._reconfiguring:
                    await self._reopen_daemon_log()

    def _terminate(self, number: int) -> None:
        """Die of a signal that asks for a core, leaving no pid file behind (errata A6)."""
        where = f' (check "{os.getcwd()}" for core)' if resource.getrlimit(resource.RLIMIT_CORE)[0] else ""
        self._log.error(f"Terminating on signal={int(number)}{where}")
        self._pid_file.remove()
        os.umask(0o077)
        self._loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    # Stop.

    async def _stop(self, signal_number: int) -> None:
        # 1. Say so, and be findable no more.
        self._log.notice(f"Exiting on signal={int(signal_number)}")
        self._service_manager.notify("STOPPING=1")
        complaint = self._pid_file.remove()
        if complaint is not None:
            self._log.error(complaint)
        # 2. Nothing new: no consoles, no stamps, no clients.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.stop()
        # 3. Close the devices; programs see the end of their input, which is how ipmitool ends its session in order.
        for console in self._consoles.values():
            console.device.stop()
        if self._ipmi is not None and not await self._ipmi.stop():
            self._log.warning("Some BMCs did not confirm the end of their sessions, and will end them by themselves")
        # 4. Write what can be written.
        for log in self._logs:
            log.stop()
        self._log_files.close()
        # 5. Programs that did not go by themselves are told to, twice. Reset commands may finish.
        await self._end_children()
        # 6. Done.
        self._poller.close()
        self._watcher.close()
        self._resolver.close()
        self._log.notice(f"Stopping ConMan daemon {__version__} (pid {os.getpid()})")

    async def _end_children(self) -> None:
        resets = set(self._resets.pids())
        programs = [pid for pid in self._children.pids() if pid not in resets]
        left = programs
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = await self._children.wait_all(left, CHILDREN_SECONDS)
            for pid in left:
                self._children.kill(pid, number)
        for pid in programs:
            # What a program has started goes with it (errata D3), also if the program itself went when it was asked.
            self._children.kill(pid, signal.SIGKILL)
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
            self._report_bug(self._loop, {"message": "a task failed", "exception": task.exception()})

    def _report_bug(self, loop: asyncio.AbstractEventLoop, context: Dict[str, object]) -> None:
        """A mistake of ours reaches the daemon's log, whole; what it hit is lost, the rest goes on."""
        error = context.get("exception")
        self._log.error(f"Internal error: {context.get('message')}: {error!r}")
        if isinstance(error, BaseException):
            for line in "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines():
                self._log.error(line)


def max_clients(devices: Sequence[Device]) -> int:
    """How many clients may be connected, so that consoles and their logs always find descriptors."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS
    # A device and its log; an IPMI session is five descriptors.
    needed = sum(6 if isinstance(device, IpmiDevice) else 2 for device in devices)
    return max(MIN_CLIENTS, min(MAX_CLIENTS, soft - needed - RESERVED_DESCRIPTORS))


def daemon_log_path(pattern: str) -> str:
    """``server logfile`` expanded for now; one too long stays as it is, and opening it will say so."""
    try:
        return _expand(pattern, None)
    except ValueError:
        return pattern


def _expand(pattern: str, settings: Optional[ConsoleSettings]) -> str:
    """Raises ``ValueError`` if the result would exceed ConMan's limit."""
    now = time.time()
    try:
        return specifiers.expand(
            pattern,
            now=time.localtime(now),
            epoch_seconds=int(now),
            pid=os.getpid(),
            name=None if settings is None else settings.name,
            device=None if settings is None else specifiers.device_text(settings.device),
        )
    except ExpansionTooLong as error:
        raise ValueError(str(error)) from error


def _log_path(settings: ConsoleSettings) -> str:
    assert settings.log is not None, "only logged consoles have a path"
    try:
        return _expand(settings.log, settings)
    except ValueError as error:
        raise ValueError(f"Unable to open logfile for [{settings.name}]: filename exceeded buffer") from error
