"""Starting, signalling and reaping real programs."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Awaitable, Callable, List

import pytest

from conmand.server.children import ChildReaper
from tests.fakes.loops import ManualLoop, run


def with_reaper(test: Callable[[ManualLoop, ChildReaper], Awaitable[None]], **options: Any) -> None:
    async def whole(loop: ManualLoop) -> None:
        children = ChildReaper(loop, **options)
        children.start()
        try:
            await test(loop, children)
        finally:
            for pid in children.pids():
                children.kill(pid, signal.SIGKILL)
            loop.remove_signal_handler(signal.SIGCHLD)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)

    run(whole)


def spawn(children: ChildReaper, *argv: str, stdout: int = -3, **options: Any) -> int:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        return children.spawn(argv, stdin=null, stdout=null if stdout < 0 else stdout, stderr=null, **options)
    finally:
        os.close(null)


@pytest.mark.parametrize("command, code", [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -15)])
def test_the_end_of_a_child_is_told_with_its_code(command: str, code: int) -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        ended = loop.create_future()
        pid = spawn(children, "/bin/sh", "-c", command, on_exit=ended.set_result)
        assert children.is_running(pid) and children.pids() == [pid]
        assert await ended == code
        assert not children.is_running(pid)

    with_reaper(test)


def test_a_child_that_was_started_otherwise_is_adopted() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        ended = loop.create_future()
        pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ, setsid=True)
        children.adopt(pid, ended.set_result)
        assert children.is_running(pid)
        children.kill(pid, signal.SIGTERM)
        assert await ended == -15
        assert children.pids() == []

    with_reaper(test)


def test_children_that_end_together_are_all_reaped() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        codes: List[int] = []
        pids = [spawn(children, "/bin/sh", "-c", f"exit {code}", on_exit=codes.append) for code in range(8)]
        while children.pids():
            assert await children.wait_all(pids, 1e9) == []
        assert sorted(codes) == list(range(8))

    with_reaper(test)


def test_what_cannot_be_executed_is_an_error_and_no_child() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        with pytest.raises(FileNotFoundError):
            spawn(children, "/no/such/program")
        assert children.pids() == []

    with_reaper(test)


def test_directory_and_environment_are_as_given(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        for options, expected in (
            ({}, f"{tmp_path}:\n"),
            ({"cwd": "/", "env": {"X": "y"}}, "/:y\n"),
        ):
            reading, writing = os.pipe()
            pid = spawn(children, "/bin/sh", "-c", 'echo "$(pwd):$X"', stdout=writing, **options)
            os.close(writing)
            await children.wait_all([pid], 1e9)
            assert os.read(reading, 1000).decode() == expected
            os.close(reading)

    with_reaper(test, cwd=str(tmp_path))


def test_a_signal_reaches_what_the_child_left_behind() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        reading, writing = os.pipe()
        pid = spawn(children, "/bin/sh", "-c", "sleep 1000 & exit", stdout=writing)
        os.close(writing)
        await children.wait_all([pid], 1e9)
        gone = loop.create_future()
        loop.add_reader(reading, lambda: gone.done() or gone.set_result(os.read(reading, 1)))
        children.kill(pid, signal.SIGKILL)
        assert await gone == b""
        loop.remove_reader(reading)
        os.close(reading)

    with_reaper(test)


def test_nobody_else_is_signalled_once_the_pid_is_anothers() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        stranger = os.fork()
        if stranger == 0:
            os.setsid()
            os.execv("/bin/sleep", ["sleep", "1000"])
        children.kill(stranger, signal.SIGKILL)  # as if a child of ours had had its number
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0)
        os.kill(stranger, signal.SIGKILL)

    with_reaper(test)


def test_a_signal_to_who_is_gone_is_nothing() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        pid = spawn(children, "/bin/true")
        await children.wait_all([pid], 1e9)
        children.kill(pid, signal.SIGTERM)

    with_reaper(test)


def test_children_of_others_are_reaped_without_a_word() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        inherited = os.fork()
        if inherited == 0:
            os._exit(0)
        pid = spawn(children, "/bin/true")
        await children.wait_all([pid], 1e9)
        while True:
            try:
                os.kill(inherited, 0)
            except ProcessLookupError:
                break
            await children.wait_all([spawn(children, "/bin/true")], 1e9)

    with_reaper(test)


def test_waiting_ends_in_time_and_names_who_is_left() -> None:
    async def test(loop: ManualLoop, children: ChildReaper) -> None:
        stays = spawn(children, "/bin/sleep", "1000")
        goes = spawn(children, "/bin/true")
        assert await children.wait_all([goes], 1e9) == []
        waiting = loop.create_task(children.wait_all([stays, goes], 2))
        await loop.advance(2)
        assert await waiting == [stays]
        assert await children.wait_all([], 2) == []

    with_reaper(test)
