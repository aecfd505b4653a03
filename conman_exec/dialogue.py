"""A login as a conversation: what a device says, what we answer, and how it ends.

Pure: the tool's output, its end and the time go in; commands to run, answers, and one of :class:`Opened`,
:class:`Become` or :class:`Failed` come out. Each device script is a subclass with a table of rules. The rules mean what
expect's do, as the originals' dialogues were written for it: at each new piece of output they are tried in their order
against everything that no rule has consumed; the first that matches wins and consumes up to its end; and a whole line
that no rule wants is dropped. (pexpect takes the match that comes first in the output instead.) So where output is cut
into pieces may matter, for rules about its end; that is in the nature of prompts.

From the moment a device may have put us through to its console, ``keeping`` is set, and then what is dropped is
kept for the user.
"""

from __future__ import annotations

import re

from conman_exec.arguments import Target
from conman_exec.record import TYPE_CHECKING, Record
from conman_exec.secret import Secret
from conman_exec.settings import Settings

if TYPE_CHECKING:
    from typing import Callable, Union

    Event = Union["Run", "Connect", "Open", "Send", "Opened", "Become", "Failed"]

# Of output without a line end only this much is kept: no prompt or message is longer, and a node may send anything.
MAX_PENDING_BYTES = 16384

# Of what is kept for the user, the latest this many bytes: a relay takes it over through a pipe, which holds 64 KiB.
MAX_KEPT_BYTES = 32768


class Run(Record):
    """Start a tool, in place of the one before.

    With ``terminal`` on a pseudo-terminal of its own; else on a socket, where end of file tells it to
    end. ``secret`` is what it reads from file descriptor 3 (``/dev/fd/3``); it is in no argument and no environment.
    """

    argv: tuple[str, ...]
    terminal: bool
    secret: Secret | None = None
    home: str = "/"


class Connect(Record):
    """Connect by TCP and speak telnet. What happens is told in the words of a telnet program, as tool output."""

    host: str
    port: str


class Open(Record):
    """Open a serial port (pyserial's name or URL)."""

    url: str


class Send(Record):
    data: Secret  # most of what is sent is no secret, but who can tell


class Opened(Record):
    """The session is open. ``output`` is what the device said so far and the user is to see.

    ``kind`` and ``options`` name the class of :mod:`conman_exec.sessions` that it goes on with.
    """

    tool: str
    output: bytes
    kind: str
    options: tuple[str, ...] = ()
    notice: str = ""  # a line for the user, besides that the session is open


class Become(Record):
    """The tool can do without us: this process is to become it, with the daemon's descriptors as its own."""

    run: Run


class Failed(Record):
    """``reason`` as the originals word it, with its full stop where they have one."""

    reason: str


class Rules:
    """A table of rules: a pattern, and the name of the method that acts on its match.

    In a pattern ``\\A`` is the beginning and ``\\Z`` the end of the unconsumed output. Patterns are compiled when
    the table is first used, as most tables of a script are not used in most logins.
    """

    def __init__(self, *rules: tuple[bytes, str]) -> None:
        self._rules = rules
        self._compiled: list[tuple[re.Pattern[bytes], str]] | None = None

    def first_match(self, data: bytes) -> tuple[re.Match[bytes], str] | None:
        """The match of the first rule in the table that matches anywhere."""
        if self._compiled is None:
            self._compiled = [(re.compile(pattern, re.DOTALL), action) for pattern, action in self._rules]
        for pattern, action in self._compiled:
            match = pattern.search(data)
            if match:
                return match, action
        return None


_LINE = re.compile(rb"[^\n]*\n")

CLOSED = "Connection closed by remote host."
DENIED = "Permission denied."
IN_USE = "Console session already in use."
TIMED_OUT = "Timed-out."


class Dialogue:
    """The base of all scripts' dialogues. A shell calls the first five methods; the rest is for subclasses.

    Feed it in any order, and after each call take :meth:`events` and carry them out in order. Once ``over``, nothing
    is taken in any more.
    """

    tool = ""
    notice = ""
    rules = Rules()

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target, self.settings = target, settings
        self.keeping = False
        self.over = False
        self.now = 0.0
        self._events: list[Event] = []
        self._pending = b""
        self._kept = b""
        self._told = Secret()
        self._deadline: float | None = None

    # For the shell.

    def begin(self, now: float) -> None:
        self.now = now
        self.allow(self.settings.timeout)
        self.start()

    def receive(self, data: bytes, now: float) -> None:
        """Output of the tool that runs now."""
        if self.over:
            return
        self.now = now
        self._pending += data
        while self._pending and not self.over and self._step():
            pass
        if len(self._pending) > MAX_PENDING_BYTES:
            cut = len(self._pending) - MAX_PENDING_BYTES
            self._drop(self._pending[:cut])
            self._pending = self._pending[cut:]

    def receive_eof(self, now: float) -> None:
        """The tool that runs now has closed its side."""
        self.now = now
        if not self.over:
            self.at_eof()

    def expire(self, now: float) -> None:
        """The time has come to ``now``; does nothing before the deadline."""
        self.now = now
        if not self.over and self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.at_timeout()

    def deadline(self) -> float | None:
        return None if self.over else self._deadline

    def events(self) -> list[Event]:
        """What to do, in order; each event is given once."""
        events, self._events = self._events, []
        return events

    # For subclasses.

    def start(self) -> None:
        """The first thing to do."""
        raise NotImplementedError

    def at_eof(self) -> None:
        self.fail(CLOSED)

    def at_timeout(self) -> None:
        self.fail(TIMED_OUT)

    def allow(self, seconds: float) -> None:
        """Set the deadline ``seconds`` from now."""
        self._deadline = self.now + seconds

    def run(self, *argv: str, terminal: bool, secret: Secret | None = None, home: str = "/") -> None:
        self._pending = b""
        self._events.append(Run(argv, terminal, secret, home))

    def do(self, event: Event) -> None:
        self._events.append(event)

    def say(self, data: bytes) -> None:
        self._events.append(Send(Secret(data)))

    def tell(self, secret: Secret, end: bytes = b"\r") -> None:
        """Say a secret. A device that echoes it in spite of itself does not bring it before the user's eyes."""
        self._told = secret
        self.say(secret + end)

    def keep(self) -> None:
        """From here on, what the device says is for the user."""
        self.keeping = True
        self._kept = b""

    def heard(self) -> bytes:
        """What the user would see if the session were open now."""
        return self._kept + self._pending

    def fail(self, reason: str) -> None:
        self._end(Failed(reason))

    def open(self, kind: str, *options: str) -> None:
        output = self.heard()
        if self._told and output.startswith(self._told):
            output = output[len(self._told) :]
        self._end(Opened(self.tool, output[-MAX_KEPT_BYTES:], kind, options, self.notice))

    def _end(self, event: Event) -> None:
        self.over = True
        self._events.append(event)

    def _step(self) -> bool:
        found = self.rules.first_match(self._pending)
        if found:
            match, action = found
            self._consume(match, keep=False)
            method: Callable[[re.Match[bytes]], None] = getattr(self, action)
            method(match)
            return True
        line = _LINE.match(self._pending)
        if line:
            self._consume(line, keep=True)
        return bool(line)

    def _consume(self, match: re.Match[bytes], keep: bool) -> None:
        self._drop(self._pending[: match.end() if keep else match.start()])
        self._pending = self._pending[match.end() :]

    def _drop(self, data: bytes) -> None:
        if self.keeping:
            self._kept = (self._kept + data)[-MAX_KEPT_BYTES:]

    # Actions that several scripts share.

    def report(self, match: re.Match[bytes]) -> None:
        """The tool's own reason, which is the pattern's first group."""
        self.fail(text(match[1]))

    def report_sentence(self, match: re.Match[bytes]) -> None:
        self.fail(text(match[1]) + ".")

    def deny(self, match: re.Match[bytes]) -> None:
        self.fail(DENIED)

    def in_use(self, match: re.Match[bytes]) -> None:
        self.fail(IN_USE)

    def closed(self, match: re.Match[bytes]) -> None:
        self.fail(CLOSED)


def text(data: bytes) -> str:
    """Words of a device, to stand in a message; control characters are dropped."""
    from conman.text import decode

    return "".join(char for char in decode(data.strip()) if char >= " " and char != "\x7f")
