"""In a worker, the client of a broadcast over several workers; the session itself is the front's."""

from __future__ import annotations

import asyncio
from typing import Callable, List, Optional, Sequence

from conmand.server.hub import SharedConsole
from conmand.server.workers.channel import Channel
from conmand.server.workers.messages import Attached, Inform, Person, Robbed


class StandIn:
    """A ``Participant``. Tells the front what its client is to know, and does to the consoles what the client does."""

    broadcast = True
    mode = "B/C"

    def __init__(self, session: int, person: Person, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.user, self.host, self.fqdn, self.port = person.user, person.host, person.fqdn, person.port
        self.tty: Optional[str] = person.tty
        self.force = person.force
        self.consoles: List[SharedConsole] = []
        self.last_input = loop.time()
        self._session = session
        self._channel = channel
        self._loop = loop
        self._said: Optional[List[bytes]] = None  # what is said while it attaches goes into the answer
        self._leaving = False

    # What the hub asks and tells.

    @property
    def idle_seconds(self) -> float:
        return self._loop.time() - self.last_input

    @property
    def has_left(self) -> bool:
        return self._leaving

    def deliver(self, data: bytes) -> None:
        """A broadcast reads nothing; this is a word that it is told even if it wants none."""
        if not self._channel.is_crowded:
            self._channel.send(Inform(self._session, data, always=True))

    def inform(self, block: bytes) -> None:
        if self._said is not None:
            self._said.append(block)
        elif not self._channel.is_crowded:
            self._channel.send(Inform(self._session, block))

    def hold_input(self, console: SharedConsole) -> None:
        """One slow console must not stop the others."""

    def release_input(self, console: SharedConsole) -> None:
        """It was not held."""

    def robbed_of(self, console: SharedConsole) -> None:
        self.consoles.remove(console)
        console.remove_writer(self)
        self._channel.send(Robbed(self._session, len(self.consoles)))

    # What the front tells.

    def attach(self, consoles: Sequence[SharedConsole]) -> Attached:
        self.consoles = list(consoles)
        arrivals = {console.name: self._hear(console.add_writer) for console in consoles}
        greetings = {console.name: self._hear(console.greet) for console in consoles}
        return Attached(arrivals, greetings)

    def _hear(self, action: Callable[[StandIn], None]) -> List[bytes]:
        """What is said to us while we do ``action``."""
        said: List[bytes] = []
        self._said = said
        action(self)
        self._said = None
        return said

    def type(self, data: bytes) -> None:
        for console in self.consoles:
            console.device.send(data)

    def send_break(self) -> None:
        for console in self.consoles:
            console.device.send_break()

    def detach(self, *, silently: bool) -> None:
        self._leaving = True
        consoles, self.consoles = self.consoles, []
        for console in consoles:
            if silently:
                console.forget(self)
            else:
                console.remove_writer(self)
