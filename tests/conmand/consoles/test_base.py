"""What all kinds of consoles share, on one end of a socket pair instead of a device."""

from __future__ import annotations

import os
import socket
from typing import List, Tuple

import pytest

from conmand.config.model import ConsoleSettings, LogLevel, UnixDevice
from conmand.consoles.base import MAX_UNSENT_BYTES, STALL_SECONDS, DescriptorConsole, Services, Sink, State
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink, open_descriptors


class PairConsole(DescriptorConsole):
    """``devices`` are the far ends of its connections; ``refuse`` makes the next attempts fail."""

    __slots__ = ("devices", "attempts", "refuse")

    retries = (15, 60, 15, 0)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self.devices: List[socket.socket] = []
        self.attempts: List[float] = []
        self.refuse = False

    @property
    def label(self) -> str:
        return "<pair>"

    @property
    def device(self) -> socket.socket:
        return self.devices[-1]

    def _open(self) -> None:
        self.attempts.append(self.services.loop.time() - 1000)
        if self.refuse:
            self._went_down(was_up=False)
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.devices.append(theirs)
        self._attach(ours.detach())

    def _lost(self) -> None:
        self.sink.announce(LogLevel.INFO, "lost")
        self._went_down(was_up=True)


def console(loop: ManualLoop) -> Tuple[PairConsole, RecordingSink]:
    sink = RecordingSink()
    return PairConsole(ConsoleSettings("n1", UnixDevice("/n1")), sink, FakeServices(loop)), sink


def close(shared: PairConsole) -> None:
    shared.stop()
    for device in shared.devices:
        device.close()


def received(device: socket.socket) -> bytes:
    """What waits at the far end."""
    device.setblocking(False)
    data = b""
    while True:
        try:
            chunk = device.recv(1 << 20)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk


def test_output_is_published_as_it_comes() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.device.sendall(b"login: \xff\x00")
        await sink.until(lambda: sink.published == b"login: \xff\x00")
        close(shared)

    run(test)


@pytest.mark.parametrize("attended", [True, False])
def test_a_device_on_hold_is_not_read_until_it_is_released(attended: bool) -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.set_attended(attended)
        shared.hold_output()
        shared.hold_output()
        shared.device.send(b"one")
        await settle()
        shared.set_attended(not attended)
        shared.set_attended(attended)
        await settle()
        assert sink.published == b""
        shared.send(b"key")
        assert received(shared.device) == b"key"
        shared.release_output()
        shared.release_output()
        await sink.until(lambda: sink.published == b"one")
        close(shared)

    run(test)


def test_a_device_on_hold_may_go_and_come_back() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.hold_output()
        shared.device.close()
        shared.send(b"key")  # fails, and so ends the connection
        assert sink.announced == ["lost"]
        await loop.advance(15)
        assert shared.state is State.UP
        shared.device.send(b"one")
        await settle()
        assert sink.published == b""
        shared.release_output()
        await sink.until(lambda: sink.published == b"one")
        close(shared)

    run(test)


def test_typing_goes_to_the_device_at_once() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.send(b"ls\r")
        assert received(shared.device) == b"ls\r"
        close(shared)

    run(test)


def test_typing_is_discarded_while_the_device_is_down() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.refuse = True
        shared.start()
        shared.send(b"stale")
        shared.refuse = False
        await loop.advance(15)
        shared.send(b"new")
        assert received(shared.device) == b"new"
        close(shared)

    run(test)


def test_a_failing_device_is_retried_with_doubling_delays() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.refuse = True
        shared.start()
        await loop.advance(200)
        assert shared.attempts == [0, 15, 45, 105, 165]
        close(shared)

    run(test)


def test_a_stable_connection_is_made_again_at_once() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        await loop.advance(15)
        shared.device.close()
        await sink.until(lambda: sink.announced == ["lost"])
        await loop.advance(0)
        assert shared.attempts == [0, 15]
        assert shared.state is State.UP
        close(shared)

    run(test)


def test_a_client_that_comes_does_not_change_the_sequence_of_delays() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.refuse = True
        shared.start()
        await loop.advance(20)
        assert shared.client_attached() == "Console [n1] is currently disconnected from <pair>"
        shared.retry_now()
        await loop.advance(60)
        assert shared.attempts == [0, 15, 20, 80]
        close(shared)

    run(test)


def test_a_client_hears_nothing_of_a_console_that_is_up_and_does_not_reconnect_it() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        assert shared.client_attached() is None
        shared.retry_now()
        assert len(shared.devices) == 1
        close(shared)

    run(test)


def test_a_console_that_a_client_brought_up_before_its_start_is_not_opened_twice() -> None:
    """Clients are served while thousands of consoles are being started."""

    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        assert shared.client_attached() is not None
        shared.retry_now()
        shared.start()
        assert len(shared.devices) == 1
        close(shared)

    run(test)


def test_a_console_whose_early_attempt_failed_has_one_timer_after_its_start() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.refuse = True
        shared.retry_now()
        shared.start()
        assert len(loop.timers()) == 1
        close(shared)

    run(test)


def test_stop_is_silent_and_final_and_leaves_no_descriptor() -> None:
    async def test(loop: ManualLoop) -> None:
        before = open_descriptors()
        shared, sink = console(loop)
        shared.start()
        close(shared)
        shared.stop()
        await loop.advance(10_000)
        assert open_descriptors() == before
        assert shared.attempts == [0]
        assert (sink.announced, sink.reported) == ([], [])

    run(test)


def test_stop_ends_the_attempts() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.refuse = True
        shared.start()
        shared.stop()
        await loop.advance(10_000)
        assert shared.attempts == [0]

    run(test)


def test_what_a_slow_device_does_not_take_waits_in_order() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        text = b"".join(b"%07d\n" % number for number in range(60_000))
        for start in range(0, len(text), 8192):
            shared.send(text[start : start + 8192])
            if start > 240_000:
                break
        sent = text[: start + 8192]
        seen = received(shared.device)
        while len(seen) < len(sent):
            await settle(1)
            seen += received(shared.device)
        assert seen == sent
        assert sink.reported == []
        assert sink.flow in ([], ["congested", "relieved"])
        close(shared)

    run(test)


def fill(shared: PairConsole) -> None:
    """Type until nothing more goes out and one byte waits."""
    while shared._unsent is None:
        shared.send(b"x" * 4096)
    shared._unsent[:] = b"x"


def test_writers_are_held_back_above_the_limit_and_go_on_when_everything_is_out() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        shared.send(b"y" * (MAX_UNSENT_BYTES - 1))
        assert sink.flow == []
        shared.send(b"y")
        assert sink.flow == ["congested"]
        while "relieved" not in sink.flow:
            received(shared.device)
            await settle(1)
        assert sink.flow == ["congested", "relieved"]
        assert sink.reported == []
        close(shared)

    run(test)


def test_a_device_that_stalls_loses_its_oldest_bytes_so_that_its_clients_can_go_on() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        shared.send(b"y" * MAX_UNSENT_BYTES)
        await loop.advance(STALL_SECONDS)
        lost = MAX_UNSENT_BYTES + 1 - MAX_UNSENT_BYTES // 2
        assert sink.reported == [(LogLevel.NOTICE, f'Overwrote {lost} bytes for "n1"')]
        assert sink.flow == ["congested", "relieved"]
        close(shared)

    run(test)


def test_a_device_that_stalls_with_little_left_loses_nothing() -> None:
    """It took most, then stopped: what waits is below what a stall leaves, so no byte goes and clients are let go."""

    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        shared.send(b"y" * MAX_UNSENT_BYTES)
        unsent = shared._unsent
        assert unsent is not None
        del unsent[20_000:]  # as if the device had taken the rest
        await loop.advance(STALL_SECONDS)
        assert len(unsent) == 20_000
        assert sink.reported == []
        assert sink.flow == ["congested", "relieved"]
        close(shared)

    run(test)


def test_broadcasts_to_a_slow_device_are_bounded() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        for _ in range(100):
            shared.send(b"z" * 8192)
        assert shared._unsent is not None and len(shared._unsent) <= 2 * MAX_UNSENT_BYTES
        lost = sum(int(text.split()[1]) for _level, text in sink.reported)
        assert lost + len(shared._unsent) == 1 + 100 * 8192
        close(shared)

    run(test)


def test_what_was_not_sent_when_the_device_went_is_reported() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        shared.device.shutdown(socket.SHUT_WR)
        await sink.until(lambda: sink.announced == ["lost"])
        assert sink.reported == [(LogLevel.WARNING, "Flushed 1 byte of unwritten data from [n1]")]
        assert loop.timers() == [15]
        close(shared)

    run(test)


def test_held_writers_go_on_when_the_device_goes() -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        fill(shared)
        shared.send(b"y" * MAX_UNSENT_BYTES)
        shared.device.shutdown(socket.SHUT_WR)
        await sink.until(lambda: sink.announced == ["lost"])
        assert sink.flow == ["congested", "relieved"]
        assert sink.reported == [
            (LogLevel.WARNING, f"Flushed {MAX_UNSENT_BYTES + 1} bytes of unwritten data from [n1]")
        ]
        close(shared)

    run(test)


def test_last_words_are_published_though_a_key_fails_first() -> None:
    """A device script says why it gives up, exits, and in the same moment somebody types."""

    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.device.sendall(b"Error: wrong password.\r\n")
        shared.device.close()
        shared.send(b"x")
        assert sink.published == b"Error: wrong password.\r\n"
        assert sink.reported == [(LogLevel.INFO, "Unable to write to [n1]: Broken pipe")]
        assert sink.announced == ["lost"]
        assert shared.state is State.DOWN
        close(shared)

    run(test)


def test_a_read_error_is_reported_and_ends_the_connection() -> None:
    async def test(loop: ManualLoop) -> None:
        sink = RecordingSink()
        shared = PairConsole(ConsoleSettings("n1", UnixDevice("/n1")), sink, FakeServices(loop))
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        ours.setblocking(False)
        shared._attach(ours.detach())
        theirs.close()  # a reset
        await sink.until(lambda: sink.announced == ["lost"])
        assert sink.reported == [(LogLevel.INFO, "Unable to read from [n1]: Connection reset by peer")]
        close(shared)

    run(test)


def test_a_reader_event_after_the_end_of_the_same_turn_reads_nothing_foreign() -> None:
    """The descriptor's number may be another's at once; the loop must not call for the old one."""

    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop)
        shared.start()
        shared.device.sendall(b"old")
        shared.stop()
        reading, writing = os.pipe()
        os.write(writing, b"foreign")
        await settle()
        assert sink.published == b""
        os.close(reading)
        os.close(writing)
        close(shared)

    run(test)


def test_settings_with_another_device_are_not_adopted_and_others_are() -> None:
    async def test(loop: ManualLoop) -> None:
        device, _sink = console(loop)
        device.start()
        logged = ConsoleSettings("n1", UnixDevice("/n1"), log="/l")
        assert device.adopt(logged) and device.settings is logged
        assert not device.adopt(ConsoleSettings("n1", UnixDevice("/n2"))) and device.settings is logged
        assert device.state is State.UP and device.programs() == ()
        close(device)

    run(test)


def test_what_is_read_goes_where_the_sink_says_by_then() -> None:
    async def test(loop: ManualLoop) -> None:
        device, sink = console(loop)
        device.start()
        other = RecordingSink()
        device.sink = other
        device.device.send(b"before")
        await sink.until(lambda: sink.published == b"before")
        device.sink_changed()
        device.device.send(b"after")
        await other.until(lambda: other.published == b"after")
        close(device)

    run(test)
