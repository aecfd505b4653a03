"""Reset commands: real shells, a clock that stands still."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Awaitable, Callable, Dict, List

from conmand.config.model import LogLevel
from conmand.server.children import ChildReaper
from conmand.server.reset import LIMIT_SECONDS, ResetCommands
from tests.fakes.clients import Site
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeChildren


class Case:
    def __init__(self, loop: ManualLoop, command: str) -> None:
        self.loop = loop
        self.site = Site(loop, 2)
        self.children = ChildReaper(loop)
        self.children.start()
        self.ended: List[int] = []
        self.resets = ResetCommands(lambda console: command.replace("%N", console.name), self.children, loop)
        self.client = self.site.connect("root", quiet=True).client

    def reset(self, number: int = 1) -> None:
        self.resets.reset(self.site.consoles[number - 1], self.client)

    async def finished(self) -> None:
        assert await self.children.wait_all(self.children.pids(), 1e9) == []

    @property
    def said(self) -> List[str]:
        return [text for text in self.site.logs[0].notices if "joined" not in text]


def with_command(command: str, test: Callable[[Case], Awaitable[None]]) -> None:
    async def whole(loop: ManualLoop) -> None:
        case = Case(loop, command)
        try:
            await test(case)
        finally:
            for pid in case.children.pids():
                case.children.kill(pid, signal.SIGKILL)
            case.site.close()
            loop.remove_signal_handler(signal.SIGCHLD)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)

    run(whole)


def test_a_reset_is_announced_and_may_be_repeated_as_soon_as_it_is_done() -> None:
    """The original refuses for the whole minute (errata D12)."""

    async def test(case: Case) -> None:
        for _ in range(2):
            case.reset()
            (pid,) = case.resets.pids()
            assert case.said[-1] == f"Console [n1] reset by <root@h> (pid {pid})"
            assert case.site.daemon_log.lines[-1] == (LogLevel.NOTICE, case.said[-1])
            await case.finished()
        assert case.loop.timers() == []

    with_command("true", test)


def test_a_second_reset_is_refused_while_the_first_runs_and_consoles_are_apart() -> None:
    async def test(case: Case) -> None:
        case.reset()
        (pid,) = case.resets.pids()
        case.reset()
        assert case.said[-1] == f"Ignoring reset of console [n1]: pid {pid} still active"
        assert case.site.daemon_log.lines[-1][0] is LogLevel.INFO
        case.reset(2)
        assert len(case.resets.pids()) == 2

    with_command("sleep 1000", test)


def test_a_command_that_does_not_end_is_killed_after_a_minute_with_all_it_started() -> None:
    async def test(case: Case) -> None:
        case.reset()
        (pid,) = case.resets.pids()
        await case.loop.advance(LIMIT_SECONDS - 1)
        assert case.children.is_running(pid)
        await case.loop.advance(1)
        assert case.said[-1] == f"Console [n1] reset terminated after 60s (pid {pid})"
        await case.finished()
        case.reset()
        assert case.said[-1].startswith("Console [n1] reset by")

    with_command("sleep 1000; sleep 1000", test)


def test_the_command_is_expanded_for_its_console(monkeypatch: Any) -> None:
    async def test(loop: ManualLoop) -> None:
        site, children = Site(loop, 2), FakeChildren()
        resets = ResetCommands(lambda console: f"power {console.name}", children, loop)  # type: ignore[arg-type]
        resets.reset(site.consoles[1], site.connect("u").client)
        assert children.spawned == [["/bin/sh", "-c", "power n2"]]
        site.close()

    run(test)


def test_a_command_too_long_or_that_cannot_be_started_is_a_warning() -> None:
    def too_long(_console: object) -> str:
        raise ValueError("too long")

    def cannot(*_args: object, **_options: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    async def test(loop: ManualLoop) -> None:
        site, children = Site(loop), FakeChildren()
        client = site.connect("u").client
        expansions: Dict[str, Callable[[Any], str]] = {"long": too_long, "cannot": lambda console: "true"}
        ResetCommands(expansions["long"], children, loop).reset(site.consoles[0], client)  # type: ignore[arg-type]
        children.spawn = cannot  # type: ignore[assignment, method-assign]
        resets = ResetCommands(expansions["cannot"], children, loop)  # type: ignore[arg-type]
        resets.reset(site.consoles[0], client)
        assert site.daemon_log.lines[-2:] == [
            (LogLevel.WARNING, "Unable to reset console [n1]: command too long"),
            (LogLevel.WARNING, "Unable to reset console [n1]: fork failed: Resource temporarily unavailable"),
        ]
        assert resets.pids() == []
        site.close()

    run(test)


def test_without_a_command_a_reset_is_ignored_in_silence() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        client = site.connect("u").client
        resets = ResetCommands(None, FakeChildren(), loop)  # type: ignore[arg-type]
        assert not resets.configured
        before = len(site.daemon_log.lines)
        resets.reset(site.consoles[0], client)
        assert len(site.daemon_log.lines) == before
        site.close()

    run(test)


def test_a_command_can_be_configured_later_and_taken_away() -> None:
    async def test(loop: ManualLoop) -> None:
        site, children = Site(loop), FakeChildren()
        client = site.connect("u").client
        resets = ResetCommands(None, children, loop)  # type: ignore[arg-type]
        resets.configure(lambda console: "now")
        assert resets.configured
        resets.reset(site.consoles[0], client)
        resets.configure(None)
        resets.reset(site.consoles[0], client)
        assert children.spawned == [["/bin/sh", "-c", "now"]] and len(resets.pids()) == 1
        site.close()

    run(test)
