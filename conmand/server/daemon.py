"""The running daemon: what lives on the event loop of the process that owns the port, and its life cycle."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import resource
import signal
from typing import List, Optional, Protocol, Sequence, Set

from conman import __version__
from conmand.config.changes import ConsoleChanges
from conmand.config.model import ConsoleSettings, IpmiDevice, ServerSettings
from conmand.config.settings import DaemonSettings
from conmand.errors import FatalError
from conmand.server.answers import Answers, Sessions
from conmand.server.bugs import report_bug
from conmand.server.children import ChildReaper
from conmand.server.control import ControlSocket, Outcome
from conmand.server.daemonlog import DaemonLog, open_log
from conmand.server.inotify import PathWatcher
from conmand.server.listener import Listener
from conmand.server.listening import ListeningSocket
from conmand.server.matching import Matcher
from conmand.server.pidfile import PidFile
from conmand.server.process_setup import ServiceManager, release_signals
from conmand.server.reload import Found, Refused, Source
from conmand.server.resolver import NameResolver
from conmand.server.site import Site, SiteOptions, expand
from conmand.server.tasks import OwnedTasks
from conmand.server.workers import plan

DAEMON_LOG_RETRY_SECONDS = 60.0

MAX_CLIENTS = 10_000
MIN_CLIENTS = 16
RESERVED_DESCRIPTORS = 64


class Serving(Protocol):
    """All consoles, in this process (``Site``) or in workers (``Front``)."""

    children: ChildReaper
    resolver: NameResolver

    @property
    def names(self) -> List[str]: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def shares(self) -> List[List[ConsoleSettings]]: ...

    def start(self) -> None: ...

    async def reopen_logs(self) -> None: ...

    async def apply(self, server: ServerSettings, changes: ConsoleChanges, settings: DaemonSettings) -> None: ...

    def daemon_log_changed(self) -> None: ...

    async def stop(self) -> None: ...


class Daemon:
    """One configuration being served. ``run`` returns when a signal has ended it and everything is closed."""

    def __init__(
        self,
        source: Source,
        options: SiteOptions,
        *,
        listening: Sequence[ListeningSocket],
        daemon_log: DaemonLog,
        pid_file: PidFile,
        service_manager: ServiceManager,
    ) -> None:
        self._source = source
        self._options = options
        self._listening = listening
        self._log = daemon_log
        self._pid_file = pid_file
        self._service_manager = service_manager

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda loop, context: report_bug(self._log, context))
        self._stopping: asyncio.Future[int] = self._loop.create_future()
        self._tasks = OwnedTasks(self._loop)
        self._reconfiguring = asyncio.Lock()
        self._next_reconfig: Optional[asyncio.Task[Outcome]] = None
        self._build()
        self._catch_signals()
        self._find_replaced_configuration()
        self._listener.start()
        self._control = ControlSocket(self._loop, self._asked_to_answer)
        complaint = self._control.start()
        if complaint is not None:
            self._log.debug(f"Unable to listen for reload requests: {complaint}")
        self._service_manager.notify(f"READY=1\nMAINPID={os.getpid()}")
        self._site.start()
        self._tasks.start(self._retry_daemon_log())
        self._tasks.start(self._service_manager.feed_watchdog())
        signal_number = await self._stopping
        await self._stop(signal_number)

    # Start.

    def _build(self) -> None:
        self._source.serve_natively(self._log.error)
        server, consoles = self._source.configuration.server, self._source.configuration.consoles
        self._site = self._serve(server, consoles)
        self._matcher = Matcher(self._site.names, self._site.children)
        self._listener = Listener(
            self._listening,
            Answers(self._matcher, self._site.sessions, self._log),
            self._site.sessions,
            self._site.resolver,
            self._log,
            self._loop,
            keepalive=server.keepalive,
            tcpwrappers=server.tcpwrappers,
            max_clients=max_clients(self._site.shares),
        )

    def _serve(self, server: ServerSettings, consoles: Sequence[ConsoleSettings]) -> Serving:
        workers = plan.count(self._options.settings.workers, len(consoles), len(os.sched_getaffinity(0)))
        if workers == 1:
            return Site(server, consoles, self._options, self._log, self._loop)
        from conmand.server.workers.front import Front  # one process needs nothing of this

        return Front(server, consoles, self._options, workers, self._log, self._loop)

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
        self._reconfigure_soon()

    async def _asked_to_answer(self) -> Outcome:
        """The same for somebody who wants to know what came of it."""
        if self._stopping.done():
            return Outcome(False, ("The daemon is stopping",))
        self._log.notice(f"Performing reconfig on signal={int(signal.SIGHUP)}")
        task = self._reconfigure_soon()
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            return Outcome(False, ("The daemon's log says why this failed",))
        return task.result()

    # Reload.

    def _reconfigure_soon(self) -> asyncio.Task[Outcome]:
        """One that has not begun yet will do for all who ask meanwhile."""
        if self._next_reconfig is None:
            self._next_reconfig = self._tasks.start(self._reconfigure())
        return self._next_reconfig

    async def _reconfigure(self) -> Outcome:
        """First the logs, as ever: whoever has rotated them may be compressing the old ones already."""
        async with self._reconfiguring:
            self._next_reconfig = None
            self._service_manager.reloading()
            await self._site.reopen_logs()
            await self._reopen_daemon_log()
            await self._listener.renew()
            outcome = await self._reload()
            count = len(self._source.configuration.consoles)
            consoles = f"{count} console{'' if count == 1 else 's'}"
            self._service_manager.reloaded(consoles if outcome.is_done else f"{consoles}; the last reload was refused")
            return outcome

    async def _reload(self) -> Outcome:
        try:
            found = await self._loop.run_in_executor(None, self._source.read)
        except Refused as refusal:
            for level, text in refusal.lines:
                self._log.write(level, text)
            return Outcome(False, tuple(text for _level, text in refusal.lines))
        for level, text in found.remarks:
            self._log.write(level, text)
        await self._apply(found)
        return Outcome(True, (*(text for _level, text in found.remarks), *found.changes.lines))

    async def _apply(self, found: Found) -> None:
        before, server = self._source.configuration.server, found.configuration.server
        self._source.accept(found)
        if not found.changes:
            return
        self._log.level = server.loglevel
        if before.syslog != server.syslog and not self._options.foreground:
            self._log.use_syslog(server.syslog)
        await self._site.apply(server, found.changes.consoles, found.settings)
        self._matcher.update([settings.name for settings in found.configuration.consoles])
        self._listener.configure(
            keepalive=server.keepalive,
            tcpwrappers=server.tcpwrappers,
            max_clients=max_clients(self._site.shares),
        )
        if before.logfile != server.logfile:
            await self._reopen_daemon_log()
        if found.changes.summary:
            self._log.notice(f'Configuration "{found.configuration.path}" is reloaded: {found.changes.summary}')
        for warning in found.changes.warnings:
            self._log.warning(warning)

    def _find_replaced_configuration(self) -> None:
        """Have the lock on whatever file is at the configuration's path: it is how -k, -q and -r find us."""
        self._watcher = PathWatcher(self._loop, self._log.debug)
        self._watched: Set[str] = set()
        self._watch(self._source.file.places())
        if not self._source.file.is_in_place():  # it was replaced while we started
            self._configuration_replaced()

    def _watch(self, places: Set[str]) -> None:
        for place in self._watched - places:
            self._watcher.unwatch(place, self._configuration_replaced)
        for place in places - self._watched:
            self._watcher.watch(place, self._configuration_replaced)
        self._watched = places

    def _configuration_replaced(self) -> None:
        self._tasks.start(self._follow_configuration())

    async def _follow_configuration(self) -> None:
        try:
            warning = await self._loop.run_in_executor(None, self._source.file.follow)
        except FatalError as error:
            warning = f"{error}; only a pid file leads to this daemon from there"
        if warning is not None:
            self._log.warning(warning)
        places = await self._loop.run_in_executor(None, self._source.file.places)  # a link may lead elsewhere now
        if places != self._watched and not self._stopping.done():
            self._watch(places)
            self._configuration_replaced()  # once more, if that has happened before they were watched

    # The daemon's log.

    async def _reopen_daemon_log(self) -> None:
        if self._options.foreground:
            return
        pattern = self._source.configuration.server.logfile
        if pattern is None:
            self._log.drop_file()
        else:
            self._log.close_file()
            self._log.adopt(await self._loop.run_in_executor(None, open_log, daemon_log_path(pattern)))
        faulthandler.enable(self._log.fileno() or 2, all_threads=False)
        self._site.daemon_log_changed()

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
        # 2. No more clients, then no more consoles.
        self._watcher.close()
        await self._control.stop()
        await self._tasks.cancel()
        await self._listener.stop()
        await self._site.stop()
        self._log.notice(f"Stopping ConMan daemon {__version__} (pid {os.getpid()})")

def max_clients(shares: Sequence[Sequence[ConsoleSettings]]) -> int:
    """How many clients may be connected, so that consoles and their logs always find descriptors.

    ``shares`` are the consoles of each process; all clients may be those of one.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS
    needed = max(sum(_descriptors(settings) for settings in share) for share in shares)
    return max(MIN_CLIENTS, min(MAX_CLIENTS, soft - needed - RESERVED_DESCRIPTORS))


def _descriptors(settings: ConsoleSettings) -> int:
    """A device and its log; an IPMI session is five descriptors."""
    return 6 if isinstance(settings.device, IpmiDevice) else 2


def daemon_log_path(pattern: str) -> str:
    """``server logfile`` expanded for now; one too long stays as it is, and opening it will say so."""
    try:
        return expand(pattern, None)
    except ValueError:
        return pattern
