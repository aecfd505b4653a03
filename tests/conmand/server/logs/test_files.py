"""All console logs together: opened in threads, reopened, stamped at intervals by the wall clock."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import LogOptions
from conmand.server.logs import console_log
from conmand.server.logs import files as log_files
from conmand.server.logs.clock import LogClock
from conmand.server.logs.console_log import MAX_BACKLOG_BYTES, BacklogBudget, ConsoleLog, Opened
from conmand.server.logs.files import (
    BATCH,
    DELETED_SECONDS,
    OPENING_SECONDS,
    LogFiles,
    first_stamp,
    look_for_deleted,
    stamp_at_intervals,
)
from conmand.server.logs.lanes import HUNG_SECONDS, MAX_HUNG_IN_LANE, Lanes
from conmand.server.logs.open_files import OpenFiles
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.sinks import RecordingLog, open_descriptors

DAY = 86400


class AnyLog(ConsoleLog):
    """Its methods can be replaced."""

    @property
    def daemon_log(self) -> RecordingLog:
        assert isinstance(self._daemon_log, RecordingLog)
        return self._daemon_log


def logs(loop: ManualLoop, files: LogFiles, paths: List[Path], *, lock: bool = True) -> List[ConsoleLog]:
    open_files = OpenFiles()
    return [
        AnyLog(
            path.name,
            LogOptions(lock=lock),
            lambda path=path: str(path),  # type: ignore[misc]
            clock=LogClock(),
            daemon_log=RecordingLog(),
            budget=BacklogBudget(),
            loop=loop,
            retry_open=files.retry,
            open_files=open_files,
        )
        for path in paths
    ]


def test_more_logs_than_a_batch_are_opened_and_reopened(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        all_logs = logs(loop, files, [tmp_path / str(number) for number in range(2 * BATCH + 1)])
        await files.open(all_logs)
        assert all(log.is_open for log in all_logs)
        await files.reopen(all_logs)
        for log in all_logs:
            assert (tmp_path / log.name).read_bytes().count(b"log opened at") == 2
            log.stop()
        files.close()

    run(test)


def test_reopening_follows_a_rotation(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        path = tmp_path / "n1.log"
        (log,) = logs(loop, files, [path])
        await files.open([log])
        log.write(b"old")
        path.rename(tmp_path / "n1.log.1")
        log.write(b" still old")
        await files.reopen([log])
        log.write(b"new")
        assert (tmp_path / "n1.log.1").read_bytes().endswith(b"old still old")
        assert path.read_bytes().endswith(b".\r\nnew")
        log.stop()
        files.close()

    run(test)


def test_truncation_is_for_the_first_opening(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1.log"])
        (tmp_path / "n1.log").write_bytes(b"old")
        await files.open([log], truncate=True)
        log.write(b"kept")
        await files.reopen([log])
        text = (tmp_path / "n1.log").read_bytes()
        assert b"old" not in text and b"kept" in text
        log.stop()
        files.close()

    run(test)


def test_a_failing_log_is_opened_by_its_own_timer(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        blocker = tmp_path / "dir"
        blocker.write_text("")
        (log,) = logs(loop, files, [blocker / "n1.log"])
        await files.open([log])
        assert not log.is_open
        blocker.unlink()
        await loop.advance(1)
        await files.all_opened()
        assert log.is_open
        log.stop()
        files.close()

    run(test)


class Server:
    """A file server that is dead until it is released: what opens a log on it hangs."""

    def __init__(self, loop: ManualLoop) -> None:
        self.released = threading.Event()
        self.hanging: List[str] = []
        self.loop = loop
        self._changed = asyncio.Event()

    def hang(self, log: ConsoleLog) -> None:
        real, name = log.open_file, log.name

        def open_file(**arguments: Any) -> Opened:
            self.loop.call_soon_threadsafe(self._hangs, name)
            self.released.wait()
            return real(**arguments)

        log.open_file = open_file  # type: ignore[method-assign]

    def _hangs(self, name: str) -> None:
        self.hanging.append(name)
        self._changed.set()

    async def until_hanging(self, count: int = 1) -> None:
        while len(self.hanging) < count:
            self._changed.clear()
            await self._changed.wait()


def test_a_log_that_hangs_holds_up_the_start_for_a_time_only(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files, server = LogFiles(loop), Server(loop)
        (log,) = logs(loop, files, [tmp_path / "n1.log"])
        server.hang(log)
        opening = asyncio.ensure_future(files.open([log]))
        await server.until_hanging()
        assert not opening.done()
        await loop.advance(OPENING_SECONDS)
        assert opening.done()
        log.write(b"meanwhile")
        server.released.set()
        await files.all_opened()
        assert (tmp_path / "n1.log").read_bytes().endswith(b".\r\nmeanwhile")
        log.stop()
        files.close()

    run(test)


def test_a_file_that_is_opened_after_the_end_is_closed_again(tmp_path: Path) -> None:
    held: List[Server] = []

    async def test(loop: ManualLoop) -> None:
        files, server = LogFiles(loop), Server(loop)
        held.append(server)
        (log,) = logs(loop, files, [tmp_path / "n1.log"])
        server.hang(log)
        files.retry(log)
        await server.until_hanging()
        log.stop()
        files.close()

    run(test)
    before = open_descriptors()
    held[0].released.set()
    for thread in threading.enumerate():
        if thread.name == "logs":
            thread.join(20)
    assert (tmp_path / "n1.log").exists() and open_descriptors() == before


def test_all_logs_on_a_dead_file_server_hold_up_the_start_once(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files, server = LogFiles(loop), Server(loop)
        all_logs = logs(loop, files, [tmp_path / f"n{number}.log" for number in range(3 * BATCH)])
        for log in all_logs:
            server.hang(log)
        start = loop.time()
        first = asyncio.ensure_future(files.open(all_logs[:BATCH]))
        await server.until_hanging()
        await loop.advance(OPENING_SECONDS)
        assert first.done()
        await files.open(all_logs[BATCH : 2 * BATCH])
        await files.open(all_logs[2 * BATCH :])
        assert loop.time() == start + OPENING_SECONDS
        server.released.set()
        await files.all_opened()
        assert all(log.is_open for log in all_logs)
        for log in all_logs:
            log.stop()
        files.close()

    run(test)


def test_logs_behind_one_that_hangs_are_opened_by_another_thread(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files, server = LogFiles(loop), Server(loop)
        first, second = logs(loop, files, [tmp_path / "n1.log", tmp_path / "n2.log"])
        server.hang(first)
        opening = asyncio.ensure_future(files.open([first, second]))
        await server.until_hanging()
        await loop.advance(OPENING_SECONDS)
        await opening
        while not second.is_open:
            await asyncio.sleep(0)
        assert not first.is_open
        server.released.set()
        await files.all_opened()
        assert first.is_open
        for log in (first, second):
            log.stop()
        files.close()

    run(test)


def test_a_dead_file_server_does_not_keep_logs_on_a_healthy_disk_waiting(tmp_path: Path) -> None:
    """However many of its logs hang, the others are opened at once, now and at the next SIGHUP."""

    async def test(loop: ManualLoop) -> None:
        lanes = Lanes(loop, lambda path: path.split("/")[-3])
        files, server = LogFiles(loop, lanes), Server(loop)
        dead = logs(loop, files, [tmp_path / f"dead/d{number}/x.log" for number in range(20)])
        healthy = logs(loop, files, [tmp_path / f"healthy/h{number}/x.log" for number in range(20)])
        for log in dead:
            server.hang(log)
        both = asyncio.ensure_future(files.open([log for pair in zip(dead, healthy) for log in pair]))
        while not all(log.is_open for log in healthy):
            await asyncio.sleep(0)
        for count in range(1, MAX_HUNG_IN_LANE + 1):
            await server.until_hanging(count)
            await loop.advance(HUNG_SECONDS)
        assert both.done()
        await loop.advance(100 * HUNG_SECONDS)
        assert len(server.hanging) == MAX_HUNG_IN_LANE  # not a thread for each
        before = loop.time()
        await files.reopen(dead)
        await files.reopen(healthy)
        assert loop.time() == before
        assert all((tmp_path / f"healthy/h{n}/x.log").read_bytes().count(b"log opened") == 2 for n in range(20))
        server.released.set()
        await files.all_opened()
        for log in (*dead, *healthy):
            assert log.is_open
            log.stop()
        files.close()

    run(test)


def test_a_log_asked_for_while_it_is_being_opened_is_opened_once_more_and_stays_locked(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        path = tmp_path / "n1.log"
        (log,) = logs(loop, files, [path])
        files.retry(log)
        await files.reopen([log])
        await files.all_opened()
        take_lock = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run([sys.executable, "-c", take_lock, str(path)], stderr=subprocess.DEVNULL, check=False)
        assert other.returncode != 0
        assert path.read_bytes().count(b"log opened") == 2  # after the lock: this close ends it
        log.stop()
        files.close()

    run(test)


def test_without_threads_logs_are_opened_when_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original exits (errata A2)."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        all_logs = logs(loop, files, [tmp_path / "n1.log", tmp_path / "n2.log"])
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await files.open(all_logs)
        assert not any(log.is_open for log in all_logs)
        all_logs[0].write(b"meanwhile")
        await loop.advance(1)
        await files.all_opened()
        assert (tmp_path / "n1.log").read_bytes().endswith(b".\r\nmeanwhile")
        for log in all_logs:
            assert log.is_open
            log.stop()
        files.close()

    run(test)


def test_a_file_that_was_deleted_is_made_anew_with_what_was_written_since(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        directory = tmp_path / "logs"
        all_logs = logs(loop, files, [directory / "n1", directory / "n2", directory / "n3"])
        first, second, third = all_logs
        await files.open(all_logs)
        watching = loop.create_task(look_for_deleted(all_logs, files))
        third.write(b"seen")
        await looked(loop, files)
        for log in all_logs:
            log.write(b"before the end, ")
        shutil.rmtree(directory)
        first.write(b"after it, ")
        await looked(loop, files)
        first.write(b"and in the new file")
        text = (directory / "n1").read_bytes()
        assert text.count(b"log opened") == 2 and text.endswith(b".\r\nbefore the end, after it, and in the new file")
        assert (directory / "n2").read_bytes().endswith(b".\r\nbefore the end, ")
        text = (directory / "n3").read_bytes()
        assert text.count(b"log opened") == 1 and text.endswith(b".\r\nbefore the end, ")
        assert first.bytes_logged == first.bytes_read == len(b"before the end, after it, and in the new file")
        assert (first.replay() or b"").count(b"before the end") == 1
        await looked(loop, files)
        assert (directory / "n1").read_bytes().count(b"log opened") == 2
        for log in all_logs:
            assert isinstance(log, AnyLog) and len(log.daemon_log.texts) == 1
            log.stop()
        watching.cancel()
        files.close()

    run(test)


@pytest.mark.parametrize("way", ["reopen", "switch", "another name"])
def test_a_file_that_was_deleted_takes_nothing_along_when_its_log_is_opened_anew(way: str, tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        log.write(b"before, ")
        (tmp_path / "n1").unlink()
        log.write(b"after, ")
        if way == "switch":
            assert files.switch(log, lambda: log.open_file(path=str(tmp_path / "n1")), ConsoleLog.opened)
            await files.all_opened()
        else:
            if way == "another name":
                log.reconfigure(LogOptions(), lambda: str(tmp_path / "n2"))
                log.close_file()
            await files.reopen([log])
        log.write(b"now")
        text = (tmp_path / ("n2" if way == "another name" else "n1")).read_bytes()
        assert text.endswith(b".\r\nbefore, after, now") and text.count(b"log opened") == 2
        assert log.bytes_logged == log.bytes_read == 18
        assert isinstance(log, AnyLog) and "has been deleted; it is made anew" in log.daemon_log.texts[0]
        log.stop()
        files.close()

    run(test)


def test_what_was_compressed_and_deleted_during_the_reopening_is_not_said_again(tmp_path: Path) -> None:
    """As logrotate does it with ``compress``: many logs are renamed, the daemon is told, and gzip begins."""

    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        log.write(b"compressed, ")
        (tmp_path / "n1").rename(tmp_path / "n1.1")
        log.look()
        log.write(b"perhaps not, ")
        (tmp_path / "n1.1").unlink()
        await files.open([log])
        assert (tmp_path / "n1").read_bytes().endswith(b".\r\nperhaps not, ")
        assert b"compressed" not in (tmp_path / "n1").read_bytes()
        log.stop()
        files.close()

    run(test)


@pytest.mark.parametrize("together", [True, False])
def test_logs_that_share_a_deleted_file_rescue_each_byte_once(together: bool, tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        both = logs(loop, files, [tmp_path / "n", tmp_path / "n"], lock=False)
        await files.open(both)
        (tmp_path / "n").unlink()
        for number in range(10):
            both[number % 2].write(b"line %d\r\n" % number)
        if together:
            files.look_for_deleted(both)
            await looked(loop, files)
        else:
            files.retry(both[0])
            await files.all_opened()
            for number in range(10, 40):  # more than there was before
                both[1].write(b"line %d\r\n" % number)
            files.retry(both[1])
            await files.all_opened()
        text = (tmp_path / "n").read_bytes()
        count = 10 if together else 40
        assert [text.count(b"line %d\r\n" % number) for number in range(count)] == [1] * count
        assert [log.bytes_logged for log in both] == [log.bytes_read for log in both]
        assert (both[1].replay() or b"").count(b"line %d\r\n" % (count - 1)) == 1
        for log in both:
            log.stop()
        files.close()

    run(test)


def test_a_log_that_leaves_a_deleted_file_to_another_takes_nothing_along(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        stays, moves, stops = logs(loop, files, [tmp_path / "n"] * 3, lock=False)
        await files.open([stays, moves, stops])
        (tmp_path / "n").unlink()
        for log in (stays, moves, stops):
            log.write(b"before, ")
        stops.stop()
        moves.reconfigure(LogOptions(), lambda: str(tmp_path / "other"))
        moves.close_file(elsewhere=True)
        await files.open([moves])
        files.look_for_deleted([stays])
        await looked(loop, files)
        moves.write(b"now")
        assert (tmp_path / "n").read_bytes().endswith(b".\r\nbefore, before, before, ")
        assert (tmp_path / "other").read_bytes().endswith(b".\r\nnow")
        assert [log.bytes_lost for log in (stays, moves, stops)] == [0, 0, 0]
        stays.stop()
        moves.stop()
        files.close()

    run(test)


def test_whoever_still_reads_a_deleted_file_reads_it_to_its_end(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        log.write(b"said before")
        with open(tmp_path / "n1", "rb") as reading:
            (tmp_path / "n1").unlink()
            await files.reopen([log])
            assert reading.read().endswith(b"said before")
        log.stop()
        files.close()

    run(test)


def test_what_had_room_in_a_deleted_file_comes_before_what_had_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual answer to a full disk: somebody deletes the log, and tells the daemon."""

    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        log.write(b"written, ")

        def full(_fd: int, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(console_log, "_write", full)
            log.write(b"waiting, ")
            (tmp_path / "n1").unlink()
        await files.reopen([log])
        log.write(b"now")
        assert (tmp_path / "n1").read_bytes().endswith(b".\r\nwritten, waiting, now")
        assert (log.bytes_logged, log.bytes_waiting, log.bytes_lost) == (21, 0, 0)
        log.stop()
        files.close()

    run(test)


def test_what_went_with_a_deleted_file_is_told_at_the_end(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        (tmp_path / "n1").unlink()
        log.write(b"words")
        log.stop()
        assert isinstance(log, AnyLog)
        assert log.daemon_log.texts == [
            f'Console [n1] logfile "{tmp_path}/n1" has been deleted, and 5 bytes with it'
        ]
        assert (log.bytes_logged, log.bytes_lost) == (0, 5)
        files.close()

    run(test)


async def looked(loop: ManualLoop, files: LogFiles) -> None:
    await loop.advance(DELETED_SECONDS)
    done = loop.create_future()
    files._lanes.submit("/", lambda: None, done.set_result, done.set_exception)
    await done  # it came after the look, in the same lane
    await files.all_opened()


def test_more_than_can_wait_is_marked_as_lost_with_its_file(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        (tmp_path / "n1").unlink()
        log.write(b"x" * (MAX_BACKLOG_BYTES + 1))
        files.look_for_deleted([log])
        await looked(loop, files)
        log.write(b"more")
        assert f"log lost {MAX_BACKLOG_BYTES + 1} bytes here.\r\nmore".encode() in (tmp_path / "n1").read_bytes()
        assert (log.bytes_lost, log.bytes_logged) == (MAX_BACKLOG_BYTES + 1, 4)
        log.stop()
        files.close()

    run(test)


def test_a_renamed_file_is_written_until_the_reopening_as_logrotate_expects(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        (log,) = logs(loop, files, [tmp_path / "n1"])
        await files.open([log])
        (tmp_path / "n1").rename(tmp_path / "n1.1")
        log.write(b"still here")
        files.look_for_deleted([log])
        await looked(loop, files)
        assert os.listdir(tmp_path) == ["n1.1"]
        log.stop()
        files.close()

    run(test)


def test_nothing_to_open_is_no_work() -> None:
    async def test(loop: ManualLoop) -> None:
        files = LogFiles(loop)
        await files.open([])
        await files.reopen([])
        files.close()

    run(test)


# The periodic line


class StampedLog:
    def __init__(self) -> None:
        self.stamps: List[float] = []
        self.is_stopped = False

    def stamp(self, now: float) -> None:
        self.stamps.append(now)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[float]]:
    """The difference of wall clock and loop clock: set ``wall[0]`` to set the clock."""
    offset = [0.0]

    def now() -> float:
        return asyncio.get_running_loop().time() - 1000 + offset[0]

    with in_zone(monkeypatch, "UTC"):
        monkeypatch.setattr(log_files.time, "time", now)
        yield offset


class in_zone:  # noqa: N801
    def __init__(self, patch: pytest.MonkeyPatch, zone: str) -> None:
        self._patch, self._zone = patch, zone

    def __enter__(self) -> None:
        self._before = os.environ.get("TZ")
        os.environ["TZ"] = self._zone
        time.tzset()

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = self._before
        time.tzset()


def stamping(loop: ManualLoop, minutes: int) -> tuple[StampedLog, asyncio.Task[None]]:
    log = StampedLog()
    return log, loop.create_task(stamp_at_intervals([log], minutes))  # type: ignore[list-item]


def test_stamps_come_at_each_multiple_of_the_interval(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        wall[0] = 30 * 60.0  # 00:30
        log, _task = stamping(loop, 60)
        await loop.advance(3 * 3600)
        assert log.stamps == [3600, 2 * 3600, 3 * 3600]

    run(test)


def test_intervals_that_do_not_divide_the_day_go_on_over_midnight(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        wall[0] = 22 * 3600.0
        log, _task = stamping(loop, 7 * 60)
        await loop.advance(13 * 3600)
        assert log.stamps == [28 * 3600, 35 * 3600]

    run(test)


def test_a_clock_set_forward_gives_one_line_and_the_next_on_time(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        log, _task = stamping(loop, 60)
        await loop.advance(60)
        wall[0] = 10 * 3600.0 + 1800
        await loop.advance(3600)
        assert log.stamps == [wall[0] + 120, 11 * 3600]

    run(test)


def test_a_clock_that_was_decades_behind_costs_nothing(wall: List[float]) -> None:
    """A machine without a battery starts in 1970; NTP comes later. One line, and no counting of the minutes between."""

    async def test(loop: ManualLoop) -> None:
        log, _task = stamping(loop, 1)
        await loop.advance(30)
        wall[0] = 1e17
        await loop.advance(60)
        assert len(log.stamps) <= 2

    run(test)


def test_a_clock_set_back_is_followed(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        wall[0] = 10 * DAY
        log, _task = stamping(loop, 60)
        await loop.advance(60)
        wall[0] = 0.0
        await loop.advance(3600 + 60)
        assert log.stamps == [3600]

    run(test)


def test_stamping_many_logs_lets_others_work_between(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        many = [StampedLog() for _ in range(3 * BATCH)]
        task = loop.create_task(stamp_at_intervals(many, 1))  # type: ignore[arg-type]
        await settle()
        loop._now += 60
        await asyncio.sleep(0)
        seen = set()
        for _ in range(20):
            seen.add(sum(bool(log.stamps) for log in many))
            await asyncio.sleep(0)
        assert {BATCH, 2 * BATCH, 3 * BATCH} <= seen
        task.cancel()

    run(test)


def test_logs_that_come_and_go_between_are_stamped_once_or_not_at_all(wall: List[float]) -> None:
    async def test(loop: ManualLoop) -> None:
        many = [StampedLog() for _ in range(2 * BATCH)]
        before = list(many)
        task = loop.create_task(stamp_at_intervals(many, 1))  # type: ignore[arg-type]
        await settle()
        loop._now += 60
        while not many[BATCH - 1].stamps:
            await asyncio.sleep(0)
        gone = many.pop(0), many.pop()
        for log in gone:
            log.is_stopped = True
        many.append(StampedLog())
        await settle(20)
        assert all(len(log.stamps) == (log is not gone[1]) for log in before)
        assert not many[-1].stamps
        task.cancel()

    run(test)


@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "EST5EDT"]),
    st.floats(1.7e9, 1.9e9),
    st.integers(1, 3 * 1440),
)
def test_the_first_stamp_is_after_now_and_within_the_interval(zone: str, now: float, minutes: int) -> None:
    with in_zone(pytest.MonkeyPatch(), zone):
        due = first_stamp(now, minutes)
    assert due > now
    assert due - now <= 60 * minutes + 3600  # the hour that is put in


@pytest.mark.parametrize(
    "minutes, minute_of_day", [(1, 13 * 60 + 38), (30, 14 * 60), (60, 14 * 60), (120, 14 * 60), (1440, 1440), (50, 850)]
)
def test_the_first_stamp_is_a_multiple_of_the_interval_since_midnight(minutes: int, minute_of_day: int) -> None:
    with in_zone(pytest.MonkeyPatch(), "UTC"):
        assert first_stamp(13 * 3600 + 37 * 60 + 59.5, minutes) == minute_of_day * 60


def test_a_start_in_the_second_pass_of_the_hour_that_comes_twice_waits_for_the_next_multiple() -> None:
    second_half_past_two = 1792891800.0  # 2026-10-25 in Berlin
    with in_zone(pytest.MonkeyPatch(), "Europe/Berlin"):
        assert first_stamp(second_half_past_two, 10) == second_half_past_two + 600
