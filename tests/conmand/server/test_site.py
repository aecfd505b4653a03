"""A site that takes another configuration: all becomes what that says, and what it does not change notices nothing."""

from __future__ import annotations

import gc
import os
import socket
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conmand.config.changes import ConsoleChanges, console_changes
from conmand.config.model import (
    ConsoleSettings,
    Device,
    LogOptions,
    ProcessDevice,
    ServerSettings,
    TelnetDevice,
    TestDevice,
    TestOptions,
    UnixDevice,
)
from conmand.config.settings import DaemonSettings
from conmand.consoles.base import Console, State
from conmand.server.hub import SharedConsole
from conmand.server.logs.console_log import ConsoleLog
from conmand.server.site import STARTED_TOGETHER, Site, SiteOptions
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.sinks import RecordingLog, open_descriptors

SILENT = TestDevice(TestOptions(burst_bytes=0))
SERVER, SETTINGS = ServerSettings(), DaemonSettings()


class Case:
    def __init__(self, loop: ManualLoop, consoles: Sequence[ConsoleSettings], server: ServerSettings) -> None:
        self.loop = loop
        self.daemon_log = RecordingLog()
        self.bugs = loop.bugs
        options = SiteOptions(foreground=True, truncate_logs=False)
        self.site = Site(server, consoles, options, self.daemon_log, loop)

    @property
    def configured(self) -> List[ConsoleSettings]:
        return [console.device.settings for console in self.site.consoles.values()]

    async def apply(self, *consoles: ConsoleSettings, server: ServerSettings = SERVER) -> ConsoleChanges:
        changes = console_changes(self.configured, consoles)
        await self.site.apply(server, changes, SETTINGS)
        return changes

    async def opened(self) -> None:
        """Until everything of the last change is open."""
        opening = self.site._opening
        assert opening is not None
        await opening

    def console(self, name: str) -> SharedConsole:
        return self.site.consoles[name]

    def log(self, name: str) -> ConsoleLog:
        log = self.site.consoles[name].log
        assert log is not None
        return log


@asynccontextmanager
async def started(loop: ManualLoop, *consoles: ConsoleSettings, server: ServerSettings = SERVER) -> AsyncIterator[Case]:
    case = Case(loop, consoles, server)
    case.site.start()
    await case.opened()
    try:
        yield case
    finally:
        await case.site.stop()
        assert not case.bugs


def console(name: str, log: Optional[Path] = None, device: Device = SILENT, **options: bool) -> ConsoleSettings:
    return ConsoleSettings(name, device, None if log is None else str(log), LogOptions(**options))


# Any configuration after any other.

configurations = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.tuples(
        st.sampled_from([SILENT, TestDevice(TestOptions(burst_bytes=0, max_delay_ms=5)), UnixDevice("/no/such")]),
        st.sampled_from([None, "%N.log", "%N.other", "%D.log"]),
        st.builds(LogOptions, lock=st.booleans(), timestamp=st.booleans()),
    ),
)
Described = Dict[str, Tuple[Device, Optional[str], LogOptions]]


def consoles_of(described: Described, directory: Path) -> List[ConsoleSettings]:
    return [
        ConsoleSettings(name, device, None if log is None else f"{directory}/{name}{log}", options)
        for name, (device, log, options) in described.items()
    ]


@settings(max_examples=60, deadline=None)
@given(configurations, st.lists(configurations, min_size=1, max_size=3))
def test_after_any_change_all_is_as_configured_and_the_rest_is_untouched(
    tmp_path_factory: pytest.TempPathFactory, first: Described, others: List[Described]
) -> None:
    directory = tmp_path_factory.mktemp("site")

    async def test(loop: ManualLoop) -> None:
        async with started(loop, *consoles_of(first, directory)) as case:
            for described in others:
                before = {
                    name: (one, one.device, one.log, one.log and one.log._fd)
                    for name, one in case.site.consoles.items()
                }
                wanted = consoles_of(described, directory)
                changes = await case.apply(*wanted)
                await case.opened()
                assert {one.name: meant(one) for one in case.configured} == {one.name: meant(one) for one in wanted}
                touched = {change.name for change in changes.changed} | {one.name for one in changes.added}
                for name, one in case.site.consoles.items():
                    if name in before:
                        assert one is before[name][0]
                    if name not in touched:
                        assert (one, one.device, one.log, one.log and one.log._fd) == before[name]
                    assert (one.log is None) == (one.device.settings.log is None)
                    assert one.log is None or one.log.is_open
                    assert one.device.state is not State.DOWN or one.device.retry_seconds is not None
                assert set(case.site.logs) == {one.log for one in case.site.consoles.values() if one.log}
                gone = [log for _one, _device, log, _fd in before.values() if log and log not in case.site.logs]
                assert all(log.is_stopped for log in gone)

    run(test)


def meant(one: ConsoleSettings) -> ConsoleSettings:
    return one if one.log else replace(one, log_options=LogOptions())


# What happens to logs.


def test_a_log_under_another_name_goes_on_there_and_the_others_are_left_alone(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        kept = console("kept", tmp_path / "kept")
        async with started(loop, console("n", tmp_path / "old"), kept) as case:
            log = case.log("n")
            case.console("n").publish(b"before ")
            await case.apply(console("n", tmp_path / "new"), kept)
            case.console("n").publish(b"between ")
            await case.opened()
            case.console("n").publish(b"after")
            assert case.log("n") is log
            assert (tmp_path / "old").read_bytes().endswith(b"before ")
            assert (tmp_path / "new").read_bytes().endswith(b"between after")
            assert (tmp_path / "kept").read_bytes().count(b"log opened") == 1

    run(test)


def test_options_of_the_text_count_without_opening_anything(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        async with started(loop, console("n", tmp_path / "log")) as case:
            await case.apply(console("n", tmp_path / "log", sanitize=True))
            case.console("n").publish(b"\x01\n")
            await case.opened()
            text = (tmp_path / "log").read_bytes()
            assert text.endswith(b"^A\r\n") and text.count(b"log opened") == 1

    run(test)


def test_two_consoles_may_exchange_their_logs_and_both_are_locked(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        async with started(loop, console("a", one), console("b", two)) as case:
            await case.apply(console("a", two), console("b", one))
            await case.opened()
            case.console("a").publish(b"of a")
            case.console("b").publish(b"of b")
            assert is_locked(one) and is_locked(two)  # before they are read: closing ends a lock
            assert two.read_bytes().endswith(b"of a") and one.read_bytes().endswith(b"of b")

    run(test)


def is_locked(path: Path) -> bool:
    """As /proc/locks has it."""
    inode = f":{path.stat().st_ino} "
    return any(inode in line and f" {os.getpid()} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_log_that_comes_later_and_one_that_goes(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "log"
        async with started(loop, console("n")) as case:
            await case.apply(console("n", path))
            await case.opened()
            case.console("n").device.sink.record(b"recorded")
            assert path.read_bytes().endswith(b"recorded")
            await case.apply(console("n"))
            case.console("n").publish(b"nowhere")
            assert not path.read_bytes().endswith(b"nowhere") and case.site.logs == []

    run(test)


def test_a_removed_console_says_so_in_its_log(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "log"
        async with started(loop, console("n", path), console("m")) as case:
            await case.apply(console("m"))
            assert path.read_bytes().endswith(b"\r\n<ConMan> Console [n] is no longer configured.\r\n")
            assert list(case.site.consoles) == ["m"]

    run(test)


# What happens to devices.


def test_another_address_is_connected_to_after_the_old_connection_is_closed(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            devices = [TelnetDevice("127.0.0.1", sock.getsockname()[1]) for sock in (one, two)]
            one.setblocking(False)
            two.setblocking(False)
            async with started(loop, console("n", device=devices[0])) as case:
                first, _ = await loop.sock_accept(one)
                await case.daemon_log.until("[n] connected")
                await case.apply(console("n", device=devices[1]))
                assert any("is reconfigured: disconnected from <127.0.0.1:" in text for text in case.daemon_log.texts)
                second, _ = await loop.sock_accept(two)
                with first, second:
                    first.setblocking(False)
                    while await loop.sock_recv(first, 1000):
                        pass

    run(test)


def test_a_program_is_started_when_the_one_before_has_gone(tmp_path: Path) -> None:
    """The old one may hold what the new one wants: a BMC has one session."""

    async def test(loop: ManualLoop) -> None:
        order = tmp_path / "order"
        old = tmp_path / "old"
        old.write_text(f"#!/bin/sh\necho old begins >>{order}\ncat >/dev/null\necho old ends >>{order}\n")
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho new begins >>{order}\nexec cat\n")
        for path in (old, new):
            path.chmod(0o755)
        changed = console("c", device=ProcessDevice((str(old),)))
        async with started(loop, changed, console("removed", device=ProcessDevice((str(old),)))) as case:
            pids = case.site.children.pids()
            assert len(pids) == 2
            await until(loop, lambda: order.exists() and order.read_text().count("begins") == 2)
            await case.apply(
                console("c", device=ProcessDevice((str(new),))), console("added", device=ProcessDevice((str(new),)))
            )
            await case.opened()
            assert not any(case.site.children.is_running(pid) for pid in pids)
            await until(loop, lambda: order.read_text().count("new") == 2)
            assert order.read_text().split("\n") == [
                *["old begins"] * 2,
                *["old ends"] * 2,
                *["new begins"] * 2,
                "",
            ]

    run(test)


async def until(loop: ManualLoop, condition: Any) -> None:
    while not condition():
        await loop.run_in_executor(None, os.sched_yield)


@pytest.mark.parametrize("count", [0, 1, STARTED_TOGETHER, STARTED_TOGETHER + 1, 3 * STARTED_TOGETHER + 8])
def test_consoles_start_in_order_each_when_its_log_is_open(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        case = Case(loop, [console(f"n{number}", tmp_path / f"n{number}") for number in range(count)], SERVER)
        started: List[Tuple[str, bool]] = []
        monkeypatch.setattr(Console, "start", lambda one: started.append((one.name, case.log(one.name).is_open)))
        case.site.start()
        await case.opened()
        assert started == [(f"n{number}", True) for number in range(count)]
        await case.site.stop()

    run(test)


def test_a_console_whose_start_fails_is_reported_and_keeps_no_other_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(loop: ManualLoop) -> None:
        def start(one: Console) -> None:
            if one.name in ("a", "d"):
                raise ValueError("a mistake")
            one.state = State.UP

        case = Case(loop, [console(name) for name in "abc"], SERVER)
        with monkeypatch.context() as patch:
            patch.setattr(Console, "start", start)
            case.site.start()
            await case.opened()
            await case.apply(*[console(name) for name in "abcde"])
            await case.opened()
        assert {name: case.console(name).device.state is State.UP for name in "abcde"} == dict(
            zip("abcde", [False, True, True, False, True])
        )
        assert [bug["message"] for bug in case.bugs] == ["the start of [a] failed", "the start of [d] failed"]
        case.bugs.clear()
        await case.site.stop()

    run(test)


def test_a_change_during_the_start_waits_for_it(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        consoles = [console(f"n{number}", tmp_path / f"n{number}") for number in range(200)]
        case = Case(loop, consoles, SERVER)
        case.site.start()
        await settle(2)
        assert any(one.device.state is State.DOWN for one in case.site.consoles.values())
        await case.apply(*consoles[::2], console("new", tmp_path / "new"))
        assert all(case.console(one.name).device.state is State.UP for one in consoles[::2])
        await case.opened()
        assert case.console("new").device.state is State.UP and case.log("new").is_open
        assert (tmp_path / "n199").read_bytes().endswith(b"no longer configured.\r\n")
        await case.site.stop()
        assert not case.bugs

    run(test)


def test_a_stop_in_the_middle_of_a_change_closes_everything(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        consoles = [console(f"n{number}", tmp_path / f"n{number}") for number in range(100)]
        case = Case(loop, [console("p", device=ProcessDevice(("/bin/sleep", "1000")))], SERVER)
        case.site.start()
        await case.opened()
        await case.apply(*consoles, console("p", device=ProcessDevice(("/bin/cat",))))
        await settle(2)
        stopping = loop.create_task(case.site.stop())
        await loop.advance(3)  # time for the sleep to be ended
        await stopping
        for thread in threading.enumerate():
            if thread.name == "logs":
                thread.join()  # what it opens after the end, it closes again
        assert not case.site.children.pids() and not case.bugs
        assert all(log.is_stopped for log in case.site.logs)

    run(test)


# What counts for all.


def test_reset_command_and_timestamps_come_go_and_change(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        one = console("n", tmp_path / "log")
        async with started(loop, one) as case:
            assert not case.site.sessions.can_reset and case.site._stamping is None
            await case.apply(one, server=ServerSettings(resetcmd="power %N", timestamp_minutes=60))
            assert case.site.sessions.can_reset
            assert case.site._expand_reset(case.console("n")) == "power n"
            first = case.site._stamping
            await case.apply(one, server=ServerSettings(resetcmd="other %N", timestamp_minutes=60))
            assert case.site._stamping is first and case.site._expand_reset(case.console("n")) == "other n"
            await case.apply(one, server=ServerSettings(timestamp_minutes=5))
            assert case.site._stamping is not first and not case.site.sessions.can_reset
            await case.apply(one)
            assert case.site._stamping is None
            await settle()

    run(test)


def test_changes_without_end_leave_nothing_behind(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        kept = console("kept", tmp_path / "kept")
        async with started(loop, kept) as case:
            seen = set()
            for number in range(20):
                device: Device = SILENT if number % 2 else UnixDevice(f"/no/such/{number}")
                await case.apply(
                    kept,
                    *(console(f"n{one}", tmp_path / f"{number}.{one}", device) for one in range(5)),
                    console(f"new{number}", tmp_path / "new", device),
                )
                await case.opened()
                if number >= 2:
                    gc.collect()
                    kinds = [type(one) for one in gc.get_objects()]
                    seen.add((kinds.count(SharedConsole), kinds.count(ConsoleLog), open_descriptors()))
            # "kept" is not among them: what is there after the start is none of the collector's business any more.
            assert len(seen) == 1 and next(iter(seen))[:2] == (6, 6)

    run(test)
