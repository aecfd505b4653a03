"""One session, byte for byte, with a socket pair for the network."""

from __future__ import annotations

import re
import socket

import pytest

from conmand.config.model import LogLevel
from conmand.server import client as client_module
from conmand.server.client import FLUSH_SECONDS, HOLD_BYTES, HOLD_SECONDS, MAX_UNSENT_BYTES
from tests.fakes.clients import End, Site
from tests.fakes.loops import ManualLoop, run, settle

DATE = re.compile(rb"\d\d-\d\d \d\d:\d\d")


async def typed(end: End, data: bytes) -> None:
    end.type(data)
    await settle(2)


async def read_all(end: End, enough: int) -> bytes:
    data = b""
    while len(data) < enough and not end.ended:
        data += end.seen()
        await settle(1)
    return data


def block(end: End) -> int:
    """Fill the client's socket; returns how many bytes that took, all of them dots."""
    sent = 0
    while end.client._unsent is None:
        end.client.deliver(b"." * 4096)
        sent += 4096
    return sent


def test_the_daemons_log_names_the_session_at_start_and_end() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        for options, where in (
            ({}, "[n1]"),
            ({"writing": False}, "[n1] (read-only)"),
            ({"broadcast": True}, "2 consoles (broadcast)"),
        ):
            end = site.connect("u", *((1, 2) if "broadcast" in options else (1,)), **options)
            end.sock.shutdown(socket.SHUT_WR)
            await settle()
            end.seen()
            assert end.ended
            assert site.daemon_log.lines[-2:] == [
                (LogLevel.INFO, f"Client <u@h.example:9> connected to {where}"),
                (LogLevel.INFO, "Client <u@h.example:9> disconnected"),
            ]
            assert site.closed[-1] is end.client
        site.close()

    run(test)


def test_typing_reaches_the_device_and_a_monitor_cannot_write() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        writer, monitor = site.connect("w", rest=b"early "), site.connect("m", writing=False)
        await typed(writer, b"ls\xff\xff\r")
        await typed(monitor, b"rm\xffB\xffD\xffR")
        assert site.devices[0].sent == [b"early ", b"ls\xff\r"]
        assert site.devices[0].breaks == 0
        assert site.resets.asked == []
        site.close()

    run(test)


def test_commands_take_effect_in_the_order_typed() -> None:
    """The original runs a read's commands before its data (errata B4)."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        device = site.devices[0]
        events = []
        device.send = lambda data: events.append(data)  # type: ignore[method-assign, assignment]
        device.send_break = lambda: events.append("break")  # type: ignore[method-assign, assignment, arg-type]
        await typed(end, b"a\xffBb\xffDc\xffMd\xffJe\xff")
        await typed(end, b"\xfff")
        assert events == [b"a", "break", b"b", b"\x7f", b"c", b"e", b"\xfff"]
        site.close()

    run(test)


def test_an_invalid_escape_is_dropped_and_logged() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        await typed(end, b"a\xff?b\xff\x01c")
        assert site.devices[0].sent == [b"a", b"b", b"c"]
        warnings = [text for level, text in site.daemon_log.lines if level is LogLevel.WARNING]
        assert [text.split(" from ")[0] for text in warnings] == [
            "Received invalid escape '?'",
            "Received invalid escape '\\x01'",
        ]
        site.close()

    run(test)


def test_monitor_and_join_move_a_client_between_its_modes_once() -> None:
    """F, J and M toggle blindly in the original (errata B3)."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        end.seen()
        await typed(end, b"\xffM\xffM")
        assert site.consoles[0].writers == ()
        assert DATE.sub(b"T", end.seen()) == b"\r\n<ConMan> Console [n1] departed by <w@h> at T.\r\n"
        await typed(end, b"\xffJ\xffF")
        assert site.consoles[0].writers == (end.client,)
        assert DATE.sub(b"T", end.seen()) == b"\r\n<ConMan> Console [n1] joined by <w@h> at T.\r\n"
        site.close()

    run(test)


def test_force_in_session_evicts() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        old, new = site.connect("old"), site.connect("new", writing=False)
        await typed(new, b"\xffF")
        old.seen()
        assert old.ended
        assert site.consoles[0].writers == (new.client,)
        site.close()

    run(test)


def test_a_broadcaster_has_no_modes_and_no_replay() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        end = site.connect("b", 1, 2, broadcast=True)
        end.seen()
        await typed(end, b"\xffM\xffJ\xffF\xffL")
        assert end.seen() == b""
        await typed(end, b"x\xffB\xffD\xffR")
        assert [device.sent for device in site.devices] == [[b"x", b"\x7f"], [b"x", b"\x7f"]]
        assert [device.breaks for device in site.devices] == [1, 1]
        assert site.resets.asked == ["n1 by b", "n2 by b"]
        site.close()

    run(test)


def test_replay_comes_as_one_block_even_when_quiet() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("m", writing=False, quiet=True, reply=b"")
        await typed(end, b"\xffL")
        assert end.seen() == (
            b"\r\n<ConMan> Begin log replay of console [n1].\r\ntail\r\n<ConMan> End log replay of console [n1].\r\n"
        )
        site.logs[0].tail = None
        await typed(end, b"\xffL")
        assert end.seen() == b"\r\n<ConMan> Console [n1] is not being logged -- cannot replay.\r\n"
        site.close()

    run(test)


def test_quiet_is_toggled_and_said() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("m", writing=False, reply=b"")
        await typed(end, b"\xffQ")
        site.consoles[0].notify("unheard")
        await typed(end, b"\xffQ")
        site.consoles[0].notify("heard")
        assert end.seen() == (
            b"\r\n<ConMan> Quiet-mode enabled -- info msgs will be suppressed.\r\n"
            b"\r\n<ConMan> Quiet-mode disabled -- info msgs will be displayed.\r\n"
            b"\r\n<ConMan> heard.\r\n"
        )
        site.close()

    run(test)


def test_a_suspended_client_gets_what_it_missed_when_it_resumes() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        await typed(end, b"\xffZ")
        site.consoles[0].publish(b"while-suspended")
        await typed(end, b"x")  # still taken
        assert site.devices[0].sent == [b"x"]
        assert end.seen() == b""
        await typed(end, b"\xffZ")
        await settle()
        assert end.seen() == b"while-suspended"
        assert site.daemon_log.texts[-2:] == ["Client <w@h:9> suspended", "Client <w@h:9> resumed"]
        site.consoles[0].publish(b"live")
        assert end.seen() == b"live"
        site.close()

    run(test)


def test_a_client_that_suspended_and_left_is_cleaned_up_and_gets_its_bytes() -> None:
    """The original keeps it as a writer for ever (errata B1)."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        await typed(end, b"\xffZ")
        site.consoles[0].publish(b"missed")
        end.sock.shutdown(socket.SHUT_WR)
        await settle()
        assert site.consoles[0].writers == ()
        assert end.seen() == b"missed"
        assert end.ended
        assert site.closed == [end.client]
        assert loop.timers() == []
        site.close()

    run(test)


def test_a_suspended_client_that_is_robbed_is_told_and_closed() -> None:
    """A3 and B2 of the errata: there it crashes the daemon, or hangs."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        await typed(end, b"\xffZ")
        site.connect("thief", force=True)
        await settle()
        assert DATE.sub(b"T", end.seen()) == b"\r\n<ConMan> Console [n1] stolen by <thief@h> at T.\r\n"
        assert end.ended
        quiet = site.connect("q", quiet=True, force=True, reply=b"")
        site.connect("thief", force=True)
        quiet.seen()
        assert quiet.ended
        site.close()

    run(test)


def test_what_was_typed_behind_an_eviction_is_not_taken() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        end.type(b"stale\xffF\xffM\xffJ")
        site.connect("thief", force=True)
        await settle()
        assert site.devices[0].sent == []
        site.close()

    run(test)


def test_a_slow_client_loses_its_oldest_bytes_and_is_told_how_many() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        total = block(end)
        text = b"".join(b"%09d\n" % number for number in range(MAX_UNSENT_BYTES // 10 + 10_000))
        for start in range(0, len(text), 5000):
            end.client.deliver(text[start : start + 5000])
        total += len(text)
        assert len(end.client._unsent or b"") == MAX_UNSENT_BYTES
        data = await read_all(end, MAX_UNSENT_BYTES)
        while not data.endswith(text[-10:]):
            await settle(1)
            data += end.seen()
        notice = re.search(rb"\r\n<ConMan> Lost (\d+) bytes of output: this client is too slow\.\r\n", data)
        assert notice is not None
        lost = int(notice[1])
        assert len(data) - len(notice[0]) + lost == total
        assert data[notice.end() :] == text[-MAX_UNSENT_BYTES:]
        assert f'Overwrote {lost} bytes for "w@h:9"' in site.daemon_log.texts
        site.close()

    run(test)


def fall_behind(end: End, behind_bytes: int) -> None:
    """Everything read so far, then so much unsent."""
    block(end)
    while len(end.client._unsent or b"") < behind_bytes:
        end.client.deliver(b"." * 4096)


async def catch_up(end: End) -> None:
    while end.client._unsent is not None:
        end.seen()
        await settle(1)


def test_a_client_that_is_behind_holds_its_console_until_half_of_it_is_sent() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end, device = site.connect("w", writing=False), site.devices[0]
        for _time in range(3):
            fall_behind(end, HOLD_BYTES)
            assert not device.on_hold
            end.client.deliver(b"." * 4096)
            assert device.on_hold
            while device.on_hold:
                assert len(end.client._unsent or b"") > HOLD_BYTES // 2
                end.seen()
                await settle(1)
            await catch_up(end)
        assert not any("Overwrote" in text for text in site.daemon_log.texts)
        site.close()

    run(test)


def test_a_client_that_stalls_holds_its_console_once_and_again_only_after_it_has_caught_up() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end, device = site.connect("w", writing=False), site.devices[0]
        end.client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # sent in small pieces
        fall_behind(end, HOLD_BYTES + 1)
        await loop.advance(HOLD_SECONDS - 0.001)
        assert device.on_hold
        await loop.advance(0.001)
        assert not device.on_hold
        fall_behind(end, MAX_UNSENT_BYTES)
        while len(end.client._unsent or b"") > HOLD_BYTES // 4:
            end.seen()
            await settle(1)
        assert end.client._unsent
        fall_behind(end, HOLD_BYTES + 1)
        assert not device.on_hold
        await catch_up(end)
        fall_behind(end, HOLD_BYTES + 1)
        assert device.on_hold
        site.close()

    run(test)


def test_a_client_that_goes_or_is_suspended_lets_go_of_its_console() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        device = site.devices[0]
        suspended = site.connect("suspended")
        fall_behind(suspended, HOLD_BYTES + 1)
        assert device.on_hold
        await typed(suspended, b"\xffZ")
        assert not device.on_hold
        suspended.client.deliver(b"." * 4096)
        assert not device.on_hold
        for end_it in ("leave", "abort"):
            end = site.connect(end_it, writing=False)
            fall_behind(end, HOLD_BYTES + 1)
            assert device.on_hold
            getattr(end.client, end_it)()
            assert not device.on_hold
        robbed = site.connect("robbed")
        fall_behind(robbed, HOLD_BYTES + 1)
        assert device.on_hold
        site.connect("thief", force=True)
        assert not device.on_hold
        assert loop.timers() == [FLUSH_SECONDS] * len(loop.timers())
        site.close()

    run(test)


def test_a_reply_of_any_length_arrives_whatever_comes_behind_it() -> None:
    """A broadcast to thousands of consoles that are down: a long list of names, and a line for each."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        reply = b"OK" + b" CONSOLE='n1'" * 50_000 + b"\n"
        assert len(reply) > 2 * MAX_UNSENT_BYTES
        end = site.connect("slow", reply=reply)
        text = b"".join(b"%09d\n" % number for number in range(MAX_UNSENT_BYTES // 10 + 1))
        site.consoles[0].publish(text)
        lost = len(text) - MAX_UNSENT_BYTES
        notice = f"\r\n<ConMan> Lost {lost} bytes of output: this client is too slow.\r\n".encode()
        expected = reply + notice + text[lost:]
        assert await read_all(end, len(expected)) == expected
        site.close()

    run(test)


def test_a_suspended_client_that_misses_too_much_is_told_how_much() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        await typed(end, b"\xffZ")
        for _ in range(MAX_UNSENT_BYTES // 4096 + 1):
            site.consoles[0].publish(b"x" * 4096)
        assert not any("Overwrote" in text for text in site.daemon_log.texts)
        await typed(end, b"\xffZ")
        notice = b"\r\n<ConMan> Lost 4096 bytes of output: this client is too slow.\r\n"
        expected = len(notice) + MAX_UNSENT_BYTES
        data = await read_all(end, expected)
        assert data == notice + b"x" * MAX_UNSENT_BYTES
        assert site.daemon_log.texts.count('Overwrote 4096 bytes for "w@h:9"') == 1
        site.close()

    run(test)


def test_output_for_a_client_that_has_left_is_no_matter() -> None:
    """The original logs each chunk as written after the end of file (errata B7)."""

    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        waiting = block(end)
        end.sock.shutdown(socket.SHUT_WR)
        await settle()
        lines = len(site.daemon_log.lines)
        for _ in range(100):
            site.consoles[0].publish(b"unheard")
        assert len(site.daemon_log.lines) == lines
        assert await read_all(end, waiting) == b"." * waiting
        site.close()

    run(test)


def test_a_session_that_ends_is_flushed_for_a_time_only() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w", reply=b"")
        block(end)
        end.client.leave()
        end.client.leave()
        assert site.consoles[0].writers == ()
        assert site.closed == []
        await loop.advance(FLUSH_SECONDS)
        assert site.closed == [end.client]
        assert site.daemon_log.texts.count("Client <w@h.example:9> disconnected") == 1
        site.close()

    run(test)


def test_a_broken_connection_is_logged_unless_the_peer_just_closed() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        end.sock.close()
        site.consoles[0].publish(b"x")
        assert site.daemon_log.texts[-1] == "Client <w@h.example:9> disconnected"
        assert not any("Unable" in text for text in site.daemon_log.texts)
        reset = site.connect("r")
        reset.sock.send(b"unread")
        reset.client._sock.recv(0)
        reset.client.deliver(b"never read")
        reset.sock.close()  # with our bytes unread: a reset, on a unix socket too
        await settle()
        assert "Unable to read from [r@h:9]: Connection reset by peer" in site.daemon_log.texts
        assert site.consoles[0].readers == ()
        site.close()

    run(test)


def test_a_client_gone_before_its_reply_attaches_to_nothing() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        with pytest.MonkeyPatch.context() as patch:
            real = socket.socketpair

            def closed() -> tuple[socket.socket, socket.socket]:
                ours, theirs = real()
                theirs.close()
                return ours, socket.socket()

            patch.setattr(socket, "socketpair", closed)
            end = site.connect("w", rest=b"x")
        assert end.client.has_left
        assert (site.consoles[0].readers, site.consoles[0].writers, site.devices[0].sent) == ((), (), [])
        assert site.closed == [end.client]
        site.close()

    run(test)


def test_a_writer_is_held_back_while_its_console_is_congested_and_a_broadcaster_is_not() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop, 2)
        writer, broadcaster = site.connect("w"), site.connect("b", 1, 2, broadcast=True)
        site.consoles[0].congested()
        await typed(writer, b"held")
        await typed(broadcaster, b"free")
        assert site.devices[0].sent == [b"free"]
        site.consoles[0].relieved()
        await settle()
        assert site.devices[0].sent == [b"free", b"held"]
        site.close()

    run(test)


def test_a_held_writer_may_leave_or_stop_writing() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        leaving, monitor = site.connect("w"), site.connect("m")
        site.consoles[0].congested()
        leaving.client.leave()
        monitor.client._become_reader()
        site.consoles[0].relieved()
        await typed(monitor, b"\xffJ")
        assert site.consoles[0].writers == (monitor.client,)
        site.close()

    run(test)


def test_a_writer_that_was_held_and_is_resumed_reads_its_end() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        site.consoles[0].congested()
        end.sock.shutdown(socket.SHUT_WR)
        await settle()
        assert not end.client.has_left
        site.consoles[0].relieved()
        await settle()
        assert end.client.has_left
        site.close()

    run(test)


def test_idle_time_counts_from_the_last_input() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        end = site.connect("w")
        await loop.advance(100)
        assert end.client.idle_seconds == 100
        await typed(end, b"\xff")
        assert end.client.idle_seconds == 0
        assert (end.client.mode, end.client.label, end.client.full_label) == ("R/W", "w@h:9", "w@h.example:9")
        site.close()

    run(test)


def test_abort_closes_at_once_and_tells_nobody() -> None:
    async def test(loop: ManualLoop) -> None:
        site = Site(loop)
        one, two = site.connect("one", reply=b""), site.connect("two", reply=b"")
        block(one)
        for end in (one, two):
            end.seen()
        one.client.abort()
        two.client.abort()
        assert two.seen() == b""
        assert two.ended
        assert not any("departed" in text for text in site.logs[0].notices)
        assert site.closed == [one.client, two.client]
        assert site.daemon_log.texts[-1] == "Client <two@h.example:9> disconnected"
        site.close()

    run(test)


def test_limits_are_what_the_documents_say() -> None:
    assert (client_module.READ_BYTES, MAX_UNSENT_BYTES, HOLD_BYTES) == (65536, 262144, 131072)
