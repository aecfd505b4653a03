"""Files that come into being, under real directories that come and go."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from conmand.server import inotify
from conmand.server.inotify import PathWatcher
from tests.fakes.loops import ManualLoop, run


class Watch:
    """A path's watcher; ``times`` counts, ``next`` waits for one more."""

    def __init__(self) -> None:
        self.times = 0
        self._waiting: List[asyncio.Future[None]] = []

    def appeared(self) -> None:
        self.times += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def next(self, act: Callable[[], object]) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        act()
        await future


def watcher(loop: ManualLoop) -> PathWatcher:
    def fail(text: str) -> None:
        raise AssertionError(text)

    return PathWatcher(loop, fail)


def make(path: Path) -> Callable[[], object]:
    return lambda: path.write_text("")


def test_a_file_that_is_created_or_moved_in_is_seen(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, watch = watcher(loop), Watch()
        paths.watch(str(tmp_path / "s"), watch.appeared)
        await watch.next(make(tmp_path / "s"))
        (tmp_path / "s").unlink()
        (tmp_path / "t").write_text("")
        await watch.next(lambda: (tmp_path / "t").rename(tmp_path / "s"))
        assert watch.times == 2
        paths.close()

    run(test)


def test_names_are_told_apart_and_watches_end(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, first, second, last = watcher(loop), Watch(), Watch(), Watch()
        paths.watch(str(tmp_path / "1"), first.appeared)
        paths.watch(str(tmp_path / "2"), second.appeared)
        paths.watch(str(tmp_path / "3"), last.appeared)
        paths.unwatch(str(tmp_path / "2"), second.appeared)
        paths.unwatch(str(tmp_path / "2"), second.appeared)
        for name in ("1", "2"):
            (tmp_path / name).write_text("")
        await last.next(make(tmp_path / "3"))
        assert (first.times, second.times) == (1, 0)
        paths.close()

    run(test)


def test_a_path_may_have_two_watchers_and_any_bytes(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, first, second = watcher(loop), Watch(), Watch()
        name = os.fsencode(tmp_path) + b"/\xe9\xc3\xa9"
        for watch in (first, second):
            paths.watch(name.decode("utf-8", "surrogateescape"), watch.appeared)
        await second.next(lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY)))
        assert (first.times, second.times) == (1, 1)
        paths.close()

    run(test)


@pytest.mark.parametrize("step_by_step", [True, False])
def test_directories_that_are_missing_are_waited_for(tmp_path: Path, step_by_step: bool) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, watch, marker = watcher(loop), Watch(), Watch()
        path = tmp_path / "a" / "b" / "s"
        paths.watch(str(path), watch.appeared)
        paths.watch(str(tmp_path / "marker"), marker.appeared)
        for directory in (tmp_path / "a", tmp_path / "a" / "b"):
            directory.mkdir()
            if step_by_step:
                await marker.next(lambda: (tmp_path / "x").touch() or (tmp_path / "x").rename(tmp_path / "marker"))
        await watch.next(make(path))
        paths.close()

    run(test)


def test_a_file_that_comes_with_its_directory_is_seen(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, watch = watcher(loop), Watch()
        paths.watch(str(tmp_path / "a" / "s"), watch.appeared)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "s").write_text("")
        await watch.next(lambda: (tmp_path / "new").rename(tmp_path / "a"))
        paths.close()

    run(test)


def test_a_directory_that_is_removed_and_made_again_is_watched_again(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, watch = watcher(loop), Watch()
        path = tmp_path / "run" / "s"
        path.parent.mkdir()
        paths.watch(str(path), watch.appeared)
        for _ in range(3):
            path.parent.rmdir()
            path.parent.mkdir()
            await watch.next(make(path))
            path.unlink()
        path.parent.rename(tmp_path / "old")
        path.parent.mkdir()
        await watch.next(make(path))
        paths.close()

    run(test)


def test_after_an_overflow_everything_that_is_there_is_reported_and_directories_are_followed(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths, there, missing, deep = watcher(loop), Watch(), Watch(), Watch()
        paths.watch(str(tmp_path / "there"), there.appeared)
        paths.watch(str(tmp_path / "missing"), missing.appeared)
        paths.watch(str(tmp_path / "a" / "deep"), deep.appeared)
        fd = paths._fd
        assert fd is not None
        (tmp_path / "there").write_text("")
        (tmp_path / "a").mkdir()
        os.read(fd, 65536)  # lost
        paths._happened(-1, inotify.IN_Q_OVERFLOW, "")
        assert (there.times, missing.times) == (1, 0)
        await deep.next(make(tmp_path / "a" / "deep"))
        paths.close()

    run(test)


def test_nothing_is_opened_before_the_first_watch_and_nothing_left_open(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths = watcher(loop)
        assert paths._fd is None
        paths.close()
        watch = Watch()
        paths.watch(str(tmp_path / "s"), watch.appeared)
        paths.close()
        paths.close()
        paths.unwatch(str(tmp_path / "s"), watch.appeared)

    run(test)


def test_without_inotify_it_is_said_once_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        said: List[str] = []
        paths = PathWatcher(loop, said.append)
        monkeypatch.setattr(paths, "_libc", FakeLibc())
        for name in ("1", "2"):
            paths.watch(str(tmp_path / name), Watch().appeared)
        assert len(said) == 1 and said[0].startswith("unable to initialize inotify: ")
        paths.close()

    run(test)


class FakeLibc:
    def inotify_init1(self, _flags: int) -> int:
        return -1


def test_a_failing_read_is_said_and_ends_the_watching_for_good(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        said: List[str] = []
        paths, watch = PathWatcher(loop, said.append), Watch()
        paths.watch(str(tmp_path / "s"), watch.appeared)
        fd = paths._fd
        assert fd is not None
        directory = os.open(tmp_path, os.O_RDONLY)
        os.dup2(directory, fd)  # reading it fails
        os.close(directory)
        paths._on_readable()
        assert said == ["unable to read inotify fd: Is a directory"]
        paths.unwatch(str(tmp_path / "s"), watch.appeared)
        paths.watch(str(tmp_path / "t"), watch.appeared)
        paths.close()

    run(test)


def test_many_paths_in_one_directory_cost_one_watch(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        paths = watcher(loop)
        watches: Dict[int, Watch] = {number: Watch() for number in range(100)}
        for number, watch in watches.items():
            paths.watch(str(tmp_path / str(number)), watch.appeared)
        assert len(paths._directories) == 1
        for number, watch in watches.items():
            paths.unwatch(str(tmp_path / str(number)), watch.appeared)
        assert paths._directories == {}
        paths.close()

    run(test)
