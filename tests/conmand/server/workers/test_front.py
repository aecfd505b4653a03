"""The front's part of a change: each worker gets its own, and no console moves without need."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Dict, List, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conmand.config.changes import ConsoleChanges, console_changes
from conmand.config.model import ConsoleSettings, Device, ServerSettings, TestDevice, UnixDevice
from conmand.config.settings import DaemonSettings, RotationSettings, ScriptSettings
from conmand.server.site import SiteOptions
from conmand.server.workers import front as front_module
from conmand.server.workers import messages as m
from conmand.server.workers import orphans
from conmand.server.workers.front import Front, share_of_limits
from conmand.server.workers.process import WorkerProcess
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.sinks import RecordingLog

SERVER, SETTINGS = ServerSettings(), DaemonSettings()


class Asked(WorkerProcess):
    """Has a process that does all it is asked."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pid = 1
        self.questions: List[Any] = []

    async def _let(self, question: object) -> None:
        self.questions.append(question)


def with_front(workers: int, consoles: Sequence[ConsoleSettings], test: Callable[[Front], Awaitable[None]]) -> None:
    async def whole(loop: ManualLoop) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(front_module, "WorkerProcess", Asked)
            patch.setattr(orphans, "adopt_orphans", lambda: None)
            options = SiteOptions(foreground=True, truncate_logs=False)
            front = Front(SERVER, consoles, options, workers, RecordingLog(), loop)
        try:
            await test(front)
        finally:
            for worker in front._workers:
                worker.pid = 0
            await front.stop()
        assert not loop.bugs

    run(whole)


def console(name: str, device: Device = UnixDevice("/s"), log: str | None = None) -> ConsoleSettings:  # noqa: B008
    return ConsoleSettings(name, device, log)


def owners(front: Front) -> Dict[str, int]:
    return {settings.name: worker.number for worker in front._workers for settings in worker.consoles.values()}


names = st.lists(st.sampled_from([f"n{number}" for number in range(12)]), unique=True, min_size=1)
devices = st.sampled_from([UnixDevice("/a"), UnixDevice("/b"), TestDevice()])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), names, names, devices, devices)
def test_every_change_reaches_just_the_worker_that_it_concerns(
    workers: int, before: List[str], after: List[str], device: Device, other: Device
) -> None:
    old = [console(name, device) for name in before]
    new = [console(name, other) for name in after]

    async def test(front: Front) -> None:
        at_first = owners(front)
        changes = console_changes(old, new)
        await front.apply(SERVER, changes, SETTINGS)
        now = owners(front)
        assert set(now) == set(after) == set(front.names)
        assert all(now[name] == at_first[name] for name in set(before) & set(after))
        heard = [question.changes for worker in front._workers for question in worker.questions]  # type: ignore[attr-defined]
        assert sorted(one.name for part in heard for one in part.added) == sorted(set(after) - set(before))
        assert sorted(name for part in heard for name in part.removed) == sorted(set(before) - set(after))
        assert sum(len(part.changed) for part in heard) == len(changes.changed)
        for worker in front._workers:
            (question,) = worker.questions  # type: ignore[attr-defined]
            assert all(at_first[name] == worker.number for name in question.changes.removed)
            assert all(now[one.name] == worker.number for one in question.changes.added)
            assert all(now[one.name] == worker.number for one in question.changes.changed)

    with_front(workers, old, test)


def test_new_consoles_go_where_the_fewest_are() -> None:
    async def test(front: Front) -> None:
        gone = [name for name, number in owners(front).items() if number == 1][:2]
        kept = [console(name) for name in front.names if name not in gone]
        await front.apply(SERVER, ConsoleChanges(removed=tuple(gone)), SETTINGS)
        added = (console("x", TestDevice()), console("y", TestDevice()))
        await front.apply(SERVER, ConsoleChanges(added=added), SETTINGS)
        assert owners(front)["x"] == owners(front)["y"] == 1
        assert len(front.names) == len(kept) + 2

    with_front(2, [console(f"n{number}") for number in range(8)], test)


def test_a_console_with_another_name_and_one_with_anothers_log_stay_together() -> None:
    old = [console(f"n{number}", UnixDevice(f"/{number}"), f"/log{number}") for number in range(6)]

    async def test(front: Front) -> None:
        home = owners(front)
        renamed = tuple(console(f"m{number}", UnixDevice(f"/{number}"), f"/other{number}") for number in range(3))
        sharing = tuple(console(f"s{number}", TestDevice(), f"/log{number}") for number in range(3, 6))
        changes = ConsoleChanges(added=(*renamed, *sharing), removed=("n0", "n1", "n2"))
        await front.apply(SERVER, changes, SETTINGS)
        now = owners(front)
        assert all(now[f"m{number}"] == home[f"n{number}"] for number in range(3))
        assert all(now[f"s{number}"] == home[f"n{number}"] for number in range(3, 6))

    with_front(3, old, test)


def test_limits_are_divided_and_resets_are_known_to_replies() -> None:
    async def test(front: Front) -> None:
        server = ServerSettings(resetcmd="x")
        await front.apply(server, ConsoleChanges(), DaemonSettings(scripts=ScriptSettings(logins_at_once=9)))
        assert front.sessions.can_reset
        for worker in front._workers:
            (question,) = worker.questions  # type: ignore[attr-defined]
            assert isinstance(question, m.Apply) and question.server is server
            assert question.settings.scripts.logins_at_once == 3
        await front.apply(SERVER, ConsoleChanges(), SETTINGS)
        assert not front.sessions.can_reset

    with_front(3, [console("a"), console("b"), console("c")], test)


def test_workers_that_change_together_wait_for_each_other() -> None:
    async def test(front: Front) -> None:
        sent: List[List[Any]] = []
        for worker in front._workers:
            sent.append([])
            worker.send = lambda message, fd=-1, to=sent[-1]: to.append(message)  # type: ignore[misc]
        home = owners(front)
        ones = [name for name, number in home.items() if number == 1]
        await front.apply(SERVER, ConsoleChanges(removed=(ones[0],)), SETTINGS)
        await settle()
        assert [worker.questions[-1].number for worker in front._workers] == [0, 0, 0]  # type: ignore[attr-defined]
        assert sent == [[], [], []]
        twos = [name for name, number in home.items() if number == 2]
        await front.apply(SERVER, ConsoleChanges(removed=(ones[1], twos[0])), SETTINGS)
        await settle()
        for worker in front._workers:
            *_, change, question = worker.questions  # type: ignore[attr-defined]
            assert (change.number, question) == (1, m.ProgramsEnded(1))
        assert sent == [[m.AllClosed(1), m.AllEnded(1)]] * 3

    with_front(3, [console(f"n{number}") for number in range(9)], test)


def test_all_logs_are_reopened() -> None:
    async def test(front: Front) -> None:
        await front.reopen_logs()
        assert all(worker.questions == [m.Reopen()] for worker in front._workers)  # type: ignore[attr-defined]

    with_front(2, [console("a"), console("b")], test)


def test_limits_of_the_daemon_are_divided_by_consoles() -> None:
    whole = DaemonSettings(
        scripts=ScriptSettings(logins_at_once=50), rotation=RotationSettings(size_bytes=1024, quota_bytes=1001)
    )
    options = SiteOptions(foreground=True, truncate_logs=False, settings=whole)
    parts = [share_of_limits(options, consoles, 10).settings for consoles in (7, 2, 1, 0)]
    assert [part.scripts.logins_at_once for part in parts] == [35, 10, 5, 1]
    assert [part.rotation.quota_bytes for part in parts] == [701, 201, 101, 0]
    assert share_of_limits(options, 2, 10).part == 0.2
    assert share_of_limits(options, 10, 10) == options
    assert share_of_limits(options, 0, 0) == options


def test_consoles_are_listed_in_the_order_of_definition_and_by_worker() -> None:
    consoles = [console(name) for name in ("z", "a", "m")]

    async def test(front: Front) -> None:
        assert front.names == ["z", "a", "m"]
        assert [[one.name for one in share] for share in front.shares] == [["z", "m"], ["a"]]

    with_front(2, consoles, test)
