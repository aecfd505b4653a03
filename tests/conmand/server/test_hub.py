"""Who hears what, in which order: one console's device, log and clients."""

from __future__ import annotations

import re

import pytest

from conmand.config.model import ConsoleSettings, LogLevel, TestDevice, TestOptions
from conmand.consoles.base import State
from conmand.server import hub
from conmand.server.hub import SharedConsole
from tests.fakes.clients import Device, Site, as_log
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingLog

DATE = re.compile(rb" at \d\d-\d\d \d\d:\d\d")


def lines(data: bytes) -> list[str]:
    """The notices of ``data`` without frame and date; what is none is an element of its own."""
    parts = re.split(rb"\r\n<ConMan> ([^\r]*)\.\r\n", DATE.sub(b"", data))
    return [part.decode() for part in parts if part]


def test_output_goes_to_log_and_readers_and_not_to_broadcasters() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        writer, monitor = site.connect("w"), site.connect("m", writing=False)
        broadcaster = site.connect("b", 1, 2, broadcast=True, force=False)
        for end in (writer, monitor, broadcaster):
            end.seen()
        site.consoles[0].publish(b"login: \xff")
        assert [end.seen() for end in (writer, monitor, broadcaster)] == [b"login: \xff", b"login: \xff", b""]
        assert site.logs[0].written == b"login: \xff"
        site.close()

    run(test)


def test_a_console_without_log_is_still_read() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, logged=False)
        site.consoles[0].record(b"nobody hears this")
        site.consoles[0].publish(b"nor this")
        site.consoles[0].notify("nor that")
        site.close()

    run(test)


def test_writers_that_join_see_each_other_as_under_the_original() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        first = site.connect("one", tty="pts/1")
        assert lines(first.seen()) == ["OK\n"]  # not its own arrival
        second = site.connect("two", tty="pts/2")
        assert lines(first.seen()) == ["Console [n1] joined by <two@h> on pts/2"]
        assert lines(second.seen()) == ["OK\n", "Console [n1] joined with <one@h> on pts/1"]
        third = site.connect("three")
        assert lines(third.seen())[1:] == [
            "Console [n1] joined with <one@h> on pts/1",
            "Console [n1] joined with <two@h> on pts/2",
        ]
        assert [text[:-15] for text in site.logs[0].notices] == [
            "Console [n1] joined by <one@h> on pts/1",
            "Console [n1] joined by <two@h> on pts/2",
            "Console [n1] joined by <three@h>",
        ]
        assert not any("joined" in text for text in site.daemon_log.texts)
        site.close()

    run(test)


def test_force_evicts_in_the_originals_order_of_words() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        first, second, monitor = site.connect("one"), site.connect("two"), site.connect("m", writing=False)
        for end in (first, second, monitor):
            end.seen()
        thief = site.connect("thief", force=True)
        assert lines(first.seen()) == ["Console [n1] stolen by <thief@h>"]
        assert lines(second.seen()) == ["Console [n1] stolen by <thief@h>", "Console [n1] departed by <one@h>"]
        assert lines(monitor.seen()) == [
            "Console [n1] stolen by <thief@h>",
            "Console [n1] departed by <one@h>",
            "Console [n1] departed by <two@h>",
        ]
        assert lines(thief.seen()) == [
            "OK\n",
            "Console [n1] stolen from <one@h>",
            "Console [n1] stolen from <two@h>",
        ]
        assert (first.ended, second.ended, monitor.ended) == (True, True, False)
        assert site.consoles[0].writers == (thief.client,)
        assert site.consoles[0].readers == (monitor.client, thief.client)
        site.close()

    run(test)


def test_force_without_anybody_there_is_a_plain_join() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        monitor = site.connect("m", writing=False)
        monitor.seen()
        site.connect("thief", force=True)
        assert lines(monitor.seen()) == ["Console [n1] joined by <thief@h>"]
        site.close()

    run(test)


def test_a_broadcaster_is_announced_as_such_and_keeps_what_was_not_stolen() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        monitor = site.connect("m", writing=False)
        monitor.seen()
        broadcaster = site.connect("b", 1, 2, broadcast=True)
        assert lines(monitor.seen()) == ["Console [n1] joined for B/C by <b@h>"]
        broadcaster.seen()
        thief = site.connect("thief", force=True)
        assert lines(broadcaster.seen()) == ["Console [n1] stolen by <thief@h>"]
        broadcaster.type(b"x")
        broadcaster.client._on_readable()
        assert (site.devices[0].sent, site.devices[1].sent) == ([], [b"x"])
        assert not broadcaster.ended
        again = site.connect("b2", 1, 2, broadcast=True, force=True)
        assert lines(thief.seen())[-1] == "Console [n1] stolen for B/C by <b2@h>"
        broadcaster.seen()
        assert broadcaster.ended
        assert lines(again.seen()) == [
            "OK\n",
            "Console [n1] stolen from <thief@h>",
            "Console [n2] stolen from <b@h>",
        ]
        site.close()

    run(test)


def test_quiet_clients_hear_no_notices_but_all_output() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        quiet = site.connect("q", quiet=True)
        site.connect("two")
        site.consoles[0].announce(LogLevel.INFO, "Console [n1] connected to somewhere")
        site.consoles[0].publish(b"out")
        assert quiet.seen() == b"OK\nout"
        site.close()

    run(test)


def test_an_announcement_is_for_everybody_and_a_report_for_the_daemons_log() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("one")
        end.seen()
        site.consoles[0].announce(LogLevel.WARNING, "A")
        site.consoles[0].report(LogLevel.DEBUG, "R")
        assert end.seen() == b"\r\n<ConMan> A.\r\n"
        assert site.logs[0].notices[1:] == ["A"]
        assert site.daemon_log.lines[-2:] == [(LogLevel.WARNING, "A"), (LogLevel.DEBUG, "R")]
        site.close()

    run(test)


def test_the_device_is_told_when_somebody_watches() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("m", writing=False)
        end.client.leave()
        assert site.devices[0].attended == [True, False]
        site.close()

    run(test)


def test_the_device_is_on_hold_while_any_reader_holds_it() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        console, device = site.consoles[0], site.devices[0]
        first, second = site.connect("one").client, site.connect("two").client
        console.hold_device(first)
        console.hold_device(second)
        console.release_device(first)
        assert device.on_hold
        console.release_device(second)
        assert not device.on_hold
        site.close()

    run(test)


def test_a_client_of_a_console_that_is_down_is_told_first_then_it_is_tried() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        other = site.connect("other", writing=False)
        site.devices[0].down = "Console [n1] is currently disconnected from <x:1>"
        end = site.connect("one", writing=False)
        assert lines(end.seen()) == ["OK\n", "Console [n1] is currently disconnected from <x:1>"]
        assert lines(other.seen()) == ["OK\n"]
        assert site.devices[0].retries == 1
        site.close()

    run(test)


def test_a_client_whose_connection_fails_while_it_joins_does_not_keep_the_console() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        other = site.connect("other")
        ghost = site.connect("ghost", writing=False)
        ghost.sock.close()
        ghost.client._become_writer(force=False)  # its own words cannot be sent to it
        assert ghost.client.has_left
        assert site.consoles[0].writers == (other.client,)
        assert site.consoles[0].readers == (other.client,)
        assert [text.split(" at ")[0] for text in site.logs[0].notices[1:]] == [
            "Console [n1] joined by <ghost@h>",
            "Console [n1] departed by <ghost@h>",
        ]
        site.close()

    run(test)


def test_a_broadcaster_whose_connection_fails_joins_no_further_console() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 3)
        other = site.connect("other", 1)
        ends = []

        def vanish(text: str) -> None:
            if "joined for B/C" in text:
                site._ends[-1].close()
            ends.append(text)

        site.logs[0].notice = vanish  # type: ignore[method-assign]
        ghost = site.connect("ghost", 1, 2, 3, broadcast=True)
        assert ghost.client.has_left
        assert [console.writers for console in site.consoles] == [(other.client,), (), ()]
        assert (site.logs[1].notices, site.logs[2].notices) == ([], [])
        assert [text.split(" at ")[0] for text in ends] == [
            "Console [n1] joined for B/C by <ghost@h>",
            "Console [n1] departed by <ghost@h>",
        ]
        site.close()

    run(test)


def test_a_victim_whose_connection_fails_on_the_news_departs_once() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        victim = site.connect("victim")
        victim.sock.close()
        thief = site.connect("thief", force=True)
        assert sum("departed by <victim@h>" in text for text in site.logs[0].notices) == 1
        assert site.consoles[0].writers == (thief.client,)
        site.close()

    run(test)


def test_it_makes_the_device_its_settings_describe() -> None:
    async def test(loop: ManualLoop) -> None:
        settings = ConsoleSettings("t", TestDevice(TestOptions(probability_percent=0)))
        console = SharedConsole(settings, FakeServices(loop), RecordingLog(), None)
        assert not console.is_up
        console.device.start()
        assert console.is_up
        console.device.stop()

    run(test)


OTHER = ConsoleSettings("n1", TestDevice(TestOptions(burst_bytes=0, max_delay_ms=1)))


def test_settings_that_the_device_can_adopt_change_nothing_else() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        writer = site.connect("w")
        writer.seen()
        assert not site.consoles[0].reconfigure(OTHER, FakeServices(loop))
        assert site.devices[0].adopted == [OTHER] and not site.devices[0].is_stopped
        assert writer.seen() == b"" and site.consoles[0].writers == (writer.client,)
        site.close()

    run(test)


def test_another_device_takes_the_place_of_the_old_one_and_clients_stay() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        writer, monitor = site.connect("w"), site.connect("m", writing=False)
        quiet = site.connect("q", writing=False, quiet=True)
        for end in (writer, monitor, quiet):
            end.seen()
        console, old = site.consoles[0], site.devices[0]
        old.can_adopt = False
        assert console.reconfigure(OTHER, FakeServices(loop))
        said = "Console [n1] is reconfigured: disconnected from <device>"
        assert lines(writer.seen()) == lines(monitor.seen()) == [said]
        assert quiet.seen() == b"" and site.logs[0].notices[-1] == said
        assert site.daemon_log.lines[-1] == (LogLevel.NOTICE, said)
        assert old.is_stopped and console.device is not old and console.device.settings is OTHER
        assert not console.is_up  # it is to be started
        console.publish(b"new")
        assert writer.seen() == monitor.seen() == b"new"
        console.device = old  # type: ignore[assignment]
        site.close()

    run(test)


def test_a_device_that_was_down_is_replaced_without_a_word() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        site.devices[0].can_adopt, site.devices[0].state = False, State.DOWN
        assert site.consoles[0].reconfigure(OTHER, FakeServices(loop))
        assert not site.logs[0].notices and not site.daemon_log.lines
        site.close()

    run(test)


def test_a_new_device_is_read_for_its_clients_and_waits_for_those_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        new = Device()
        monkeypatch.setattr(hub, "create_console", lambda *arguments: new)
        monitor = site.connect("m", writing=False)
        site.consoles[0].hold_device(monitor.client)
        site.devices[0].can_adopt = False
        site.consoles[0].reconfigure(OTHER, FakeServices(loop))
        assert new.attended == [True] and new.on_hold
        site.consoles[0].release_device(monitor.client)
        assert not new.on_hold
        site.close()

    run(test)


def test_a_console_that_is_removed_tells_all_and_ends_their_sessions() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        ends = [site.connect("w"), site.connect("m", writing=False), site.connect("q", quiet=True, force=False)]
        broadcaster = site.connect("b", 1, 2, broadcast=True)
        only_here = site.connect("c", 1, broadcast=True)
        for end in (*ends, broadcaster, only_here):
            end.seen()
        before = len(site.logs[0].notices)
        site.consoles[0].remove()
        said = "Console [n1] is no longer configured"
        for end in (*ends, only_here):
            assert lines(end.seen()) == [said] and end.ended
        assert lines(broadcaster.seen()) == [said] and not broadcaster.ended
        assert site.logs[0].notices[before:] == [said]
        assert (LogLevel.NOTICE, said) in site.daemon_log.lines
        assert site.devices[0].is_stopped
        assert site.consoles[0].readers == site.consoles[0].writers == ()
        broadcaster.type(b"x")
        await settle()
        assert site.devices[0].sent == [] and site.devices[1].sent == [b"x"]
        site.close()

    run(test)


def test_a_log_that_comes_later_or_goes_is_told_to_the_device() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, logged=False)
        console = site.consoles[0]
        console.change_log(as_log(site.logs[0]))
        console.publish(b"logged")
        console.change_log(None)
        console.publish(b"not logged")
        assert site.logs[0].written == b"logged" and site.devices[0].sinks == 2
        site.close()

    run(test)
