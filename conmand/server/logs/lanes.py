"""Threads for what may hang: opening, renaming and reopening logs, a lane of its own for each file system.

A call into the file system of a dead server does not return until the server does, and nothing can be done about the
thread that made it. So one is given up: another goes on with what waits behind it in the same lane, and other lanes do
not notice. Where two have hung in one directory, the rest of that directory waits for one of them to come back; where
eight have hung in one file system, all of it. The bounds keep a dead server from costing a thread for each log.

Everything here runs on the event loop but ``_work``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections import Counter, deque
from typing import Any, Callable, Deque, Dict, List, Optional, Set, TypeVar

from conmand.server.logs.mounts import mount_of, mount_points

HUNG_SECONDS = 10.0
"""A thread that finishes nothing for this long hangs."""

MAX_HUNG_IN_DIRECTORY = 2
MAX_HUNG_IN_LANE = 8

MOUNTS_SECONDS = 5.0
"""How long the list of mount points is believed."""

T = TypeVar("T")


class NoThread(OSError):
    """The system has no thread left for this process."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))


class _Job:
    __slots__ = ("directory", "work", "done", "failed", "unwanted")

    def __init__(
        self,
        directory: str,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        unwanted: Optional[Callable[[Any], None]],
    ) -> None:
        self.directory = directory
        self.work = work
        self.done = done
        self.failed = failed
        self.unwanted = unwanted


class _Thread:
    __slots__ = ("job", "finished", "hung_in", "timer")

    def __init__(self) -> None:
        self.job: Optional[_Job] = None
        self.finished = 0
        self.hung_in: Optional[str] = None
        self.timer: Optional[asyncio.TimerHandle] = None


class _Lane:
    __slots__ = ("waiting", "set_aside", "threads", "hung")

    def __init__(self) -> None:
        self.waiting: Deque[_Job] = deque()  # the threads take from its front
        self.set_aside: List[_Job] = []  # in directories that hang
        self.threads: Set[_Thread] = set()
        self.hung: Counter[str] = Counter()  # threads in each directory

    @property
    def hung_threads(self) -> int:
        return sum(self.hung.values())


class Lanes:
    """Runs jobs in threads, those of one lane in the order they came while nothing hangs."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lane_of: Optional[Callable[[str], str]] = None,
        *,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        self._loop = loop
        self._hung_seconds = hung_seconds
        self.lane_of = lane_of or _ByMountPoint(loop)
        self._lanes: Dict[str, _Lane] = {}
        self._fresh: Set[_Lane] = set()  # have got work just now
        self._closed = False
        self._guard = threading.Lock()  # between the close and the result of a thread

    def submit(
        self,
        path: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
        unwanted: Optional[Callable[[T], None]] = None,
    ) -> None:
        """Run ``work`` in a thread, then ``done`` with its result on the loop.

        ``failed`` is called instead if it raises, or if there is no thread. ``path`` is the file concerned. A result
        that comes after the close is given to ``unwanted``, in the thread: the loop may have turned for the last time,
        and what the result holds would stay open.
        """
        name = self.lane_of(path)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        job = _Job(os.path.dirname(path), work, done, failed, unwanted)
        if lane.hung[job.directory] >= MAX_HUNG_IN_DIRECTORY:
            lane.set_aside.append(job)
        else:
            lane.waiting.append(job)
        if not self._fresh:
            # At the loop's next turn: a thread that began at once would contend with us for what else comes now.
            self._loop.call_soon(self._employ_fresh)
        self._fresh.add(lane)

    def hangs(self, path: str) -> bool:
        """Whether something hangs in the lane of ``path``."""
        lane = self._lanes.get(self.lane_of(path))
        return lane is not None and lane.hung_threads > 0

    def close(self) -> None:
        """Begin nothing more; what hangs is left behind."""
        with self._guard:
            self._closed = True
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.set_aside.clear()
            for thread in lane.threads:
                if thread.timer is not None:
                    thread.timer.cancel()

    def _employ_fresh(self) -> None:
        fresh, self._fresh = self._fresh, set()
        for lane in fresh:
            self._employ(lane)

    def _employ(self, lane: _Lane) -> None:
        """See that a thread works if there is work, and if not too many hang."""
        hung = lane.hung_threads
        if self._closed or not lane.waiting or len(lane.threads) > hung or hung >= MAX_HUNG_IN_LANE:
            return
        thread = _Thread()
        try:
            # A daemon thread: the interpreter does not wait at its end for one that hangs.
            threading.Thread(target=self._work, args=(lane, thread), name="logs", daemon=True).start()
        except RuntimeError:
            self._refuse_all(lane)
            return
        lane.threads.add(thread)
        self._watch(lane, thread)

    def _refuse_all(self, lane: _Lane) -> None:
        refused: List[_Job] = []
        with contextlib.suppress(IndexError):
            while True:
                refused.append(lane.waiting.popleft())
        for job in refused:
            job.failed(NoThread())

    def _work(self, lane: _Lane, thread: _Thread) -> None:
        """The thread's whole life."""
        # The loop may have ended while this thread hung.
        with contextlib.suppress(RuntimeError):
            while True:
                try:
                    job = lane.waiting.popleft()
                except IndexError:
                    self._loop.call_soon_threadsafe(self._left, lane, thread)
                    return
                thread.job = job
                try:
                    then, unwanted, outcome = job.done, job.unwanted, job.work()
                except Exception as mistake:
                    then, unwanted, outcome = job.failed, None, mistake
                thread.job = None
                thread.finished += 1
                with self._guard:
                    if self._closed and unwanted is not None:
                        unwanted(outcome)
                    else:
                        self._loop.call_soon_threadsafe(self._finished, lane, thread, then, outcome)

    def _finished(self, lane: _Lane, thread: _Thread, then: Callable[[Any], None], outcome: Any) -> None:
        if thread.hung_in is not None:
            self._came_back(lane, thread)
        then(outcome)

    def _left(self, lane: _Lane, thread: _Thread) -> None:
        if thread.hung_in is not None:
            self._came_back(lane, thread)
        lane.threads.discard(thread)
        if thread.timer is not None:
            thread.timer.cancel()
        self._employ(lane)  # what came when the thread had already decided to go

    # Hanging.

    def _watch(self, lane: _Lane, thread: _Thread) -> None:
        if not self._closed:
            thread.timer = self._loop.call_later(self._hung_seconds, self._look, lane, thread, thread.finished)

    def _look(self, lane: _Lane, thread: _Thread, finished: int) -> None:
        if thread not in lane.threads:
            return
        job = thread.job
        if thread.finished != finished or job is None:
            self._watch(lane, thread)
            return
        thread.hung_in = job.directory
        lane.hung[job.directory] += 1
        if lane.hung[job.directory] >= MAX_HUNG_IN_DIRECTORY:
            self._set_aside(lane, job.directory)
        self._employ(lane)

    def _set_aside(self, lane: _Lane, directory: str) -> None:
        others: List[_Job] = []
        with contextlib.suppress(IndexError):
            while True:
                job = lane.waiting.popleft()
                (lane.set_aside if job.directory == directory else others).append(job)
        lane.waiting.extend(others)

    def _came_back(self, lane: _Lane, thread: _Thread) -> None:
        assert thread.hung_in is not None
        directory, thread.hung_in = thread.hung_in, None
        lane.hung[directory] -= 1
        if not lane.hung[directory]:
            del lane.hung[directory]
        lane.waiting.extend(job for job in lane.set_aside if job.directory == directory)
        lane.set_aside = [job for job in lane.set_aside if job.directory != directory]
        self._watch(lane, thread)
        self._employ(lane)


class _ByMountPoint:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._points = mount_points()
        self._read_at = loop.time()
        self._known: Dict[str, str] = {}  # by directory

    def __call__(self, path: str) -> str:
        if not path.startswith("/"):
            return "."
        if self._loop.time() - self._read_at >= MOUNTS_SECONDS:
            self._points = mount_points()
            self._read_at = self._loop.time()
            self._known.clear()
        directory = path.rpartition("/")[0]
        mount = self._known.get(directory)
        if mount is None:
            mount = self._known[directory] = mount_of(directory, self._points)
        return mount
