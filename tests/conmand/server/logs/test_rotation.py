"""Rotation by the daemon: when, to which names, and not a byte lost or doubled over the switch."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conmand.config.model import LogOptions
from conmand.config.settings import RotationSettings
from conmand.server.children import ChildReaper
from conmand.server.logs import console_log, rotated_files, rotation
from conmand.server.logs.clock import LogClock
from conmand.server.logs.console_log import BacklogBudget, ConsoleLog
from conmand.server.logs.files import LogFiles
from conmand.server.logs.lanes import Lanes
from conmand.server.logs.rotated_files import RotatedFile
from conmand.server.logs.rotation import LOOK_SECONDS, RETRY_SECONDS, Rotation, changed_units, units_of
from tests.fakes.loops import ManualLoop, run
from tests.fakes.sinks import RecordingLog

NOTICE = re.compile(rb"\r\n<ConMan> [^\r]*\.\r\n")
ALL = frozenset({"day", "hour", "minute"})


class Rotated:
    """Logs in a directory, and their rotation, looked at by hand."""

    def __init__(self, loop: ManualLoop, directory: Path, **settings: Any) -> None:
        self.loop, self.directory = loop, directory
        self.daemon_log = RecordingLog()
        self.files = LogFiles(loop, Lanes(loop, lambda path: "all"))
        self.children = ChildReaper(loop)
        self.children.start()
        settings.setdefault("compress", "none")
        self.rotation = Rotation(RotationSettings(**settings), self.files, loop, self.daemon_log, self.children)
        self.logs: List[ConsoleLog] = []

    async def open(
        self, name: str, path: Optional[Callable[[], str]] = None, pattern: str = "", **options: bool
    ) -> ConsoleLog:
        log = ConsoleLog(
            name,
            LogOptions(**options),
            path or (lambda: str(self.directory / name)),
            clock=LogClock(),
            daemon_log=self.daemon_log,
            budget=BacklogBudget(),
            loop=self.loop,
            retry_open=self.files.retry,
        )
        self.logs.append(log)
        self.rotation.add(log, pattern)
        await self.files.open([log])
        return log

    async def look(self, now: Optional[float] = None, units: frozenset = frozenset()) -> None:  # type: ignore[type-arg]
        await self.rotation.settled()  # a log whose old files are being seen to is not rotated
        await self.rotation.look(time.time() if now is None else now, units)
        await self.rotation.settled()
        await self.files.all_opened()
        await self.rotation.settled()

    def content(self) -> Dict[str, bytes]:
        """What the device said, in each file."""
        found = {}
        for path in sorted(self.directory.iterdir()):
            data = path.read_bytes()
            if path.name.endswith(".gz"):
                data = gzip.decompress(data)
            found[path.name] = NOTICE.sub(b"", data)
        return found

    async def close(self) -> None:
        await self.rotation.close()
        for log in self.logs:
            log.stop()
        self.files.close()


def test_a_log_that_exceeds_its_size_goes_on_in_a_new_file(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1000, keep=2)
        log = await it.open("n1")
        for number in range(4):
            log.write(b"%d" % number * 500)
            await it.look()
            log.write(b"%d" % number * 500)
            await it.look()
        log.write(b"end")
        assert it.content() == {"n1": b"end", "n1.1": b"3" * 1000, "n1.2": b"2" * 1000}
        assert (tmp_path / "n1").read_bytes().startswith(b"\r\n<ConMan> Console [n1] log opened at ")
        assert it.daemon_log.texts == []
        assert log.bytes_logged == log.bytes_read == 4003
        await it.close()

    run(test)


def test_a_size_below_that_of_the_first_line_does_not_rotate_silence(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1)
        log = await it.open("n1")
        await it.look()
        log.write(b"a")
        await it.look()
        await it.look()
        assert it.content() == {"n1": b"", "n1.1": b"a"}
        await it.close()

    run(test)


def test_what_is_said_during_the_switch_is_in_one_file_or_the_other(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=100)
        log = await it.open("n1", timestamp=False)
        said = b""
        for number in range(300):
            said += b"line %d\r\n" % number
            log.write(b"line %d\r\n" % number)
            if number % 20 == 0:
                await it.rotation.look(time.time())  # and does not wait for it
            await asyncio.sleep(0)
        await it.look()
        files = it.content()
        assert 1 < len(files) <= 8
        assert said.endswith(b"".join(files[name] for name in sorted(files, key=age_of)))
        assert NOTICE.sub(b"", log.replay() or b"").endswith(b"line 298\r\nline 299\r\n")
        await it.close()

    run(test)


def age_of(name: str) -> int:
    """For sorting: the oldest first."""
    number = re.search(r"\.(\d+)(\.gz|\.zst)?$", name)
    return -int(number[1]) if number else 0


def test_replay_goes_on_over_the_switch(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=100)
        log = await it.open("n1")
        log.write(b"before" * 50)
        await it.look()
        log.write(b"after")
        replay = log.replay() or b""
        assert NOTICE.sub(b"|", replay) == b"|" + b"before" * 50 + b"|after"
        await it.close()

    run(test)


def test_the_new_file_has_the_mode_of_the_old_and_is_locked(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        log = await it.open("n1")
        (tmp_path / "n1").chmod(0o640)
        log.write(b"x" * 10)
        await it.look()
        assert (tmp_path / "n1").stat().st_mode & 0o777 == 0o640
        take = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        for name, is_locked in (("n1", True), ("n1.1", False)):
            other = subprocess.run([sys.executable, "-c", take, str(tmp_path / name)], stderr=subprocess.DEVNULL)
            assert bool(other.returncode) is is_locked
        await it.close()

    run(test)


def test_age_counts_from_the_line_that_the_file_begins_with_over_restarts(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        begun = time.mktime((2020, 1, 2, 3, 4, 5, 0, 0, -1))
        (tmp_path / "n1").write_bytes(b"\r\n<ConMan> Console [n1] log opened at 2020-01-02 03:04:05 CET.\r\nold\r\n")
        (tmp_path / "n2").write_bytes(b"no such line")
        os.utime(tmp_path / "n2", (begun, begun))
        it = Rotated(loop, tmp_path, age_seconds=3600)
        logs = [await it.open("n1"), await it.open("n2")]
        assert [log.begun for log in logs] == [begun, begun]
        for log in logs:
            log.write(b"x")
        await it.look(begun + 3599)
        assert sorted(it.content()) == ["n1", "n2"]
        await it.look(begun + 3600)
        assert sorted(it.content()) == ["n1", "n1.1", "n2", "n2.1"]
        (await it.open("n3")).write(b"x")
        now = time.time()
        await it.look(now + 3500)
        assert sorted(it.content()) == ["n1", "n1.1", "n2", "n2.1", "n3"]
        await it.look(now + 3700)
        # Nothing has been said in the other two since.
        assert sorted(it.content()) == ["n1", "n1.1", "n2", "n2.1", "n3", "n3.1"]
        await it.close()

    run(test)


def test_consoles_that_share_a_file_go_on_together(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=100, compress="gzip")
        shared = lambda: str(tmp_path / "all")  # noqa: E731
        first, second = await it.open("n1", shared), await it.open("n2", shared)
        first.write(b"1" * 200)
        second.write(b"2" * 10)
        await it.look()
        first.write(b"one")
        second.write(b"two")
        assert it.content() == {"all": b"onetwo", "all.1.gz": b"1" * 200 + b"2" * 10}
        await it.close()

    run(test)


def test_a_file_that_somebody_has_renamed_is_left_alone_and_the_log_follows_the_name(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=100)
        log = await it.open("n1")
        log.write(b"x" * 200)
        (tmp_path / "n1").rename(tmp_path / "taken")
        await it.look()
        log.write(b"new")
        assert it.content() == {"n1": b"new", "taken": b"x" * 200}
        await it.close()

    run(test)


def test_pipes_and_devices_are_not_rotated(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1, age_seconds=1)
        os.mkfifo(tmp_path / "fifo")
        reading = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        fifo = await it.open("fifo", lock=False)
        null = await it.open("null", lambda: "/dev/null", lock=False)
        for log in (fifo, null):
            log.write(b"x" * 100)
        await it.look(time.time() + 100)
        assert sorted(os.listdir(tmp_path)) == ["fifo"]
        os.close(reading)
        await it.close()

    run(test)


def test_a_link_stays_and_what_it_leads_to_is_rotated(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        (tmp_path / "disk").mkdir()
        (tmp_path / "n1").symlink_to(tmp_path / "disk" / "real")
        log = await it.open("n1")
        log.write(b"x" * 10)
        await it.look()
        assert (tmp_path / "n1").is_symlink()
        assert sorted(os.listdir(tmp_path / "disk")) == ["real", "real.1"]
        await it.close()

    run(test)


def test_a_rotated_file_never_takes_the_name_of_a_log(tmp_path: Path) -> None:
    """Nor are the logs of a console "n1.2" taken for rotated ones of "n1"."""

    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10, keep=2, quota_bytes=1, compress="gzip")
        logs = [await it.open("n1"), await it.open("n1.2"), await it.open("n1.1")]
        for _ in range(3):
            for log in logs:
                log.write(log.name.encode() * 10)
            await it.look()
        assert it.content()["n1"] == b"n1" * 30
        assert it.daemon_log.texts.count(f'Log "{tmp_path}/n1" is not rotated: "{tmp_path}/n1.1" is a log too') == 1
        assert {"n1", "n1.1", "n1.2"} <= set(it.content())
        await it.close()

    run(test)


def test_a_rotation_that_fails_leaves_the_log_in_its_file_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        log = await it.open("n1")
        log.write(b"x" * 10)

        def refuse(_base: str, _keep: int) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(rotation.rotated_files, "rotate", refuse)
            for _ in range(3):
                await it.look()
                log.write(b"y")
                await loop.advance(RETRY_SECONDS)
        complaint = f'Unable to rotate logfile "{tmp_path}/n1": Permission denied; the log goes on in its old file'
        assert it.daemon_log.texts == [complaint]
        assert it.content() == {"n1": b"x" * 10 + b"yyy"}
        await it.look()
        assert sorted(it.content()) == ["n1", "n1.1"]
        await it.close()

    run(test)


def test_a_new_file_that_cannot_be_opened_gives_the_old_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        log = await it.open("n1")
        log.write(b"x" * 10)
        real = console_log.open_log_file
        with monkeypatch.context() as patch:
            patch.setattr(
                console_log,
                "open_log_file",
                lambda path, *_, **__: console_log.Opened(path, -1, f'Unable to open logfile "{path}": no room'),
            )
            await it.look()
        log.write(b"more")
        assert it.content() == {"n1": b"x" * 10 + b"more"}
        assert "goes on in its old file" in it.daemon_log.texts[-1]
        assert console_log.open_log_file is real
        await it.close()

    run(test)


@pytest.mark.parametrize("method, ending", [("gzip", ".gz"), ("zstd", ".zst")])
def test_old_files_are_compressed(method: str, ending: str, tmp_path: Path) -> None:
    if shutil.which(method) is None:
        assert not os.environ.get("CI"), f"{method} is missing"
        pytest.skip(f"{method} is missing")

    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1000, compress=method)
        (tmp_path / "n1.1").write_bytes(b"of an earlier daemon")
        log = await it.open("n1")
        for letter in (b"a", b"b"):
            log.write(letter * 100_000)
            await it.look()
        assert sorted(os.listdir(tmp_path)) == ["n1", *(f"n1.{number}{ending}" for number in (1, 2, 3))]
        for number, said in ((1, b"b" * 100_000), (2, b"a" * 100_000), (3, b"of an earlier daemon")):
            file = tmp_path / f"n1.{number}{ending}"
            unpacked = subprocess.run([method, "-dc", str(file)], capture_output=True, check=True)
            assert NOTICE.sub(b"", unpacked.stdout) == said
        assert it.daemon_log.texts == []
        await it.close()

    run(test)


def test_a_file_that_is_gone_when_its_turn_comes_is_nothing_to_complain_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small quota removes them while they wait, and so may whoever cleans up."""

    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1000, compress="gzip")
        listed = rotated_files.uncompressed

        def then_removed(base: str, busy: Any) -> List[RotatedFile]:
            files = listed(base, busy)
            os.unlink(tmp_path / "n1.1")
            return files

        log = await it.open("n1")
        for letter in (b"a", b"b"):
            monkeypatch.setattr(rotated_files, "uncompressed", then_removed if letter == b"a" else listed)
            log.write(letter * 2000)
            await it.look()
        assert it.content() == {"n1": b"", "n1.1.gz": b"b" * 2000}
        assert it.daemon_log.texts == []
        await it.close()

    run(test)


def test_without_the_program_files_stay_as_they_are_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
        it = Rotated(loop, tmp_path, size_bytes=10, compress="zstd")
        logs = [await it.open(name) for name in ("n1", "n2")]
        for _ in range(2):
            for log in logs:
                log.write(b"x" * 10)
            await it.look()
        assert sorted(it.content()) == ["n1", "n1.1", "n1.2", "n2", "n2.1", "n2.2"]
        assert it.daemon_log.texts == [
            "Unable to compress rotated logs: cannot run zstd: No such file or directory; they stay as they are"
        ]
        await it.close()

    run(test)


def test_the_quota_removes_the_oldest_of_all_logs(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=1000, quota_bytes=5000)
        logs = [await it.open(name) for name in ("n1", "n2")]
        for number in range(6):
            log = logs[number % 2]
            log.write(b"%d" % number * 1500)
            await it.look()
            newest = tmp_path / f"{log.name}.1"
            os.utime(newest, (1000 + number, 1000 + number))
        await it.look()
        assert it.rotation.retention.total_bytes <= 5000
        assert {name: said[:1] for name, said in it.content().items() if said} == {
            "n1.1": b"4",
            "n2.1": b"5",
            "n2.2": b"3",
        }
        assert any("to stay within the quota" in text for text in it.daemon_log.texts)
        await it.close()

    run(test)


def test_the_quota_is_for_what_compression_leaves(tmp_path: Path) -> None:
    """All logs of an age are rotated together: uncompressed, one file of each may exceed the quota for a while."""

    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=20_000, quota_bytes=15_000, keep=100, compress="gzip")
        logs = [await it.open(name) for name in ("n1", "n2", "n3")]
        for number in range(8):
            for log in logs:
                log.write(b"%d" % number * 25_000)
            await it.look()
        names = [f"{log.name}.{number}.gz" for log in logs for number in range(1, 9)]
        assert sorted(it.content()) == sorted(["n1", "n2", "n3", *names])
        assert it.rotation.retention.total_bytes < 15_000
        assert it.daemon_log.texts == []
        await it.close()

    run(test)


def test_files_that_cannot_be_compressed_count_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "none"))
        it = Rotated(loop, tmp_path, size_bytes=1000, quota_bytes=5000, keep=100, compress="zstd")
        log = await it.open("n1")
        for number in range(8):
            log.write(b"%d" % number * 1500)
            await it.look()
        assert it.rotation.retention.total_bytes <= 5000
        assert sorted(it.content()) == ["n1", "n1.1", "n1.2", "n1.3"]
        assert any("to stay within the quota" in text for text in it.daemon_log.texts)
        await it.close()

    run(test)


def test_a_clock_that_was_ahead_delays_a_rotation_by_no_more_than_the_age(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        (tmp_path / "n1").write_bytes(b"\r\n<ConMan> Console [n1] log opened at 2130-01-01 00:00:00 UTC.\r\nold")
        it = Rotated(loop, tmp_path, age_seconds=60)
        log = await it.open("n1")
        log.write(b"new")
        now = time.time()
        await it.look(now)
        await it.look(now + 59)
        assert sorted(it.content()) == ["n1"]
        await it.look(now + 60)
        assert sorted(it.content()) == ["n1", "n1.1"]
        await it.close()

    run(test)


def test_a_log_whose_name_has_a_date_follows_it(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        day = ["mon"]
        it = Rotated(loop, tmp_path, roll_over=True)
        log = await it.open("n1", lambda: str(tmp_path / day[0]), "%N-%d")
        plain = await it.open("n2", lambda: str(tmp_path / f"plain-{day[0]}"), "%N-%S")
        log.write(b"monday")
        await it.look(units=ALL)
        day[0] = "tue"
        log.write(b", late")
        await it.look(units=frozenset({"minute"}))
        assert log.path == str(tmp_path / "mon")
        await it.look(units=ALL)
        log.write(b"tuesday")
        plain.write(b"same")
        assert it.content() == {"mon": b"monday, late", "tue": b"tuesday", "plain-mon": b"same"}
        await it.close()

    run(test)


def test_a_name_that_cannot_be_followed_is_tried_again(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        day = ["mon"]
        it = Rotated(loop, tmp_path, roll_over=True)
        log = await it.open("n1", lambda: str(tmp_path / day[0] / "n1"), "%d")
        (tmp_path / "tue").write_text("in the way")
        day[0] = "tue"
        await it.look(units=ALL)
        log.write(b"still monday")
        assert (
            it.daemon_log.texts
            == [f'Cannot create directory "{tmp_path}/tue": File exists; the log goes on in its old file']
            or "goes on in its old file" in it.daemon_log.texts[0]
        )
        (tmp_path / "tue").unlink()
        await loop.advance(RETRY_SECONDS)
        await it.look()
        log.write(b"tuesday")
        assert (tmp_path / "tue" / "n1").read_bytes().endswith(b"tuesday")
        assert (tmp_path / "mon" / "n1").read_bytes().endswith(b"still monday")
        await it.close()

    run(test)


def test_it_looks_by_itself_and_not_at_logs_that_are_gone(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        log, gone = await it.open("n1"), await it.open("n2")
        it.rotation.start()
        for each in (log, gone):
            each.write(b"x" * 10)
        gone.stop()
        await loop.advance(LOOK_SECONDS)
        await it.rotation.settled()
        assert sorted(it.content()) == ["n1", "n1.1", "n2"]
        await it.close()
        log.write(b"x" * 10)
        await loop.advance(10)
        assert sorted(it.content()) == ["n1", "n1.1", "n2"]

    run(test)


def test_settings_can_change_and_cost_nothing_while_they_ask_for_nothing(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path)
        log = await it.open("n1")
        it.rotation.start()
        log.write(b"x" * 100)
        it.rotation.configure(RotationSettings(size_bytes=100, compress="none"), [(log, "%N")])
        await loop.advance(LOOK_SECONDS)
        await it.rotation.settled()
        assert sorted(it.content()) == ["n1", "n1.1"]
        await it.close()

    run(test)


def test_a_log_that_is_being_opened_waits_for_its_turn(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        it = Rotated(loop, tmp_path, size_bytes=10)
        log = await it.open("n1")
        log.write(b"x" * 10)
        it.files.retry(log)
        await it.rotation.look(time.time())
        await it.files.all_opened()
        log.write(b"y")
        await it.look()
        assert it.content() == {"n1": b"", "n1.1": b"x" * 10 + b"y"}
        await it.close()

    run(test)


@pytest.mark.parametrize(
    "pattern, units",
    [
        ("%N.log", set()),
        ("%N/%Y-%m-%d", {"day"}),
        ("%H/%N", {"hour"}),
        ("%d%H%M", {"day", "hour", "minute"}),
        ("%N.%s%S%P%D", set()),
        ("%%d", set()),
        ("100%", set()),
    ],
)
def test_what_changes_a_name(pattern: str, units: set[str]) -> None:
    assert units_of(pattern) == units


@pytest.mark.parametrize(
    "before, now, units",
    [
        ((2026, 1, 1, 0, 0, 0), (2026, 1, 1, 0, 0, 59), set()),
        ((2026, 1, 1, 0, 0, 59), (2026, 1, 1, 0, 1, 0), {"minute"}),
        ((2026, 1, 1, 0, 59, 59), (2026, 1, 1, 1, 0, 0), {"hour", "minute"}),
        ((2026, 1, 1, 0, 0, 0), (2026, 1, 2, 0, 0, 0), {"day", "hour", "minute"}),
        ((2026, 1, 1, 5, 0, 0), (2025, 1, 1, 5, 0, 0), {"day", "hour", "minute"}),  # the clock was set
    ],
)
def test_what_has_changed_between_two_looks(before: Tuple[int, ...], now: Tuple[int, ...], units: set[str]) -> None:
    def local(fields: Tuple[int, ...]) -> time.struct_time:
        return time.localtime(time.mktime((*fields, 0, 0, -1)))  # type: ignore[arg-type]

    assert changed_units(local(before), local(now)) == units


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.integers(1, 120), st.sampled_from(["look", "reopen", "later"])), max_size=25), st.booleans()
)
def test_in_any_order_of_events_each_byte_is_in_one_file(steps: List[object], compress: bool) -> None:
    async def test(loop: ManualLoop) -> None:
        with tempfile.TemporaryDirectory() as name:
            method = "gzip" if compress else "none"
            it = Rotated(loop, Path(name), size_bytes=100, keep=100, compress=method)
            log = await it.open("n1")
            said, number = b"", 0
            for step in steps:
                if step == "look":
                    await it.rotation.look(time.time())
                elif step == "reopen":
                    await it.files.reopen([log])
                elif step == "later":
                    await it.rotation.settled()
                    await loop.advance(2 * RETRY_SECONDS)
                else:
                    assert isinstance(step, int)
                    number += 1
                    data = (b"%d." % number) * step
                    log.write(data)
                    said += data
            await it.look()
            await it.files.all_opened()
            files = it.content()
            assert b"".join(files[file] for file in sorted(files, key=age_of)) == said
            assert log.bytes_logged == len(said)
            assert it.daemon_log.texts == []
            await it.close()

    run(test)
