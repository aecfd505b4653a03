"""In a worker, the client of a broadcast that is elsewhere."""

from __future__ import annotations

from typing import Any, List

from conmand.server.workers.messages import Inform, Person, Robbed
from conmand.server.workers.standin import StandIn
from tests.fakes.loops import ManualLoop, run


class Heard:
    """A channel that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: List[Any] = []
        self.is_crowded = False

    def send(self, message: object, fd: int = -1) -> None:
        self.messages.append(message)


class FakeDevice:
    def __init__(self) -> None:
        self.got: List[object] = []

    def send(self, data: bytes) -> None:
        self.got.append(data)

    def send_break(self) -> None:
        self.got.append("break")


class FakeConsole:
    """Answers a new writer, and greets it, with one word each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = FakeDevice()
        self.writers: List[Any] = []

    def add_writer(self, client: Any) -> None:
        client.inform(b"met " + self.name.encode())
        self.writers.append(client)

    def greet(self, client: Any) -> None:
        client.inform(b"down " + self.name.encode())

    def remove_writer(self, client: Any) -> None:
        self.writers.remove(client)

    def forget(self, client: Any) -> None:
        self.writers.remove(client)


def stand_in(loop: ManualLoop, channel: Heard) -> StandIn:
    person = Person("u", "h", "h.example", 5, "pts/1", force=False)
    return StandIn(7, person, channel, loop)  # type: ignore[arg-type]  # it sends, and no more


def test_what_is_said_while_it_attaches_is_in_the_answer_and_later_words_are_messages() -> None:
    async def test(loop: ManualLoop) -> None:
        channel, a, b = Heard(), FakeConsole("a"), FakeConsole("b")
        client = stand_in(loop, channel)
        attached = client.attach([a, b])  # type: ignore[list-item]
        assert attached.arrivals == {"a": [b"met a"], "b": [b"met b"]}
        assert attached.greetings == {"a": [b"down a"], "b": [b"down b"]}
        assert not channel.messages
        client.inform(b"news")
        client.deliver(b"important")
        assert channel.messages == [Inform(7, b"news"), Inform(7, b"important", always=True)]

    run(test)


def test_it_types_to_all_its_consoles_until_they_are_taken() -> None:
    async def test(loop: ManualLoop) -> None:
        channel, a, b = Heard(), FakeConsole("a"), FakeConsole("b")
        client = stand_in(loop, channel)
        client.attach([a, b])  # type: ignore[list-item]
        client.type(b"x")
        client.robbed_of(a)  # type: ignore[arg-type]
        client.send_break()
        assert (a.device.got, b.device.got) == ([b"x"], [b"x", "break"])
        assert a.writers == [] and b.writers == [client]
        client.robbed_of(b)  # type: ignore[arg-type]
        assert channel.messages == [Robbed(7, 1), Robbed(7, 0)]

    run(test)


def test_it_leaves_all_consoles() -> None:
    async def test(loop: ManualLoop) -> None:
        a, b = FakeConsole("a"), FakeConsole("b")
        client = stand_in(loop, Heard())
        client.attach([a, b])  # type: ignore[list-item]
        client.detach(silently=False)
        assert client.has_left and not a.writers and not b.writers
        client.detach(silently=True)

    run(test)


def test_a_front_that_does_not_listen_costs_notices_only() -> None:
    async def test(loop: ManualLoop) -> None:
        channel = Heard()
        channel.is_crowded = True
        client = stand_in(loop, channel)
        client.inform(b"news")
        client.deliver(b"news")
        assert not channel.messages

    run(test)
