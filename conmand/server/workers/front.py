"""The front: what a daemon with workers has in place of a site. It owns no console, only the processes that do."""

from __future__ import annotations

import asyncio
import math
import signal
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any, Dict, List, Sequence, Set

from conmand.config.changes import ConsoleChanges
from conmand.config.model import ConsoleSettings, ServerSettings
from conmand.config.settings import DaemonSettings
from conmand.server.children import ChildReaper
from conmand.server.daemonlog import DaemonLog
from conmand.server.resolver import NameResolver
from conmand.server.site import CHILDREN_SECONDS, SiteOptions, expand
from conmand.server.tasks import OwnedTasks
from conmand.server.workers import messages as m
from conmand.server.workers import orphans, plan
from conmand.server.workers.process import WorkerProcess
from conmand.server.workers.sessions import RemoteSessions

STOP_SECONDS = 60.0
"""For all workers to end. A site needs seconds if its programs do not go by themselves; one that hangs misses pings."""

PROGRAMS_SECONDS = 30.0
"""For the programs of consoles that have gone, which are killed after four. The change goes on without a worker that
does not answer: one that hangs is replaced, and begins with all of it."""

ORPHAN_ROUNDS = 8
"""What an orphan has started in a session of its own becomes ours when it ends, and so on; nobody nests deeper."""


class Front:
    """Made and used on the running loop, as ``Site`` is. ``start`` once, ``stop`` once."""

    def __init__(
        self,
        server: ServerSettings,
        consoles: Sequence[ConsoleSettings],
        options: SiteOptions,
        workers: int,
        daemon_log: DaemonLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._options = options
        self._log = daemon_log
        self._loop = loop
        self._tasks = OwnedTasks(self._loop)
        self._stopping = False
        self._changes = 0  # so far, of several workers at a time
        self._spared: Set[int] = set()  # reset commands that have outlived their worker
        self.children = ChildReaper(loop, cwd=None if options.foreground else "/")
        self.children.start()
        self.resolver = NameResolver(loop)
        orphans.adopt_orphans()
        self._worker_of: Dict[str, WorkerProcess] = {}
        self._workers: List[WorkerProcess] = []
        self._create_workers(server, consoles, options, workers)
        self.sessions = RemoteSessions(self._worker_of, daemon_log, loop, can_reset=server.resetcmd is not None)

    def _create_workers(
        self, server: ServerSettings, consoles: Sequence[ConsoleSettings], options: SiteOptions, workers: int
    ) -> None:
        by_name = {settings.name: settings for settings in consoles}
        assigned = plan.assign(list(by_name), workers, together=lambda name: _log_file(by_name[name], options.pid))
        for number, names in enumerate(plan.shares(assigned, workers), 1):
            worker = WorkerProcess(
                number,
                server,
                [by_name[name] for name in names],
                share_of_limits(options, len(names), len(by_name)),
                owner=self,
                children=self.children,
                daemon_log=self._log,
                loop=self._loop,
            )
            self._workers.append(worker)
        self._worker_of.update((name, self._workers[number]) for name, number in assigned.items())

    @property
    def names(self) -> List[str]:
        """Of all consoles, in the order of their definition."""
        return list(self._worker_of)

    @property
    def shares(self) -> List[List[ConsoleSettings]]:
        """The consoles of each worker."""
        return [list(worker.consoles.values()) for worker in self._workers]

    def start(self) -> None:
        """Start those workers that have something to do."""
        for worker in self._workers:
            if worker.consoles:
                worker.start()

    async def reopen_logs(self) -> None:
        """Let every worker close and open its logs."""
        await asyncio.gather(*(worker.reopen_logs() for worker in self._workers))

    async def apply(self, server: ServerSettings, changes: ConsoleChanges, settings: DaemonSettings) -> None:
        """Let every worker take its part of the changes. New consoles go where the fewest are; no other one moves."""
        self._options = replace(self._options, settings=settings)
        owners = self._owners_after(changes)
        for name in changes.removed:
            del self._worker_of[name]
        self._worker_of.update((one.name, owners[one.name]) for one in changes.added)
        self.sessions.can_reset = server.resetcmd is not None
        counts = Counter(self._worker_of.values())
        parts = [changes.only(partial(_is, worker, owners)) for worker in self._workers]
        number = 0
        if sum(map(bool, parts)) > 1:
            self._changes += 1
            number = self._changes
        await asyncio.gather(
            *(
                worker.apply(
                    server, part, share_of_limits(self._options, counts[worker], len(self._worker_of)), number
                )
                for worker, part in zip(self._workers, parts)
            )
        )
        if number:
            for worker in self._workers:
                worker.send(m.AllClosed(number))
            self._tasks.start(self._let_programs_start(number))
        else:
            self._start_idle()

    async def _let_programs_start(self, number: int) -> None:
        """When those have ended that may hold their devices, in whatever worker."""
        ending = [self._tasks.start(worker.programs_ended(number)) for worker in self._workers]
        _done, late = await asyncio.wait(ending, timeout=PROGRAMS_SECONDS)
        if late:
            self._log.error(f"{len(late)} of {len(ending)} workers do not say that their old programs have ended")
        for worker in self._workers:
            worker.send(m.AllEnded(number))
        self._start_idle()

    def _start_idle(self) -> None:
        for worker in self._workers:
            worker.start_if_needed()

    def _owners_after(self, changes: ConsoleChanges) -> Dict[str, WorkerProcess]:
        """The worker of each console, of those that are removed too."""
        owners = dict(self._worker_of)
        if changes.added:
            after = {name: worker.settings(name) for name, worker in owners.items()}
            before = {name: worker.number - 1 for name, worker in owners.items()}
            # A console that has only got another name stays where it is: its program is to end before the next begins.
            homes = {after.pop(name).device: before.pop(name) for name in changes.removed}
            before.update((one.name, homes[one.device]) for one in changes.added if one.device in homes)
            after.update((change.name, change.after) for change in changes.changed)
            after.update((one.name, one) for one in changes.added)
            assigned = plan.assign(
                list(after),
                len(self._workers),
                together=lambda name: _log_file(after[name], self._options.pid),
                before=before,
            )
            owners.update((one.name, self._workers[assigned[one.name]]) for one in changes.added)
        return owners

    def daemon_log_changed(self) -> None:
        """The daemon's log is another file now; a worker's interpreter has its last words written there."""
        fd = self._log.fileno()
        for worker in self._workers:
            if fd is not None:
                worker.send(m.NewStderr(), fd)

    # What workers say and do.

    def said(self, worker: WorkerProcess, message: Any) -> None:
        self.sessions.said(worker, message)

    def gone(self, worker: WorkerProcess) -> None:
        if not self._stopping:
            self.sessions.worker_gone(worker)
            self._tasks.start(self._replace(worker))

    async def _replace(self, worker: WorkerProcess) -> None:
        """Start ``worker`` again, once nothing that its predecessor started holds a device any more."""
        self._spared |= worker.resets
        worker.resets = set()
        await self._end_orphans()
        worker.restart()

    async def _end_orphans(self) -> None:
        """End the programs that a dead worker has left; reset commands may finish."""
        for _round in range(ORPHAN_ROUNDS):
            left = set(orphans.orphans(self.children.pids()))
            self._spared &= left
            found = sorted(left - self._spared)
            if not found:
                return
            for pid in found:
                self.children.adopt(pid)
            await self._end(found)
        # What is left has become somebody's whom we know, or cannot be ended.

    async def _end(self, pids: Sequence[int]) -> None:
        left = list(pids)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in left:
                self.children.kill(pid, number)
            left = await self.children.wait_all(left, CHILDREN_SECONDS)

    # Stop.

    async def stop(self) -> None:
        """Let all workers stop, and end those that do not. Whoever accepts clients has stopped before."""
        # 1. No more replacements.
        self._stopping = True
        await self._tasks.cancel()
        self.sessions.stop()
        # 2. The workers, all at the same time.
        for worker in self._workers:
            worker.ask_to_stop()
        deadline = self._loop.time() + STOP_SECONDS
        await asyncio.gather(*(worker.stopped(deadline) for worker in self._workers))
        self.sessions.close()
        # 3. What a worker that was killed has left, and programs of our own.
        for worker in self._workers:
            self._spared |= worker.resets
        await self._end_orphans()
        await self._end(self.children.pids())
        self.resolver.close()


def share_of_limits(options: SiteOptions, consoles: int, of: int) -> SiteOptions:
    """What is meant for all of the daemon, for a worker with ``consoles`` of them."""
    scripts, rotation = options.settings.scripts, options.settings.rotation
    part = consoles / of if of else 1.0
    quota = rotation.quota_bytes
    settings = replace(
        options.settings,
        scripts=replace(scripts, logins_at_once=max(math.ceil(scripts.logins_at_once * part), 1)),
        rotation=replace(rotation, quota_bytes=None if quota is None else math.ceil(quota * part)),
    )
    return replace(options, settings=settings, part=part)


def _is(worker: WorkerProcess, owners: Dict[str, WorkerProcess], name: str) -> bool:
    return owners[name] is worker


def _log_file(settings: ConsoleSettings, pid: int) -> object:
    """Consoles with the same log must be in one process; others share nothing."""
    if settings.log is None:
        return settings.name, None
    try:
        return expand(settings.log, settings, pid)
    except ValueError:
        return settings.name, None
