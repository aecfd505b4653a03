"""One console's log: what is written, what waits while it cannot be, what is said of it, and how it is opened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List, Optional, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import LogLevel, LogOptions
from conmand.server.logs import console_log
from conmand.server.logs.backlog import MAX_ALL_BACKLOGS_BYTES, BacklogBudget
from conmand.server.logs.clock import LogClock
from conmand.server.logs.console_log import MAX_BACKLOG_BYTES, ConsoleLog
from conmand.server.logs.opening import open_log_file
from tests.fakes.loops import ManualLoop, run
from tests.fakes.sinks import RecordingLog

STAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [-+A-Z0-9]+")


class Log:
    """A console's log under test, with what it was lent."""

    def __init__(
        self,
        loop: ManualLoop,
        path: Union[Path, str, Callable[[], str]],
        options: LogOptions = LogOptions(),  # noqa: B008
        budget: Optional[BacklogBudget] = None,
    ) -> None:
        self.daemon_log = RecordingLog()
        self.budget = budget or BacklogBudget()
        self.reopened: List[ConsoleLog] = []
        resolve = path if callable(path) else lambda: str(path)
        self.log = ConsoleLog(
            "n1",
            options,
            resolve,
            clock=LogClock(),
            daemon_log=self.daemon_log,
            budget=self.budget,
            loop=loop,
            retry_open=self.reopened.append,
        )

    def open(self, *, truncate: bool = False) -> None:
        self.log.opened(self.log.open_file(truncate=truncate))

    @property
    def complaints(self) -> List[str]:
        return self.daemon_log.texts


def dateless(path: Path) -> bytes:
    return STAMP.sub(b"DATE", path.read_bytes())


class FullDisk:
    """Stands in for write(2): takes ``room`` bytes, then says that the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int = 0) -> None:
        self.room = room
        self._real = os.write
        for name in ("_write", "os"):
            if hasattr(console_log, name):
                target = console_log if name == "_write" else console_log.os
                monkeypatch.setattr(target, "_write" if name == "_write" else "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        written = self._real(fd, bytes(data[: self.room]))
        self.room -= written
        return written


def test_a_log_opens_with_its_line_and_takes_output_verbatim(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        it.log.write(b"boot\r\n\x1b[1m\xff\0")
        it.log.notice("Console [n1] joined by <u@h> at 01-02 03:04")
        assert dateless(tmp_path / "n1.log") == (
            b"\r\n<ConMan> Console [n1] log opened at DATE.\r\n"
            b"boot\r\n\x1b[1m\xff\0"
            b"\r\n<ConMan> Console [n1] joined by <u@h> at 01-02 03:04.\r\n"
        )
        assert it.complaints == []
        it.log.stop()

    run(test)


def test_options_apply_to_output_and_not_to_notices(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log", LogOptions(sanitize=True, timestamp=True))
        it.open()
        it.log.write(b"a\x01\r\npart")
        it.log.notice("Note \x01")
        it.log.write(b"more\n")
        text = re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", b"T", (tmp_path / "n1.log").read_bytes())
        assert text.partition(b".\r\n")[2] == b"Ta^A\r\nTpart\r\n<ConMan> Note \x01.\r\nTmore\r\n"
        it.log.stop()

    run(test)


def test_the_periodic_line_says_the_time_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        it.log.stamp(0.0)
        text = (tmp_path / "n1.log").read_bytes()
        assert re.search(rb"\r\n<ConMan> Console \[n1\] log at 19(70-01-01|69-12-31) \d\d:\d\d:00 \S+\.\r\n$", text)
        it.log.stop()

    run(test)


def test_a_new_log_is_private_and_its_directories_are_not(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        before = os.umask(0o022)
        try:
            it = Log(loop, tmp_path / "a" / "b" / "n1.log")
            it.open()
        finally:
            os.umask(before)
        assert (tmp_path / "a/b/n1.log").stat().st_mode & 0o7777 == 0o600
        assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o755
        assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755
        it.log.stop()

    run(test)


def test_an_existing_log_keeps_its_mode_and_is_appended_to(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        path.write_bytes(b"old")
        path.chmod(0o644)
        it = Log(loop, path)
        it.open()
        assert path.read_bytes().startswith(b"old\r\n<ConMan> ")
        assert path.stat().st_mode & 0o7777 == 0o644
        it.log.stop()

    run(test)


def test_truncation_empties_a_file_and_leaves_a_device_alone(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        path.write_bytes(b"old")
        for target, lock in ((path, True), (Path("/dev/null"), False)):  # that device's lock is everybody's
            it = Log(loop, target, LogOptions(lock=lock))
            it.open(truncate=True)
            assert it.log.is_open
            assert it.complaints == []
            it.log.stop()
        assert path.read_bytes().startswith(b"\r\n<ConMan> ")

    run(test)


def test_a_log_that_another_program_locked_is_not_truncated_and_is_tried_again(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        path.write_bytes(b"theirs")
        it = Log(loop, path)
        with other_program_locks(path) as other:
            it.open(truncate=True)
            assert path.read_bytes() == b"theirs"
            assert it.daemon_log.lines == [(LogLevel.WARNING, f'Unable to lock "{path}"')]
            assert not it.log.is_open
            unlocked = Log(loop, path, LogOptions(lock=False))
            unlocked.open()
            assert unlocked.log.is_open
            unlocked.log.stop()
            release(other)
        await loop.advance(1)
        assert it.reopened == [it.log]
        it.log.stop()

    run(test)


def other_program_locks(path: Path) -> subprocess.Popen[bytes]:
    program = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, 2); print(flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"\n"
    return other


def release(other: subprocess.Popen[bytes]) -> None:
    assert other.stdin is not None
    other.stdin.close()
    other.wait()


def test_what_came_before_the_opening_follows_the_opening_line(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.log.write(b"early ")
        it.log.write(b"words\r\n")
        it.open()
        it.log.write(b"late")
        assert dateless(tmp_path / "n1.log") == (
            b"\r\n<ConMan> Console [n1] log opened at DATE.\r\nearly words\r\nlate"
        )
        assert it.budget.left_bytes == MAX_ALL_BACKLOGS_BYTES
        it.log.stop()

    run(test)


def test_what_comes_while_a_log_is_being_reopened_goes_to_the_new_file(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        names = iter(["one.log", "two.log"])
        it = Log(loop, lambda: str(tmp_path / next(names)))
        it.open()
        it.log.close_file()
        it.log.write(b"between")
        assert it.log.replay() is None
        it.open()
        assert dateless(tmp_path / "one.log") == b"\r\n<ConMan> Console [n1] log opened at DATE.\r\n"
        assert dateless(tmp_path / "two.log").endswith(b"DATE.\r\nbetween")
        it.log.stop()

    run(test)


def test_replay_is_the_tail_of_all_that_was_put_into_the_log_over_rotations(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        assert it.log.replay() is None
        it.open()
        it.log.write(b"x" * 5000 + b"end")
        assert it.log.replay() == b"x" * 4093 + b"end"
        it.log.close_file()
        it.open()
        replay = it.log.replay()
        assert replay is not None and len(replay) == 4096
        assert STAMP.sub(b"DATE", replay).endswith(b"xend\r\n<ConMan> Console [n1] log opened at DATE.\r\n")
        it.log.stop()

    run(test)


def test_a_file_that_cannot_be_opened_is_complained_of_once_and_retried_with_growing_delays(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "dir.log"
        path.mkdir()
        it = Log(loop, path)
        delays = []
        for _ in range(8):
            it.open()
            (delay,) = loop.timers()
            delays.append(delay)
            await loop.advance(delay)
        assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
        assert len(it.reopened) == 8
        assert it.daemon_log.lines == [(LogLevel.WARNING, f'Unable to open logfile "{path}": Is a directory')]
        path.rmdir()
        it.open()
        assert it.complaints[1:] == ["Console [n1] log is written again, 0 bytes were lost"]
        assert loop.timers() == []
        it.log.stop()

    run(test)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        (tmp_path / "file").write_text("")
        it = Log(loop, tmp_path / "file" / "sub" / "n1.log")
        it.open()
        assert it.complaints == [f'Cannot create directory "{tmp_path}/file/sub": Not a directory']
        it.log.stop()

    run(test)


def test_a_name_that_cannot_be_expanded_is_the_complaint() -> None:
    def fail() -> str:
        raise ValueError("Unable to open logfile for [n1]: filename exceeded buffer")

    async def test(loop: ManualLoop) -> None:
        it = Log(loop, fail)
        it.open()
        assert it.complaints == ["Unable to open logfile for [n1]: filename exceeded buffer"]
        it.log.stop()

    run(test)


def test_a_full_disk_loses_nothing_that_fits_the_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        size = (tmp_path / "n1.log").stat().st_size
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, room=10)
            for number in range(100):
                it.log.write(b"%08d\r\n" % number)
            await loop.advance(1)
            disk.room = 25  # a little is freed
            await loop.advance(2)
            assert (tmp_path / "n1.log").stat().st_size == size + 35
            assert it.daemon_log.lines == [
                (LogLevel.INFO, f"Unable to write to [{tmp_path}/n1.log]: No space left on device")
            ]
            assert it.log.replay() is not None
        await loop.advance(4)
        assert (tmp_path / "n1.log").read_bytes()[size:] == b"".join(b"%08d\r\n" % number for number in range(100))
        assert it.complaints[1:] == ["Console [n1] log is written again, 0 bytes were lost"]
        assert it.budget.left_bytes == MAX_ALL_BACKLOGS_BYTES
        assert loop.timers() == []
        it.log.stop()

    run(test)


def test_what_the_backlog_cannot_hold_is_counted_and_marked_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        size = (tmp_path / "n1.log").stat().st_size
        with monkeypatch.context() as patch:
            FullDisk(patch)
            it.log.write(b"a" * (MAX_BACKLOG_BYTES - 1))
            it.log.write(b"bcd")
            it.log.write(b"efgh")
        await loop.advance(60)
        it.log.write(b"after")
        assert (tmp_path / "n1.log").read_bytes()[size:] == (
            b"a" * (MAX_BACKLOG_BYTES - 1) + b"b\r\n<ConMan> Console [n1] log lost 6 bytes here.\r\nafter"
        )
        assert it.complaints[1:] == [
            f"Console [n1] log cannot be written: losing what exceeds {MAX_BACKLOG_BYTES} bytes",
            "Console [n1] log is written again, 6 bytes were lost",
        ]
        it.log.stop()

    run(test)


def test_an_overflowing_backlog_is_kept_when_the_file_opens_at_last(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.log.write(b"a" * MAX_BACKLOG_BYTES)
        it.log.write(b"lost")
        it.open()
        assert dateless(tmp_path / "n1.log") == (
            b"\r\n<ConMan> Console [n1] log opened at DATE.\r\n"
            + b"a" * MAX_BACKLOG_BYTES
            + b"\r\n<ConMan> Console [n1] log lost 4 bytes here.\r\n"
        )
        assert it.budget.left_bytes == MAX_ALL_BACKLOGS_BYTES
        it.log.stop()

    run(test)


def test_a_new_file_on_a_full_disk_begins_with_its_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.log.write(b"early ")
        with monkeypatch.context() as patch:
            FullDisk(patch)
            it.open()
            it.log.write(b"more")
        await loop.advance(60)
        assert dateless(tmp_path / "n1.log") == (b"\r\n<ConMan> Console [n1] log opened at DATE.\r\nearly more")
        assert it.budget.left_bytes == MAX_ALL_BACKLOGS_BYTES
        it.log.stop()

    run(test)


def test_all_backlogs_together_are_bounded(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        budget = BacklogBudget(10)
        first, second = (Log(loop, tmp_path / name, budget=budget) for name in ("1", "2"))
        first.log.write(b"12345678")
        second.log.write(b"abcd")
        assert budget.left_bytes == 0
        first.open()
        assert budget.left_bytes == 8
        second.open()
        assert budget.left_bytes == 10
        assert (tmp_path / "1").read_bytes().endswith(b"12345678")
        assert dateless(tmp_path / "2").endswith(b"DATE.\r\nab\r\n<ConMan> Console [n1] log lost 2 bytes here.\r\n")
        for it in (first, second):
            it.log.stop()

    run(test)


UNLIKE_NOTICES = bytes(range(256)).translate(bytes.maketrans(b"x\n", b"\x02\x03"))
NOTICES = bytes(range(10, 127))
OUTPUT = st.lists(st.sampled_from([b"x", b"x" * 15, b"\x01", b"\n"]), max_size=9)


@given(st.lists(st.tuples(st.sampled_from("wwwnocfrt"), OUTPUT), max_size=30), st.booleans())
def test_every_byte_of_the_device_is_in_the_file_or_waits_or_is_counted_whatever_fails(
    steps: List[Tuple[str, List[bytes]]], processed: bool
) -> None:
    """Any order of output, notices, openings, failures and repairs."""

    async def test(loop: ManualLoop) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(console_log, "MAX_BACKLOG_BYTES", 150)
            written = bytearray()
            room = [0]

            def write(fd: int, piece: bytes) -> int:
                if room[0] <= 0 or fd < 0:  # no place for the daemon's own log
                    raise OSError(28, "No space left on device")
                taken = bytes(piece[: room[0]])
                room[0] -= len(taken)
                written.extend(taken)
                return len(taken)

            patch.setattr(console_log.os, "write", write)
            patch.setattr(console_log, "_write", write, raising=False)
            options = LogOptions(lock=False, sanitize=processed, timestamp=processed)
            it = Log(loop, "/dev/null", options, budget=BacklogBudget(400))
            given_bytes, told = 0, 0
            for step, pieces in steps:
                data = b"".join(pieces)
                if not processed:
                    data = data.translate(UNLIKE_NOTICES)
                if step == "w":
                    it.log.write(data)
                    given_bytes += len(data)
                elif step == "n":
                    it.log.notice("TOLD")
                    told += 1
                elif step == "o":
                    it.open()
                elif step == "c":
                    it.log.close_file()
                elif step == "f":
                    room[0] = len(data)
                elif step == "r":
                    room[0] = 10_000
                else:
                    await loop.advance(100)
                assert it.log.bytes_read == given_bytes
                assert it.log.bytes_logged + it.log.bytes_waiting + it.log.bytes_lost == given_bytes
                assert min(it.log.bytes_logged, it.log.bytes_waiting, it.log.bytes_lost) >= 0
            assert -30 * 90 <= it.budget.left_bytes <= 400  # lines of openings are kept in any case
            room[0] = 1_000_000
            it.open()
            await loop.advance(200)
            assert it.budget.left_bytes == 400
            assert it.log.bytes_waiting == 0
            assert it.log.bytes_logged + it.log.bytes_lost == given_bytes
            marks = re.findall(rb"log lost (\d+) bytes?(?: and (\d+) messages?)? here", bytes(written))
            assert sum(int(lost) for lost, _messages in marks) == it.log.bytes_lost
            assert sum(int(messages or 0) for _lost, messages in marks) + written.count(b"TOLD") == told
            if not processed:
                assert len(bytes(written).translate(None, NOTICES)) == it.log.bytes_logged
            it.log.stop()

    run(test)


@pytest.mark.parametrize("room", range(60))
def test_a_cut_counts_only_bytes_that_are_whole_in_the_log(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(console_log, "MAX_BACKLOG_BYTES", room)
        it = Log(loop, tmp_path / "n1.log", LogOptions(sanitize=True, timestamp=True))
        data = b"a\x01\x81\r\n\x01b"
        it.log.write(data)
        monkeypatch.undo()
        it.open()
        text = (tmp_path / "n1.log").read_bytes().partition(b".\r\n")[2].partition(b"\r\n<ConMan>")[0]
        text = re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", b"", text)
        whole = {
            0: b"",
            1: b"a",
            2: b"a^A",
            3: b"a^A~A",
            5: b"a^A~A\r\n",
            6: b"a^A~A\r\n^A",
            7: b"a^A~A\r\n^Ab",
        }
        assert text == whole[it.log.bytes_logged]
        assert it.log.bytes_logged + it.log.bytes_lost == len(data) == it.log.bytes_read
        it.log.stop()

    run(test)


def test_messages_that_are_lost_are_marked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(console_log, "MAX_BACKLOG_BYTES", 20)
        it = Log(loop, tmp_path / "n1.log")
        it.log.write(b"a" * 19)
        it.log.notice("Console [n1] joined by <u@h> at 01-02 03:04")
        it.log.write(b"b")  # there were room, but what comes after a loss comes after its mark
        it.open()
        assert dateless(tmp_path / "n1.log").endswith(
            b"a" * 19 + b"\r\n<ConMan> Console [n1] log lost 1 byte and 1 message here.\r\n"
        )
        assert it.log.bytes_lost == 1
        it.log.stop()

    run(test)


def test_a_log_says_why_it_fails_and_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        it.log.write(b"12")
        assert (it.log.bytes_logged, it.log.bytes_waiting, it.log.complaint) == (2, 0, None)
        with monkeypatch.context() as patch:
            FullDisk(patch)
            it.log.write(b"345")
        assert (it.log.bytes_logged, it.log.bytes_waiting, it.log.bytes_lost) == (2, 3, 0)
        assert it.log.complaint == f"Unable to write to [{tmp_path}/n1.log]: No space left on device"
        await loop.advance(1)
        assert (it.log.bytes_logged, it.log.bytes_waiting, it.log.complaint) == (5, 0, None)
        it.log.stop()

    run(test)


def test_what_is_lost_at_the_end_is_said_in_the_daemons_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(console_log, "MAX_BACKLOG_BYTES", 3)
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        with monkeypatch.context() as patch:
            FullDisk(patch)
            it.log.write(b"12345")
            it.log.stop()
        assert it.complaints[-2:] == [
            f"Destroying [{tmp_path}/n1.log] with 3 bytes of unwritten data",
            "Console [n1] log lost 2 bytes at its end",
        ]

    run(test)


def test_stop_writes_what_waits_and_gives_up_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        it.open()
        size = (tmp_path / "n1.log").stat().st_size
        with monkeypatch.context() as patch:
            disk = FullDisk(patch)
            it.log.write(b"12345")
            disk.room = 4
            it.log.stop()
        assert (tmp_path / "n1.log").read_bytes()[size:] == b"1234"
        assert it.complaints[-1] == f"Destroying [{tmp_path}/n1.log] with 1 byte of unwritten data"
        assert loop.timers() == []

    run(test)


def test_a_file_that_opens_after_the_stop_is_closed_again(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        opened = it.log.open_file()
        it.log.stop()
        it.log.opened(opened)
        with pytest.raises(OSError):
            os.fstat(opened.fd)

    run(test)


def test_a_pipe_that_nobody_empties_does_not_block(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        it = Log(loop, path, LogOptions(lock=False))
        it.open()
        text = b"".join(b"%07d\n" % number for number in range(12_000))
        it.log.write(text)
        seen = b""
        while len(seen) < len(text):
            try:
                seen += os.read(reading, 1 << 16)
            except BlockingIOError:
                await loop.advance(60)
        assert seen.partition(b".\r\n")[2] == text[: len(seen.partition(b".\r\n")[2])]
        os.close(reading)
        it.log.stop()

    run(test)


# Replay


def test_replay_of_a_file_needs_no_memory_and_shows_only_our_own_bytes(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        path.write_bytes(b"from a former life\r\n" * 1000)
        log = Log(loop, path).log
        log.opened(log.open_file())
        log.write(b"first\r\n")
        assert b"former" not in (log.replay() or b"")
        for number in range(1000):
            log.write(b"line %d\r\n" % number)
        tail = path.read_bytes()[-4096:]
        assert log.replay() == tail
        assert log._tail.kept_bytes < 200  # the line that says it was opened
        log.stop()

    run(test)


def test_replay_survives_rotation_truncation_and_a_device(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        log = Log(loop, path).log
        log.opened(log.open_file())
        log.write(b"before\r\n")
        path.rename(tmp_path / "n1.log.1")
        log.close_file()
        log.opened(log.open_file())
        log.write(b"after\r\n")
        replayed = log.replay() or b""
        assert replayed.index(b"before\r\n") < replayed.rindex(b"log opened") < replayed.index(b"after\r\n")
        os.truncate(path, 0)
        log.write(b"cut\r\n")
        assert b"before\r\n" in (log.replay() or b"")  # what came before this file is still known
        assert path.read_bytes() == b"cut\r\n"
        log.stop()

        device = Log(loop, "/dev/null", LogOptions(lock=False)).log
        device.opened(device.open_file())
        device.write(b"seen nowhere else\r\n")
        assert (device.replay() or b"").endswith(b"seen nowhere else\r\n")
        device.stop()

    run(test)


def test_other_options_count_at_once_and_do_not_break_a_line(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "n1.log"
        it = Log(loop, path, LogOptions(sanitize=True))
        it.open()
        it.log.write(b"a\x01 part")
        it.log.reconfigure(LogOptions(timestamp=True), lambda: str(path))
        it.log.write(b" more\x01\r\nnext\r\n")
        it.log.reconfigure(LogOptions(sanitize=True, timestamp=True), lambda: str(path))
        it.log.write(b"b\x01\r\n")
        text = re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", b"T", path.read_bytes())
        assert text.partition(b".\r\n")[2] == b"a^A part more\x01\r\nTnext\r\nTb^A\r\n"
        it.log.stop()

    run(test)


def test_another_name_counts_when_the_file_is_opened_anew(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "old")
        it.open()
        it.log.write(b"one ")
        it.log.reconfigure(LogOptions(lock=False), lambda: str(tmp_path / "new"))
        it.log.write(b"two")
        it.log.close_file()
        it.log.write(b" three")
        it.open()
        it.log.write(b" four")
        assert (tmp_path / "old").read_bytes().endswith(b"one two")
        assert (tmp_path / "new").read_bytes().endswith(b".\r\n three four")
        assert it.log.tail.endswith(b" four") and b"one two" in it.log.tail
        it.log.stop()
        assert it.log.is_stopped

    run(test)


def test_a_log_that_ends_leaves_its_room_to_the_others(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Log(loop, tmp_path / "n1.log")
        before = it.budget.left_bytes
        it.log.write(b"never written")
        assert it.budget.left_bytes < before
        it.log.stop()
        assert it.budget.left_bytes == before

    run(test)


def test_a_descriptor_that_will_never_work_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server that has restarted: the file must be opened again. On a full disk that would be no help."""

    async def test(loop: ManualLoop) -> None:
        for number, expected in ((116, 3), (5, 3), (30, 3), (28, 0)):
            it = Log(loop, tmp_path / f"{number}.log")
            it.open()

            def refuse(fd: int, data: bytes, number: int = number) -> int:
                raise OSError(number, os.strerror(number))

            with monkeypatch.context() as patch:
                patch.setattr(console_log.os, "write", refuse)
                patch.setattr(console_log, "_write", refuse)
                for _ in range(3):
                    it.log.write(b"text")
                    await loop.advance(60)
                    for log in it.reopened[-1:]:
                        log.opened(log.open_file())
                assert len(it.reopened) >= expected and bool(it.reopened) is bool(expected)
            it.open()
            written = (tmp_path / f"{number}.log").read_bytes()
            assert written.count(b"log opened") == 2 and written.endswith(b".\r\n" + b"text" * 3)
            assert it.log.bytes_logged == 12
            it.log.stop()

    run(test)


@pytest.mark.parametrize(
    "beginning, begun",
    [
        (b"\r\n<ConMan> Console [a] log opened at 2020-01-02 03:04:05 UTC.\r\n", (2020, 1, 2, 3, 4, 5)),
        (b"\r\n<ConMan> Console [a [b]] log opened at 2020-01-02 03:04:05 .\r\nmore", (2020, 1, 2, 3, 4, 5)),
        (b"\r\n<ConMan> Console [a] log opened at 2020-13-32 03:04:05 UTC.\r\n", None),
        (b"other text", None),
        (b"\r\n<ConMan> Console [" + b"x" * 2000, None),
    ],
)
def test_a_file_was_begun_when_its_first_line_says(
    beginning: bytes, begun: Optional[Tuple[int, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "n1.log"
    path.write_bytes(beginning)
    os.utime(path, (77, 77))
    opened = open_log_file(str(path), LogOptions(), dated=True)
    expected = 77.0 if begun is None else time.mktime((*begun, 0, 0, -1))  # type: ignore[arg-type]
    assert opened.begun == expected
    os.close(opened.fd)
    opened = open_log_file(str(path), LogOptions())
    assert opened.begun is None and opened.file_id == (path.stat().st_dev, path.stat().st_ino)
    os.close(opened.fd)
