"""The escape bytes inside a session, from the client to the daemon: FF and one more byte.

It knows which sequences exist and where data ends and a command begins; it does not know what a command does. Nothing
is escaped from the daemon to the client, so nothing here is for that direction. Source: ConMan 0.3.1 as observed, save
that it ran the commands of a read before the data typed in front of them; here everything comes in the order typed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import List, Union

ESCAPE = 0xFF
_ESCAPE = b"\xff"


class Command(enum.Enum):
    """What a client can ask for in a session; the value is the byte that follows FF."""

    BREAK = b"B"
    DELETE = b"D"  #: the byte 7F, for terminals that cannot type it
    FORCE = b"F"
    JOIN = b"J"
    REPLAY = b"L"
    MONITOR = b"M"
    QUIET = b"Q"
    RESET = b"R"
    SUSPEND = b"Z"


@dataclass(frozen=True)
class Data:
    """Bytes for the console, never empty, each FF already single."""

    data: bytes


@dataclass(frozen=True)
class Invalid:
    """FF and a byte (its number) that is no command; both are to be dropped."""

    byte: int


Event = Union[Data, Command, Invalid]

_COMMANDS = {command.value[0]: command for command in Command}


def stuff(data: bytes) -> bytes:
    """``data`` as a client sends it to a console: each FF doubled."""
    return data.replace(_ESCAPE, _ESCAPE + _ESCAPE)


def encode_command(command: Command) -> bytes:
    """The two bytes with which a client asks for ``command``."""
    return _ESCAPE + bytes(command.value)


class EscapeDecoder:
    """The daemon's side: bytes of one client in, data and commands out.

    It holds back at most one FF between calls. An FF that the client's end of file leaves alone is lost, as in ConMan.
    """

    def __init__(self) -> None:
        self._pending = False

    def receive(self, data: bytes) -> List[Event]:
        """What ``data`` says, in the order typed; two ``Data`` never follow each other in one answer.

        Typing without an FF, which is nearly all of it, is handed on without a copy.
        """
        if not self._pending and ESCAPE not in data:
            return [Data(data)] if data else []
        if self._pending:
            data = _ESCAPE + data
        return self._scan(data)

    def _scan(self, data: bytes) -> List[Event]:
        events: List[Event] = []
        plain: List[bytes] = []  # what the next Data will consist of
        start = 0
        while True:
            found = data.find(_ESCAPE, start)
            self._pending = found == len(data) - 1 and found >= 0
            if found < 0 or self._pending:
                plain.append(data[start : len(data) - self._pending])
                break
            byte = data[found + 1]
            plain.append(data[start : found + (byte == ESCAPE)])  # FF FF: keep the first of the two
            if byte != ESCAPE:
                _flush(plain, events)
                events.append(_COMMANDS.get(byte) or Invalid(byte))
            start = found + 2
        _flush(plain, events)
        return events


def _flush(plain: List[bytes], events: List[Event]) -> None:
    joined = b"".join(plain)
    plain.clear()
    if joined:
        events.append(Data(joined))
