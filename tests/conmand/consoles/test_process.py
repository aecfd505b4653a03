"""Consoles that are programs: real programs, real children, and a clock that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Awaitable, Callable, List, Tuple

import pytest

from conmand.config.model import ConsoleSettings, LogLevel, ProcessDevice
from conmand.consoles.base import State
from conmand.consoles.process import ProcessConsole
from conmand.server.children import ChildReaper
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink

Opened = Callable[..., Tuple[ProcessConsole, RecordingSink]]


def with_children(test: Callable[[ManualLoop, Opened], Awaitable[None]]) -> None:
    """Run ``test(loop, console)`` with a real reaper; afterwards every child has to be gone."""

    async def whole(loop: ManualLoop) -> None:
        children = ChildReaper(loop)
        children.start()
        consoles: List[ProcessConsole] = []

        def console(*argv: str, pty: bool = False) -> Tuple[ProcessConsole, RecordingSink]:
            sink = RecordingSink()
            settings = ConsoleSettings("p", ProcessDevice(tuple(argv), pty=pty))
            consoles.append(ProcessConsole(settings, sink, FakeServices(loop, children=children)))
            return consoles[-1], sink

        try:
            await test(loop, console)
        finally:
            for one in consoles:
                one.stop()
            for pid in children.pids():
                children.kill(pid, signal.SIGKILL)
            while children.pids():
                await children.wait_all(children.pids(), 1e9)
            loop.remove_signal_handler(signal.SIGCHLD)
            with contextlib.suppress(ChildProcessError):  # orphans that have been killed become ours
                while True:
                    os.waitpid(-1, 0)

    run(whole)


def script(tmp_path: Path, text: str, name: str = "prog") -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_ordinary_filter_works() -> None:
    """cat(1) dies at once under the original, whose children get a non-blocking end (errata D1)."""

    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/cat")
        shared.start()
        assert sink.announced == [f'Console [p] connected to "cat" (pid {shared._pid})']
        assert sink.levels == [LogLevel.INFO]
        shared.send(b"hello\n")
        await sink.until(lambda: sink.published == b"hello\n")
        assert shared.state is State.UP

    with_children(test)


def test_break_is_the_two_bytes_that_device_scripts_read() -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/cat")
        shared.start()
        shared.send_break()
        await sink.until(lambda: sink.published == b"&B")

    with_children(test)


def test_standard_error_is_console_output_and_arguments_pass_unchanged() -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/sh", "-c", 'printf "<%s>" "$@" >&2; exec cat', "sh", "a b", "", "c\udce9")
        shared.start()
        await sink.until(lambda: sink.published == b"<a b><><c\xe9>")

    with_children(test)


def test_a_program_that_exits_is_announced_and_restarted_at_the_originals_times(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console(script(tmp_path, "exit 0"))
        start = loop.time()
        times = []
        shared.start()
        for attempt in range(1, 5):
            times.append(loop.time() - start)
            await sink.until(lambda count=2 * attempt: len(sink.announced) == count)  # type: ignore[misc]
            pid = sink.announced[-2].rpartition(" ")[2].rstrip(")")
            assert sink.announced[-1] == f'Console [p] disconnected from "prog" (pid {pid}) after 0s'
            (delay,) = loop.timers()
            await loop.advance(delay)
        assert times == [0, 60, 180, 420]

    with_children(test)


def test_a_program_that_ran_a_minute_is_restarted_at_once(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console(script(tmp_path, "read word"))
        shared.start()
        await loop.advance(62)
        shared.send(b"\n")
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.announced[1].endswith("after 1m2s")
        await loop.advance(0)
        assert len(sink.announced) == 3
        shared.send(b"\n")
        await sink.until(lambda: len(sink.announced) == 4)
        assert loop.timers() == [60]

    with_children(test)


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda path: None, '"gone" stat error: No such file or directory'),
        (lambda path: path.mkdir(), '"gone" not a regular file'),
        (lambda path: path.write_text(""), '"gone" not executable'),
    ],
)
def test_what_cannot_be_executed_is_said_in_the_originals_words(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        path = tmp_path / "gone"
        make(path)
        shared, sink = console(str(path))
        shared.start()
        assert sink.announced == [f"Console [p] connection failed: {reason}"]
        assert sink.levels == [LogLevel.WARNING]
        assert loop.timers() == [60]
        assert shared.client_attached() == 'Console [p] is currently disconnected from "gone"'
        shared.retry_now()
        assert len(sink.announced) == 2

    with_children(test)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may execute what has no x for him")
def test_execute_permission_for_others_is_enough_for_root(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        path = script(tmp_path, "cat")
        os.chmod(path, stat.S_IRUSR | stat.S_IXOTH)
        shared, sink = console(path)
        shared.start()
        assert shared.state is State.UP

    with_children(test)


def test_an_interpreter_that_is_missing_is_a_failed_attempt(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        path = tmp_path / "prog"
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
        shared, sink = console(str(path))
        shared.start()
        assert sink.announced == ['Console [p] connection failed: "prog" exec error: No such file or directory']
        assert loop.timers() == [60]

    with_children(test)


def test_without_descriptors_the_attempt_fails_and_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object) -> None:
        raise OSError(24, "Too many open files")

    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/cat")
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socketpair", exhausted)
            shared.start()
        assert sink.announced == ["Console [p] connection failed: socketpair error: Too many open files"]
        await loop.advance(60)
        assert shared.state is State.UP

    with_children(test)


def test_what_the_program_left_behind_goes_with_it(tmp_path: Path) -> None:
    """The original kills the direct child only (errata D3)."""

    async def test(loop: ManualLoop, console: Opened) -> None:
        # The sleeper holds a pipe of ours open: its end is an event.
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        gone = loop.create_future()
        loop.add_reader(reading, lambda: gone.done() or gone.set_result(os.read(reading, 1)))
        program = script(tmp_path, f"sleep 1000 </dev/null >/proc/{os.getpid()}/fd/{writing} 2>&1 & echo $!")
        shared, sink = console(program)
        shared.start()
        os.close(writing)
        assert await gone == b""
        loop.remove_reader(reading)
        os.close(reading)
        await sink.until(lambda: len(sink.announced) == 2)

    with_children(test)


def test_output_just_before_the_exit_is_not_lost(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console(script(tmp_path, "head -c 150000 /dev/zero; echo last"))
        shared.start()
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == bytes(150_000) + b"last\n"

    with_children(test)


_LIBC_SIGNALS = 0b11 << 31
"""32 and 33, as /proc shows them: the C library's own, which no program can set; it may start children without them."""


def test_children_have_their_own_session_a_default_sigpipe_and_an_ordinary_umask(tmp_path: Path) -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        program = "import os; print(os.getsid(0) == os.getpid(), oct(os.umask(0)), os.get_blocking(0))"
        shared, sink = console(
            "/bin/sh",
            "-c",
            'grep SigIgn /proc/self/status; ls /proc/self/fd; exec "$@"',
            "sh",
            sys.executable,
            "-c",
            program,
        )
        before = os.umask(0)
        try:
            shared.start()
        finally:
            os.umask(before)
        await sink.until(lambda: len(sink.announced) == 2)
        words = sink.published.decode().split()
        assert int(words[1], 16) & ~_LIBC_SIGNALS == 0  # no signal is ignored
        assert words[2:6] == ["0", "1", "2", "3"]  # 3 is the listing's own
        assert words[6:] == ["True", "0o22", "True"]

    with_children(test)


def test_a_program_with_pty_has_a_controlling_terminal_of_24_by_80() -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console(
            "/bin/sh", "-c", 'tty && stty size </dev/tty && echo "$0 $1"; exec cat', "a", "b c", pty=True
        )
        shared.start()
        assert sink.announced == [f'Console [p] connected to "sh" (pid {shared._pid})']
        await sink.until(lambda: sink.published.endswith(b"24 80\r\na b c\r\n"))
        assert sink.published.startswith(b"/dev/pts/")

    with_children(test)


def test_a_program_with_pty_that_exits_is_disconnected_without_a_read_error() -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/sh", "-c", "echo bye", pty=True)
        shared.start()
        await sink.until(lambda: len(sink.announced) == 2)
        assert sink.published == b"bye\r\n"
        assert sink.announced[1] == f'Console [p] disconnected from "sh" (pid {shared._pid}) after 0s'
        assert sink.reported == []

    with_children(test)


def test_stop_closes_the_programs_input_and_says_nothing() -> None:
    async def test(loop: ManualLoop, console: Opened) -> None:
        shared, sink = console("/bin/cat")
        shared.start()
        pid = shared._pid
        shared.stop()
        children = shared.services.children
        assert isinstance(children, ChildReaper)
        assert await children.wait_all([pid], 1e9) == []
        assert len(sink.announced) == 1
        await asyncio.sleep(0)
        assert loop.timers() == []

    with_children(test)


def test_a_program_is_known_while_it_runs() -> None:
    async def test(loop: ManualLoop, opened: Opened) -> None:
        console, sink = opened("/bin/cat")
        assert console.programs() == ()
        console.start()
        (pid,) = console.programs()
        assert sink.announced == [f'Console [p] connected to "cat" (pid {pid})']
        console.stop()
        assert console.programs() == ()

    with_children(test)
