"""What the front and its workers say to each other. Only data: who does what with it is the receiver's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from conmand.config.changes import ConsoleChanges
from conmand.config.model import ConsoleSettings, LogLevel, ServerSettings
from conmand.config.settings import DaemonSettings
from conmand.server.handshake import Asked, Peer
from conmand.server.site import SiteOptions

# To a worker.


@dataclass(frozen=True)
class Setup:
    """The first message: what to serve. Secrets come this way and not by command line or environment."""

    number: int
    server: ServerSettings
    consoles: Tuple[ConsoleSettings, ...] = field(repr=False)
    options: SiteOptions


@dataclass(frozen=True)
class Begin:
    """Begin the session, or refuse it. The client's socket comes with it."""

    session: int
    user: str
    tty: Optional[str]
    peer: Peer
    asked: Asked
    names: Tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """Asks for an ``Answer`` with the same number."""

    number: int
    question: Any


@dataclass(frozen=True)
class Describe:
    """A question. Answer: the status of each console, ``Dict[str, bytes]``."""

    names: Tuple[str, ...]


@dataclass(frozen=True)
class WhoWrites:
    """A question. Answer: those that have writers, ``Dict[str, List[str]]`` of the lines of a refusal."""

    names: Tuple[str, ...]


@dataclass(frozen=True)
class Reopen:
    """A question. Answer: ``None`` when every log has been opened again."""


@dataclass(frozen=True)
class Apply:
    """A question: go on with this. Answer: ``None`` when there are just the consoles that there should be.

    With a ``number`` other workers change too: open nothing before ``AllClosed``, start no program before ``AllEnded``.
    """

    server: ServerSettings
    changes: ConsoleChanges = field(repr=False)
    settings: DaemonSettings
    number: int = 0


@dataclass(frozen=True)
class AllClosed:
    """Every worker has closed what it lost by the change ``number``."""

    number: int


@dataclass(frozen=True)
class ProgramsEnded:
    """A question. Answer: ``None`` when the programs that were to go by the change ``number`` have gone."""

    number: int


@dataclass(frozen=True)
class AllEnded:
    """No worker has a program any more that was to go by the change ``number``."""

    number: int


@dataclass(frozen=True)
class Person:
    """The client of a broadcast, as messages name it."""

    user: str
    host: str
    fqdn: str
    port: int
    tty: Optional[str]
    force: bool


@dataclass(frozen=True)
class Attach:
    """A question: make the client a writer of ``names``. Answer: ``Attached``, or ``WhoWrites``' if it may not be.

    ``exclusive`` is for a client that neither forces nor joins: somebody may have been quicker.
    """

    session: int
    person: Person
    names: Tuple[str, ...]
    exclusive: bool


@dataclass(frozen=True)
class Attached:
    """What consoles have told the client, by name: on becoming a writer, and after that of those that are down."""

    arrivals: Dict[str, List[bytes]]
    greetings: Dict[str, List[bytes]]


@dataclass(frozen=True)
class Type:
    """What the client of a broadcast types. ``last_input`` is CLOCK_MONOTONIC, the same for all processes."""

    session: int
    data: bytes
    last_input: float


@dataclass(frozen=True)
class Touch:
    """The client has typed something that is none of the consoles' business."""

    session: int
    last_input: float


@dataclass(frozen=True)
class Break:
    session: int


@dataclass(frozen=True)
class Reset:
    session: int


@dataclass(frozen=True)
class Detach:
    """The client has gone. ``silently`` when the daemon stops."""

    session: int
    silently: bool = False


@dataclass(frozen=True)
class Ping:
    """The worker answers with the same."""

    number: int


@dataclass(frozen=True)
class NewStderr:
    """The daemon's log has been opened anew; its descriptor comes with this, for a dying interpreter's last words."""


@dataclass(frozen=True)
class Stop:
    pass


# From a worker.


@dataclass(frozen=True)
class Ready:
    """It serves from now on."""


@dataclass(frozen=True)
class Answer:
    number: int
    value: Any


@dataclass(frozen=True)
class Failed:
    """In place of an ``Answer``: a mistake of ours, which has been logged."""

    number: int


@dataclass(frozen=True)
class LogLine:
    level: LogLevel
    text: str


@dataclass(frozen=True)
class Begun:
    """The client has got its reply: what it is sent from now on is shown to its user."""

    session: int


@dataclass(frozen=True)
class Ended:
    """The session is over, or was refused."""

    session: int


@dataclass(frozen=True)
class Inform:
    """A notice for the client of a broadcast, ``always`` also if it wants none."""

    session: int
    block: bytes
    always: bool = False


@dataclass(frozen=True)
class Robbed:
    """A broadcast has lost a console to another writer, or to a new configuration; ``left`` are those it has here."""

    session: int
    left: int


@dataclass(frozen=True)
class Resets:
    """The reset commands that run now, by pid. They outlive the worker."""

    pids: Tuple[int, ...]
