"""Messages and descriptors between the front and a worker."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any, List, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from conmand.server.workers import channel as channel_module
from conmand.server.workers.channel import Channel, Frames, frame
from tests.fakes.loops import ManualLoop, run, settle


class End:
    """One end of a channel, and what it has heard."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.heard: List[Tuple[Any, Optional[int]]] = []
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()
        self.channel = Channel(sock, loop, self._received, self.ended.set)

    def _received(self, message: Any, fd: Optional[int]) -> None:
        self.heard.append((message, fd))
        self.arrived.set()

    async def until(self, count: int) -> List[Any]:
        while len(self.heard) < count:
            self.arrived.clear()
            await self.arrived.wait()
        return [message for message, _fd in self.heard]


def ends(loop: asyncio.AbstractEventLoop) -> Tuple[End, End]:
    one, other = socket.socketpair()
    return End(one, loop), End(other, loop)


@given(payloads=st.lists(st.tuples(st.binary(max_size=50), st.booleans())), data=st.data())
def test_messages_come_back_however_the_bytes_are_split(
    payloads: List[Tuple[bytes, bool]], data: st.DataObject
) -> None:
    stream = b"".join(frame(payload, has_descriptor) for payload, has_descriptor in payloads)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=10).map(sorted))
    frames, got = Frames(), []
    for start, end in zip([0, *places], [*places, len(stream)]):
        got += frames.receive(stream[start:end])
    assert got == payloads


def test_both_ends_hear_each_other_in_order() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        one.channel.start()
        other.channel.start()
        for number in range(3):
            one.channel.send(number)
        other.channel.send("back")
        assert await other.until(3) == [0, 1, 2]
        assert await one.until(1) == ["back"]
        one.channel.close()
        await other.ended.wait()

    run(test)


def test_a_descriptor_comes_with_its_message_and_stays_the_senders() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        reading, writing = os.pipe()
        other.channel.start()
        one.channel.send("plain")
        one.channel.send("with", writing)
        one.channel.send("plain")
        await other.until(3)
        received = other.heard[1][1]
        assert [fd is not None for _message, fd in other.heard] == [False, True, False]
        assert received is not None and not os.get_inheritable(received)
        os.write(received, b"theirs")
        os.write(writing, b" ours")
        assert os.read(reading, 100) == b"theirs ours"
        for fd in (received, reading, writing):
            os.close(fd)
        one.channel.close()
        other.channel.close()

    run(test)


def test_more_than_the_socket_takes_arrives_all_the_same() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        reading, writing = os.pipe()
        big = bytes(300_000)
        for _ in range(10):
            one.channel.send(big, writing)
        assert one.channel.is_crowded
        other.channel.start()
        assert await other.until(10) == [big] * 10
        assert one.channel.unsent_bytes == 0
        for _message, fd in other.heard:
            assert fd is not None
            os.close(fd)
        os.close(reading)
        os.close(writing)
        one.channel.close()
        other.channel.close()

    run(test)


def test_what_a_dead_peer_has_left_is_read_to_the_end() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        for number in range(5000):
            one.channel.send(number)
            if one.channel.unsent_bytes:
                break
        one.channel.close()
        other.channel.read_rest()
        heard = [message for message, _fd in other.heard]
        assert heard == list(range(len(heard))) and heard
        assert other.ended.is_set()

    run(test)


def test_the_rest_of_a_peer_that_lives_is_no_end_to_wait_for() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        one.channel.send("said")
        other.channel.read_rest()
        assert [message for message, _fd in other.heard] == ["said"]
        one.channel.close()

    run(test)


def test_sending_to_a_peer_that_has_gone_is_no_failure() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        other.channel.close()
        one.channel.start()
        one.channel.send("anybody there?")
        one.channel.send("nobody")
        await one.ended.wait()
        one.channel.send("really nobody")

    run(test)


def test_a_peer_that_never_reads_is_taken_for_dead(monkeypatch: Any) -> None:
    monkeypatch.setattr(channel_module, "MAX_UNSENT_BYTES", 1_000_000)

    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        one.channel.start()
        while not one.ended.is_set():
            one.channel.send(bytes(100_000))
        other.channel.close()
        await settle()

    run(test)


def test_the_last_words_are_sent_before_the_end() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        one.channel.send("first")
        one.channel.flush(1.0)
        one.channel.close()
        other.channel.read_rest()
        assert [message for message, _fd in other.heard] == ["first"]

    run(test)


def test_a_descriptor_for_which_there_is_no_room_is_missed_and_its_message_heard() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        reading, writing = os.pipe()
        one.channel.send("with", writing)
        one.channel.send("plain")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            other.channel.read_rest()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert other.heard == [("with", channel_module.NO_DESCRIPTOR), ("plain", None)]
        for fd in (reading, writing):
            os.close(fd)
        one.channel.close()

    run(test)


def test_a_descriptor_that_has_to_wait_is_kept_for_as_long() -> None:
    async def test(loop: ManualLoop) -> None:
        one, other = ends(loop)
        reading, writing = os.pipe()
        while not one.channel.unsent_bytes:
            one.channel.send(bytes(50_000))
        one.channel.send("with", writing)
        os.close(writing)
        other.channel.start()
        await other.until(len(other.heard) + 1)
        while other.heard[-1][0] != "with":
            await other.until(len(other.heard) + 1)
        received = other.heard[-1][1]
        assert received is not None
        os.write(received, b"kept")
        assert os.read(reading, 10) == b"kept"
        os.close(received)
        os.close(reading)
        one.channel.close()
        other.channel.close()

    run(test)
