"""A broadcast whose consoles are in several workers: its session runs in the front, the consoles stay where they are.

The session is the one class that all sessions have. In place of consoles it is given one ``Share`` per worker, which
passes on what the client does; what consoles tell the client comes back as messages.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from conmand.server.client import Client
from conmand.server.workers import messages as m
from conmand.server.workers.messages import Attached, Inform, Person, Robbed
from conmand.server.workers.process import WorkerProcess


class Share:
    """The consoles of one worker that a broadcast writes to; to the session it is a console, and its device."""

    log = None

    def __init__(self, session: int, worker: WorkerProcess, names: Sequence[str]) -> None:
        self.session = session
        self.worker = worker
        self.names = list(names)
        self.name = self.names[0]
        self.arrivals: List[bytes] = []
        self.greetings: List[bytes] = []
        self.attached = False
        self._told_last_input = 0.0
        self._client: Optional[Client] = None

    @property
    def device(self) -> Share:
        return self

    # As a console.

    def add_writer(self, client: Client) -> None:
        """The consoles have been joined already; what they said then is said now."""
        self._client = client
        for block in self.arrivals:
            client.inform(block)

    def greet(self, client: Client) -> None:
        for block in self.greetings:
            client.inform(block)

    def remove_writer(self, client: Client) -> None:
        self.detach()

    def remove_reader(self, client: Client) -> None:
        """A broadcast reads nothing."""

    def forget(self, client: Client) -> None:
        self.detach(silently=True)

    # As a device.

    def send(self, data: bytes) -> None:
        # As with a console that takes nothing, bytes are lost when there are too many.
        if self._client is not None and not self.worker.is_crowded:
            self._told_last_input = self._client.last_input
            self.worker.send(m.Type(self.session, data, self._told_last_input))

    def send_break(self) -> None:
        self.worker.send(m.Break(self.session))

    # Ours.

    def reset(self) -> None:
        self.worker.send(m.Reset(self.session))

    def touch(self, last_input: float) -> None:
        """The client has done something that consoles need not know, but others may ask how long it is idle."""
        if last_input != self._told_last_input:
            self._told_last_input = last_input
            self.worker.send(m.Touch(self.session, last_input))

    def detach(self, *, silently: bool = False) -> None:
        """Idempotent."""
        if self.attached:
            self.attached = False
            self.worker.send(m.Detach(self.session, silently))


class BroadcastClient(Client):
    """The session of a broadcast over several workers."""

    __slots__ = ("shares", "_console_count", "_waiting")

    shares: List[Share]

    def prepare(self, shares: Sequence[Share]) -> None:
        self.shares = list(shares)
        self._console_count = sum(len(share.names) for share in shares)
        self._waiting: Optional[List[object]] = []  # what workers say before the session has started

    def _where(self) -> str:
        return f"{self._console_count} consoles (broadcast)"

    def _received(self, data: bytes) -> None:
        super()._received(data)
        for share in self.shares:
            if share.attached:
                share.touch(self.last_input)

    # What workers say.

    def started(self) -> None:
        """Begin to listen to the workers; first to what they have said meanwhile."""
        waiting, self._waiting = self._waiting or [], None
        for message in waiting:
            self.hear(message)

    def hear(self, message: object) -> None:
        if self._waiting is not None:
            self._waiting.append(message)
        elif isinstance(message, Inform):
            if message.always:
                self.deliver(message.block)
            else:
                self.inform(message.block)
        elif isinstance(message, _Lost):
            self._lose(message)

    def hear_robbed(self, share: Share, message: Robbed) -> None:
        if not message.left:
            self.hear(_Lost(share, b""))

    def lose(self, share: Share, words: bytes) -> None:
        """The worker has ended: go on with the consoles of others. The client is told in any case."""
        self.hear(_Lost(share, words))

    def _lose(self, lost: _Lost) -> None:
        share = lost.share
        share.detach()
        if share in self.shares and not self.has_left:
            self.shares.remove(share)
            if lost.words:
                self.deliver(lost.words)
            if not self.has_left:
                self.robbed_of(share)  # type: ignore[arg-type]  # see Broadcasts.begin


class _Lost:
    """Nothing of ``share`` is left."""

    __slots__ = ("share", "words")

    def __init__(self, share: Share, words: bytes) -> None:
        self.share = share
        self.words = words


def merge(names: Sequence[str], said: Sequence[Dict[str, List[bytes]]]) -> List[bytes]:
    """What consoles said to somebody who came to all of them, as if they were in one process: in their order."""
    by_name = {name: blocks for one in said for name, blocks in one.items()}
    return [block for name in names for block in by_name.get(name, ())]


def give_words(shares: Sequence[Share], names: Sequence[str], attached: Sequence[Attached]) -> None:
    """Let the first share say what all consoles have said."""
    shares[0].arrivals = merge(names, [one.arrivals for one in attached])
    shares[0].greetings = merge(names, [one.greetings for one in attached])


def person(client: Client) -> Person:
    return Person(client.user, client.host, client.fqdn, client.port, client.tty, client.force)
