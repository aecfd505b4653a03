"""The client side of the telnet protocol (RFC 854 to 858, 1143), as consoles behind terminal servers need it.

Knows what of a peer's bytes is console data, what to answer, and how data and a serial break look on the wire. Knows no
sockets and no consoles; one ``TelnetCore`` serves one connection.

What is hard here is to end every negotiation. Two sides that answer each acknowledgement with another never stop
talking, so each option and direction has a state, and only a request that changes it is answered (RFC 1143). ConMan
answers every request; its replies are ours as long as the peer negotiates each option once.

CR NUL is left as it is: ConMan does not translate it, and with BINARY in force it would be wrong to.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

IAC, DONT, DO, WONT, WILL, SB = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA
SE = 0xF0

BINARY, ECHO, SUPPRESS_GO_AHEAD = 0, 1, 3

BREAK = b"\xff\xf3"
"""What to send for a serial break (RFC 854, BRK)."""

MAX_SUBNEGOTIATION_BYTES = 1024
"""Where a sub-negotiation counts as broken, so that a peer which never ends one does not silence its console for good.
Ours: no option we speak has any, and those seen in the wild (terminal type, environment) are far shorter."""

MAX_EVENTS = 64
"""How many events wait at most for ``take_events``; a peer that sends more commands at once gets no more log lines."""

_WILL_OPTIONS = (BINARY, SUPPRESS_GO_AHEAD)
_DO_OPTIONS = (BINARY, ECHO, SUPPRESS_GO_AHEAD)

_OPTION_NAMES = {BINARY: "BINARY", ECHO: "ECHO", SUPPRESS_GO_AHEAD: "SUPPRESS GO AHEAD"}

_COMMAND_NAMES = {
    0xEC: "EOF",
    0xED: "SUSP",
    0xEE: "ABORT",
    0xEF: "EOR",
    0xF1: "NOP",
    0xF2: "DMARK",
    0xF3: "BRK",
    0xF4: "IP",
    0xF5: "AO",
    0xF6: "AYT",
    0xF7: "EC",
    0xF8: "EL",
    0xF9: "GA",
}


@dataclass(frozen=True)
class OptionRefused:
    """The peer will not do, or no longer does, what we asked for."""

    name: str

    def __str__(self) -> str:
        return f"Received telnet cmd WONT {self.name}"


@dataclass(frozen=True)
class CommandIgnored:
    """The peer sent a command that means nothing on a console."""

    name: str

    def __str__(self) -> str:
        return f"Ignoring telnet cmd {self.name} OPT:-1"


@dataclass(frozen=True)
class InvalidCommand:
    """The peer sent what is no telnet command, or (SB, 0xfa) a sub-negotiation without an end."""

    byte: int

    def __str__(self) -> str:
        return f"Received invalid telnet cmd 0x{self.byte:02x}"


Event = Union[OptionRefused, CommandIgnored, InvalidCommand]
"""What deserves a line in the daemon's log; ``str()`` is the line without its ``from console [NAME]``."""


class _Parser(enum.Enum):
    DATA = "console data"
    COMMAND = "after IAC"
    OPTION = "after IAC and one of DO, DONT, WILL, WONT"
    SUBNEGOTIATION = "after IAC SB"
    SUBNEGOTIATION_IAC = "after an IAC inside a sub-negotiation"


class _Option(enum.Enum):
    """An option on one side. RFC 1143's WANTNO states cannot occur: we never ask to end an option."""

    NO = "off"
    WANTYES = "off, and we have asked for it"
    YES = "on"


# State and whether the peer says yes -> new state and our answer, None being no answer. RFC 1143, section 7.
_TRANSITIONS: Dict[Tuple[_Option, bool], Tuple[_Option, Optional[bool]]] = {
    (_Option.NO, True): (_Option.YES, True),
    (_Option.NO, False): (_Option.NO, None),
    (_Option.WANTYES, True): (_Option.YES, None),
    (_Option.WANTYES, False): (_Option.NO, None),
    (_Option.YES, True): (_Option.YES, None),
    (_Option.YES, False): (_Option.NO, False),
}


def escape(data: bytes) -> bytes:
    """Console data as it goes to the peer: FF doubled."""
    return data.replace(b"\xff", b"\xff\xff") if IAC in data else data


class TelnetCore:
    """One connection: send what ``start`` returns, feed ``receive``, then send ``take_output``."""

    __slots__ = ("_events", "_output", "_ours", "_parser", "_skippable_bytes", "_theirs", "_verb")

    def __init__(self) -> None:
        self._parser = _Parser.DATA
        self._verb = DO  # of the option command under way
        self._skippable_bytes = 0  # of the sub-negotiation under way
        # Options that are not listed are never on.
        self._ours = dict.fromkeys(_WILL_OPTIONS, _Option.NO)
        self._theirs = dict.fromkeys(_DO_OPTIONS, _Option.NO)
        self._output: List[bytes] = []
        self._events: List[Event] = []

    def start(self) -> bytes:
        """What to send once connected: DO BINARY, ECHO and SUPPRESS GO AHEAD, WILL BINARY and SUPPRESS GO AHEAD."""
        for states in (self._theirs, self._ours):
            states.update(dict.fromkeys(states, _Option.WANTYES))
        does = b"".join(bytes((IAC, DO, option)) for option in _DO_OPTIONS)
        return does + b"".join(bytes((IAC, WILL, option)) for option in _WILL_OPTIONS)

    def receive(self, data: bytes) -> bytes:
        """The console data in ``data``, which is ``data`` itself when there is nothing else in it.

        Otherwise there may be output and events to take. Sequences may be split over calls.
        """
        if IAC not in data and self._parser is _Parser.DATA:
            return data
        text: List[bytes] = []
        position = 0
        while position < len(data):
            if self._parser is _Parser.DATA:
                position = self._receive_text(data, position, text)
            elif self._parser is _Parser.SUBNEGOTIATION:
                position = self._skip(data, position)
            else:
                self._receive_byte(data[position], text)
                position += 1
        return b"".join(text)

    def take_output(self) -> bytes:
        """Answers for the peer since the last call: never more bytes than were received."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def take_events(self) -> List[Event]:
        """What happened since the last call, oldest first, at most ``MAX_EVENTS`` of them."""
        events, self._events = self._events, []
        return events

    escape = staticmethod(escape)

    def _receive_text(self, data: bytes, position: int, text: List[bytes]) -> int:
        end = data.find(IAC, position)
        if end < 0:
            text.append(data[position:])
            return len(data)
        text.append(data[position:end])
        self._parser = _Parser.COMMAND
        return end + 1

    def _skip(self, data: bytes, position: int) -> int:
        end = data.find(IAC, position, position + self._skippable_bytes)
        if end >= 0:
            self._count_skipped(end - position)
            self._parser = _Parser.SUBNEGOTIATION_IAC
            return end + 1
        end = min(len(data), position + self._skippable_bytes)
        self._count_skipped(end - position)
        return end

    def _count_skipped(self, count: int) -> None:
        self._skippable_bytes -= count
        if self._skippable_bytes <= 0:
            self._parser = _Parser.DATA
            self._tell(InvalidCommand(SB))

    def _receive_byte(self, byte: int, text: List[bytes]) -> None:
        if self._parser is _Parser.COMMAND:
            self._receive_command(byte, text)
        elif self._parser is _Parser.OPTION:
            self._parser = _Parser.DATA
            self._negotiate(self._verb, byte)
        elif byte == IAC:
            self._parser = _Parser.SUBNEGOTIATION
            self._count_skipped(1)
        else:
            # Either SE, or a command that says that the sub-negotiation was broken off.
            self._receive_command(byte, text)

    def _receive_command(self, byte: int, text: List[bytes]) -> None:
        self._parser = _Parser.DATA
        if byte == IAC:
            text.append(b"\xff")
        elif byte in (DO, DONT, WILL, WONT):
            self._verb = byte
            self._parser = _Parser.OPTION
        elif byte == SB:
            self._skippable_bytes = MAX_SUBNEGOTIATION_BYTES
            self._parser = _Parser.SUBNEGOTIATION
        elif byte in _COMMAND_NAMES:
            self._tell(CommandIgnored(_COMMAND_NAMES[byte]))
        elif byte != SE:
            self._tell(InvalidCommand(byte))

    def _negotiate(self, verb: int, option: int) -> None:
        """DO and DONT speak of our side, WILL and WONT of theirs."""
        states, yes, no = (self._ours, WILL, WONT) if verb in (DO, DONT) else (self._theirs, DO, DONT)
        agreed = verb in (DO, WILL)
        state = states.get(option)
        if state is None:
            answer = False if agreed else None
        else:
            states[option], answer = _TRANSITIONS[state, agreed]
            if verb == WONT and state is not _Option.NO:
                self._tell(OptionRefused(_OPTION_NAMES[option]))
        if answer is not None:
            self._output.append(bytes((IAC, yes if answer else no, option)))

    def _tell(self, event: Event) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)
