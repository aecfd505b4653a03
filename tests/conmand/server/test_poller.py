"""Reading many descriptors in batches."""

from __future__ import annotations

import os
import socket
from typing import Callable, List, Optional, Tuple

from conmand.server.poller import BATCH_SECONDS, MAX_EVENTS, BatchPoller
from tests.fakes.loops import ManualLoop, run, settle


class Reader:
    def __init__(self) -> None:
        self.data = b""
        self.ends: List[Optional[OSError]] = []
        self.received: Callable[[bytes], None] = self._received
        self.on_end: Callable[[], None] = lambda: None

    def _received(self, data: bytes) -> None:
        self.data += data

    def ended(self, error: Optional[OSError]) -> None:
        self.ends.append(error)
        self.on_end()


class Lines:
    """A poller and pairs of sockets it reads."""

    def __init__(self, loop: ManualLoop, count: int = 1) -> None:
        self.loop = loop
        self.poller = BatchPoller(loop)
        self.pairs: List[Tuple[socket.socket, socket.socket]] = [socket.socketpair() for _ in range(count)]
        self.readers = [Reader() for _ in range(count)]
        for (ours, _theirs), reader in zip(self.pairs, self.readers):
            ours.setblocking(False)
            self.poller.add(ours.fileno(), reader)

    def say(self, data: bytes, number: int = 0) -> None:
        self.pairs[number][1].send(data)

    def close(self) -> None:
        self.poller.close()
        for pair in self.pairs:
            for sock in pair:
                sock.close()


def test_the_first_words_are_read_at_once_and_the_next_in_batches() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop)
        lines.say(b"one")
        await settle()
        assert lines.readers[0].data == b"one"
        lines.say(b" two")
        await settle()
        assert lines.readers[0].data == b"one"
        await loop.advance(BATCH_SECONDS)
        assert lines.readers[0].data == b"one two"
        await loop.advance(BATCH_SECONDS)  # nothing came: back to waiting
        assert loop.timers() == []
        lines.say(b" three")
        await settle()
        assert lines.readers[0].data == b"one two three"
        lines.close()

    run(test)


def test_more_consoles_than_a_row_are_all_read() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop, MAX_EVENTS + 5)
        for number in range(len(lines.pairs)):
            lines.say(b"x", number)
        await settle()
        assert all(reader.data == b"x" for reader in lines.readers)
        lines.close()

    run(test)


def test_the_end_and_errors_are_told() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop)
        lines.readers[0].on_end = lambda: lines.poller.remove(lines.pairs[0][0].fileno())
        lines.say(b"last")
        lines.pairs[0][1].close()
        await loop.advance(1)
        assert (lines.readers[0].data, lines.readers[0].ends) == (b"last", [None])
        far, near = os.openpty()
        reader = Reader()
        reader.on_end = lambda: lines.poller.remove(far)
        os.set_blocking(far, False)
        lines.poller.add(far, reader)
        os.close(near)
        await loop.advance(1)
        (error,) = reader.ends
        assert error is not None and error.strerror == "Input/output error"
        os.close(far)
        lines.close()

    run(test)


def test_what_is_removed_is_not_read_not_even_in_the_same_batch() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop, 2)

        def remove_other(number: int) -> Callable[[bytes], None]:
            def received(data: bytes) -> None:
                lines.readers[number].data += data
                lines.poller.remove(lines.pairs[1 - number][0].fileno())

            return received

        for number in (0, 1):
            lines.readers[number].received = remove_other(number)
            lines.say(b"x", number)
        await loop.advance(1)
        assert sorted(reader.data for reader in lines.readers) == [b"", b"x"]
        lines.poller.remove(lines.pairs[0][0].fileno())
        lines.poller.remove(lines.pairs[0][0].fileno())
        lines.close()

    run(test)


def test_a_mistake_in_one_console_is_reported_and_does_not_hurt_the_others() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop, 3)

        def mistake(*_: object) -> None:
            raise RuntimeError("bug")

        lines.readers[0].received = mistake
        lines.readers[1].on_end = lambda: (lines.poller.remove(lines.pairs[1][0].fileno()), mistake())[1]
        lines.say(b"x", 0)
        lines.pairs[1][1].close()
        lines.say(b"y", 2)
        await loop.advance(1)
        assert lines.readers[2].data == b"y"
        assert [str(bug["exception"]) for bug in loop.bugs] == ["bug", "bug"]
        loop.bugs.clear()
        lines.close()

    run(test)


def test_closing_ends_the_timer() -> None:
    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop)
        lines.say(b"x")
        await settle()
        lines.close()
        assert loop.timers() == []

    run(test)


def test_nothing_stays_behind_urgent_data() -> None:
    """A read stops in front of the urgent byte; the socket has told of what follows it already."""

    async def test(loop: ManualLoop) -> None:
        lines = Lines(loop)
        with socket.create_server(("127.0.0.1", 0)) as server:
            device = socket.create_connection(server.getsockname())
            console, _ = server.accept()
        console.setblocking(False)
        console.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        device.send(b"before")
        device.send(b"!", socket.MSG_OOB)
        device.send(b"after")
        lines.poller.add(console.fileno(), lines.readers[0])
        await settle()
        assert lines.readers[0].data == b"before!after"
        lines.poller.remove(console.fileno())
        console.close()
        device.close()
        lines.close()

    run(test)
