"""Threads for what may hang: lanes, and what becomes of those that hang."""

from __future__ import annotations

import asyncio
import threading
from typing import Callable, Dict, List

import pytest

from conmand.server.logs.lanes import HUNG_SECONDS, MAX_HUNG_IN_DIRECTORY, MAX_HUNG_IN_LANE, Lanes
from tests.fakes.loops import ManualLoop, run


class Work:
    """Jobs that are named by their path, hang if they are told to, and are written down when done."""

    def __init__(self, loop: ManualLoop) -> None:
        self.loop = loop
        self.lanes = Lanes(loop, lambda path: path.split("/")[1])
        self.done: List[str] = []
        self.failed: Dict[str, str] = {}
        self.begun: List[str] = []
        self.gates: Dict[str, threading.Event] = {}
        self._changed = asyncio.Event()

    def submit(self, *paths: str, hang: bool = False) -> None:
        for path in paths:
            if hang:
                self.gates[path] = threading.Event()
            self.lanes.submit(path, self._work(path), self._done, lambda error, path=path: self._failed(path, error))  # type: ignore[misc]

    def _work(self, path: str) -> Callable[[], str]:
        def work() -> str:
            self.loop.call_soon_threadsafe(self._note, self.begun, path)
            if path in self.gates:
                self.gates[path].wait()
            return path

        return work

    def _note(self, where: List[str], path: str) -> None:
        where.append(path)
        self._changed.set()

    def _done(self, path: str) -> None:
        self._note(self.done, path)

    def _failed(self, path: str, error: BaseException) -> None:
        self.failed[path] = str(error)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def release_all(self) -> None:
        for gate in self.gates.values():
            gate.set()


def test_jobs_of_a_lane_are_done_in_order() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        paths = [f"/a/d/{number}" for number in range(100)]
        work.submit(*paths)
        await work.until(lambda: len(work.done) == 100)
        assert work.done == paths
        work.submit("/a/d/again")
        await work.until(lambda: work.done[-1] == "/a/d/again")
        work.lanes.close()

    run(test)


def test_what_hangs_in_one_lane_is_no_matter_to_another() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        work.submit("/a/d/1", hang=True)
        work.submit("/a/d/2")
        work.submit("/b/d/1", "/b/d/2")
        await work.until(lambda: len(work.done) == 2)
        assert work.done == ["/b/d/1", "/b/d/2"]
        assert not work.lanes.hangs("/a/d/9")  # nobody knows yet
        await loop.advance(HUNG_SECONDS)
        assert work.lanes.hangs("/a/d/9") and not work.lanes.hangs("/b/d/9")
        await work.until(lambda: "/a/d/2" in work.done)
        work.release_all()
        await work.until(lambda: "/a/d/1" in work.done)
        assert not work.lanes.hangs("/a/d/9")
        work.lanes.close()

    run(test)


def test_a_directory_in_which_two_hang_waits_for_one_of_them_and_others_do_not() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        work.submit(*[f"/a/dead/{number}" for number in range(MAX_HUNG_IN_DIRECTORY)], hang=True)
        work.submit("/a/dead/rest", "/a/well/1")
        for _ in range(MAX_HUNG_IN_DIRECTORY):
            await loop.advance(HUNG_SECONDS)
        await work.until(lambda: bool(work.done))
        work.submit("/a/dead/late", "/a/well/2")
        await work.until(lambda: "/a/well/2" in work.done)
        assert work.done == ["/a/well/1", "/a/well/2"]
        work.gates["/a/dead/0"].set()
        await work.until(lambda: len(work.done) == 5)
        assert work.done[2:] == ["/a/dead/0", "/a/dead/rest", "/a/dead/late"]
        work.release_all()
        await work.until(lambda: len(work.done) == 6)
        work.lanes.close()

    run(test)


def test_a_dead_file_system_costs_a_few_threads_and_comes_back() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        paths = [f"/a/{number}/log" for number in range(3 * MAX_HUNG_IN_LANE)]
        work.submit(*paths, hang=True)
        for count in range(1, MAX_HUNG_IN_LANE + 1):
            await work.until(lambda count=count: len(work.begun) == count)  # type: ignore[misc]
            await loop.advance(HUNG_SECONDS)
        await loop.advance(100 * HUNG_SECONDS)
        assert len(work.begun) == MAX_HUNG_IN_LANE
        work.release_all()
        await work.until(lambda: len(work.done) == len(paths))
        assert sorted(work.done) == sorted(paths)
        work.lanes.close()

    run(test)


def test_work_that_raises_is_reported_and_the_rest_goes_on() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)

        def fail() -> None:
            raise ValueError("bad")

        work.lanes.submit("/a/d/1", fail, lambda _none: None, lambda error: work._failed("/a/d/1", error))
        work.submit("/a/d/2")
        await work.until(lambda: bool(work.done))
        assert work.failed == {"/a/d/1": "bad"}
        work.lanes.close()

    run(test)


def test_without_threads_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            work.submit("/a/d/1")
            await work.until(lambda: bool(work.failed))
        assert work.failed == {"/a/d/1": "[Errno 11] Resource temporarily unavailable"}
        work.submit("/a/d/2")
        await work.until(lambda: work.done == ["/a/d/2"])
        work.lanes.close()

    run(test)


def test_after_the_close_nothing_begins() -> None:
    async def test(loop: ManualLoop) -> None:
        work = Work(loop)
        work.submit("/a/d/1", hang=True)
        work.submit("/a/d/2")
        await work.until(lambda: bool(work.begun))
        work.lanes.close()
        work.submit("/b/d/1")
        await loop.advance(100)
        assert work.begun == ["/a/d/1"]
        work.release_all()
        await work.until(lambda: work.done == ["/a/d/1"])

    run(test)


def test_a_result_that_comes_after_the_close_is_given_back_in_its_thread() -> None:
    """The loop need not turn again: when the test's has ended, the result is still wanted by nobody."""
    gate, given_back = threading.Event(), threading.Event()

    async def test(loop: ManualLoop) -> None:
        lanes, begun = Lanes(loop, lambda path: path), asyncio.Event()

        def work() -> str:
            loop.call_soon_threadsafe(begun.set)
            gate.wait()
            return "result"

        def taken(_result: object) -> None:
            raise AssertionError("nobody is there to take it")

        lanes.submit("/a/d/1", work, taken, taken, lambda result: given_back.set() if result == "result" else None)
        await begun.wait()
        lanes.close()

    run(test)
    gate.set()
    assert given_back.wait(20)
