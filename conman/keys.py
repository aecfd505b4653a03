"""What the keys of a session mean: typed bytes in, events out.

It knows the escape character, what may be done in which mode, and the words of the help and information lines. It
does no I/O and does not know how an event is carried out. Source: ConMan 0.3.1 as observed, save that an escape
character of 80 hex or more is recognised, which it never was there.

Hard here: text is pasted in bulk, so typed data must not be looked at byte by byte; an escape may still stand anywhere.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Sequence, Tuple, Union

from conman import escapes
from conman.escapes import Command
from conman.text import encode


class Mode(enum.Enum):
    """What a client may do; the value is how it is displayed."""

    READ_ONLY = "R/O"
    READ_WRITE = "R/W"
    BROADCAST = "B/C"


@dataclass(frozen=True)
class Send:
    """Bytes for the daemon, with all that needs it escaped."""

    data: bytes


@dataclass(frozen=True)
class Show:
    """Bytes for the user's terminal only."""

    data: bytes


@dataclass(frozen=True)
class Echo:
    """The terminal is to echo what is typed, or no longer."""

    on: bool


class Action(enum.Enum):
    CLOSE = "the user ends the session"
    SUSPEND = "the user wants the shell; all input that follows is dropped"


KeyEvent = Union[Send, Show, Echo, Action]

_WRITING = frozenset({Mode.READ_WRITE, Mode.BROADCAST})
_ALL = frozenset(Mode)
_MODES: Dict[bytes, FrozenSet[Mode]] = {
    b"?": _ALL,
    b".": _ALL,
    b"B": _WRITING,
    b"D": _WRITING,
    b"E": _WRITING,
    b"F": frozenset({Mode.READ_ONLY}),
    b"I": _ALL,
    b"J": frozenset({Mode.READ_ONLY}),
    b"L": frozenset({Mode.READ_ONLY, Mode.READ_WRITE}),
    b"M": frozenset({Mode.READ_WRITE}),
    b"Q": _ALL,
    b"R": _WRITING,
    b"Z": _ALL,
}
_COMMANDS = {
    b"B": Command.BREAK,
    b"D": Command.DELETE,
    b"F": Command.FORCE,
    b"J": Command.JOIN,
    b"L": Command.REPLAY,
    b"M": Command.MONITOR,
    b"Q": Command.QUIET,
    b"R": Command.RESET,
}
_MODE_AFTER = {b"F": Mode.READ_WRITE, b"J": Mode.READ_WRITE, b"M": Mode.READ_ONLY}


def printable(byte: int) -> bytes:
    """How the escape character is displayed: its top bit stripped, control characters as ``^C``."""
    byte &= 0x7F
    if byte < 0x20:
        return b"^%c" % (byte | 0x40)
    return b"^?" if byte == 0x7F else b"%c" % byte


def framed(text: str) -> bytes:
    """A line of ConMan's own on the terminal. Programs look for it: the form is the original's to the byte."""
    return b"\r\n<ConMan> %b.\r\n" % encode(text)


class Keyboard:
    """One session's keys. ``names`` are its consoles; more than one makes it a broadcast.

    ``mode``, ``quiet`` and ``echo`` are what the user has asked for: the daemon acknowledges no command.
    """

    def __init__(
        self,
        escape: int,
        names: Sequence[str],
        server: str,
        *,
        read_only: bool = False,
        quiet: bool = False,
        reset: bool = False,
    ) -> None:
        self.quiet = quiet
        self.echo = False
        if len(names) > 1:
            self.mode = Mode.BROADCAST
        else:
            self.mode = Mode.READ_ONLY if read_only else Mode.READ_WRITE
        self._escape = bytes([escape])
        self._names = tuple(names)
        self._server = server
        self._reset = reset
        self._escaped = False

    def receive(self, data: bytes) -> List[KeyEvent]:
        """What ``data`` asks for, in the order typed. Nothing follows a ``CLOSE`` or ``SUSPEND``: the rest is lost."""
        events: List[KeyEvent] = []
        start = 0
        while start < len(data):
            if self._escaped:
                key = data[start : start + 1]
                self._escaped = False
                start += 1
                self._escape_typed(key, events)
                if events and isinstance(events[-1], Action):
                    break
                continue
            found = data.find(self._escape, start)
            end = len(data) if found < 0 else found
            self._type(data[start:end], events)
            self._escaped = found >= 0
            start = end + 1
        return events

    def _type(self, data: bytes, events: List[KeyEvent]) -> None:
        if not data or self.mode is Mode.READ_ONLY:
            return
        stuffed = escapes.stuff(data)
        last = events[-1] if events else None
        if isinstance(last, Send):
            events[-1] = Send(last.data + stuffed)
        else:
            events.append(Send(stuffed))

    def _escape_typed(self, key: bytes, events: List[KeyEvent]) -> None:
        if key not in _MODES:
            self._type(key if key == self._escape else self._escape + key, events)
        elif self.mode in _MODES[key] and (key != b"R" or self._reset):
            self._perform(key, events)

    def _perform(self, key: bytes, events: List[KeyEvent]) -> None:
        if key in _COMMANDS:
            events.append(Send(escapes.encode_command(_COMMANDS[key])))
            self.mode = _MODE_AFTER.get(key, self.mode)
            self.quiet ^= key == b"Q"
        elif key == b"?":
            events.append(Show(self.help()))
        elif key == b"I":
            events.append(Show(framed(self._info())))
        elif key == b"E":
            self.echo = not self.echo
            events.append(Echo(self.echo))
        else:
            events.append(Show(printable(self._escape[0]) + key))
            events.append(Action.CLOSE if key == b"." else Action.SUSPEND)

    # Words.

    def status(self, what: str) -> bytes:
        """The line that says that the session was ``opened``, ``closed``, and so on."""
        if len(self._names) > 1:
            return framed(f"Broadcast to {len(self._names)} consoles {what}")
        return framed(f"Connection to console [{self._names[0]}] {what}")

    def _info(self) -> str:
        if self.mode is Mode.BROADCAST:
            return f"Broadcasting to {len(self._names)} consoles on <{self._server}>"
        return f"Connected {self.mode.value} to console [{self._names[0]}] on <{self._server}>"

    def help(self) -> bytes:
        """What ``&?`` shows: the keys that do something now."""
        escape = printable(self._escape[0])
        lines = [b"\r\nSupported ConMan Escape Sequences:"]
        lines += [b"  %2b%-2b -  %b" % (escape, key, text.encode("ascii")) for key, text in self._entries(escape)]
        return b"\r\n".join(lines) + b"\r\n"

    def _entries(self, escape: bytes) -> List[Tuple[bytes, str]]:
        entries = [
            (b"?", "Display this help message."),
            (b".", "Terminate the connection."),
            (escape, "Send the escape character."),
            (b"B", "Transmit a serial-break."),
            (b"D", "Transmit a DEL character."),
            (b"E", f"{'Disable' if self.echo else 'Enable'} echoing of client input."),
            (b"F", "Force write-privileges (console-stealing)."),
            (b"I", "Display connection information."),
            (b"J", "Join write-privileges (console-sharing)."),
            (b"L", "Replay up to the last 4096 bytes of the log."),
            (b"M", "Monitor without write-privileges (read-only)."),
            (b"Q", _QUIET_TEXTS[self.quiet]),
            (b"R", f"Reset {'nodes' if len(self._names) > 1 else 'node'} associated with this console."),
            (b"Z", "Suspend the client."),
        ]
        return [
            entry
            for place, entry in enumerate(entries)
            if place == 2 or (self.mode in _MODES[entry[0]] and (entry[0] != b"R" or self._reset))
        ]


_QUIET_TEXTS = {False: "Enable quiet-mode (suppress info msgs).", True: "Disable quiet-mode (display info msgs)."}
