"""A device script's dialogue held by hand: what the tool says goes in, what the script does is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conman_exec.arguments import Target
from conman_exec.dialogue import Become, Connect, Dialogue, Failed, Open, Opened, Run, Send
from conman_exec.secret import Secret
from conman_exec.settings import Settings

if TYPE_CHECKING:
    from conman_exec.dialogue import Event


class Conversation:
    """``sent`` is what was said to the device since it was last looked at; ``end`` the event that ended the login."""

    def __init__(self, script: str, make: type[Dialogue], target: Target | None = None, **settings: object) -> None:
        self.now = 1000.0
        default = Target("bmc1", "2000", "3", "admin", Secret(b"t0psecret"))
        self.dialogue = make(target or default, Settings(script, settings))
        self.started: list[Run | Connect | Open] = []
        self.end: Event | None = None
        self._sent = b""
        self.dialogue.begin(self.now)
        self._collect()

    def hears(self, data: bytes, after: float = 0.0) -> bytes:
        """The tool says ``data``; what the script says then."""
        self.now += after
        self.dialogue.receive(data, self.now)
        return self._collect()

    def hears_bytewise(self, data: bytes) -> bytes:
        return b"".join(self.hears(data[at : at + 1]) for at in range(len(data)))

    def ends(self) -> bytes:
        self.dialogue.receive_eof(self.now)
        return self._collect()

    def waits(self, seconds: float) -> bytes:
        self.now += seconds
        self.dialogue.expire(self.now)
        return self._collect()

    @property
    def failure(self) -> str | None:
        return self.end.reason if isinstance(self.end, Failed) else None

    @property
    def opened(self) -> Opened:
        assert isinstance(self.end, Opened), self.end
        return self.end

    def _collect(self) -> bytes:
        sent = b""
        for event in self.dialogue.events():
            assert self.end is None, f"{event} after {self.end}"
            if isinstance(event, Send):
                sent += event.data
            elif isinstance(event, (Run, Connect, Open)):
                self.started.append(event)
            if isinstance(event, (Opened, Failed, Become)):
                self.end = event
        return sent
