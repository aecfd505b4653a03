"""The terminal server's side of telnet: what a port says to its peer, and what the peer's bytes mean.

Written apart from the daemon's telnet core, so that each can show the other's mistakes.
"""

from __future__ import annotations

import enum
from typing import Dict, List, Set, Union

IAC, DONT, DO, WONT, WILL, SB, SE, BRK = 255, 254, 253, 252, 251, 250, 240, 243
BINARY, ECHO, SUPPRESS_GO_AHEAD = 0, 1, 3


class Signal(enum.Enum):
    BREAK = "serial break"


class TelnetPort:
    """One connection: send what ``start`` returns, feed ``receive``, then send ``take_output``."""

    def __init__(self) -> None:
        self._state = "data"
        self._verb = 0
        self._output = bytearray()
        self.ours: Dict[int, bool] = {BINARY: False, ECHO: False, SUPPRESS_GO_AHEAD: False}
        self.theirs: Dict[int, bool] = {BINARY: False, SUPPRESS_GO_AHEAD: False}
        self._offered: Set[int] = set()

    def start(self) -> bytes:
        """A terminal server offers to echo and to do without go-aheads."""
        self._offered = {ECHO, SUPPRESS_GO_AHEAD}
        return bytes([IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD])

    def receive(self, data: bytes) -> List[Union[bytes, Signal]]:
        """Typed bytes and breaks in the order they came."""
        items: List[Union[bytes, Signal]] = []
        typed = bytearray()
        for byte in data:
            if self._state == "data" and byte != IAC:
                typed.append(byte)
            elif self._state == "iac" and byte == IAC:
                typed.append(byte)
                self._state = "data"
            elif self._state == "iac" and byte == BRK:
                items += [bytes(typed), Signal.BREAK]
                typed.clear()
                self._state = "data"
            else:
                self._protocol_byte(byte)
        return [item for item in [*items, bytes(typed)] if item]

    def take_output(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output

    @staticmethod
    def escape(data: bytes) -> bytes:
        return data.replace(b"\xff", b"\xff\xff")

    def _protocol_byte(self, byte: int) -> None:
        if self._state == "data":
            self._state = "iac"
        elif self._state == "iac":
            self._verb = byte
            self._state = "option" if byte in (DO, DONT, WILL, WONT) else "sub" if byte == SB else "data"
        elif self._state == "sub":
            self._state = "sub iac" if byte == IAC else "sub"
        elif self._state == "sub iac":
            self._state = "data" if byte == SE else "sub"
        else:
            self._state = "data"
            self._negotiate(self._verb, byte)

    def _negotiate(self, verb: int, option: int) -> None:
        """Answer only what changes something, so that negotiations end (RFC 1143)."""
        options, yes, no = (self.ours, WILL, WONT) if verb in (DO, DONT) else (self.theirs, DO, DONT)
        wanted = verb in (DO, WILL)
        if option not in options:
            if wanted:
                self._output += bytes([IAC, no, option])
        elif verb in (DO, DONT) and option in self._offered:
            self._offered.discard(option)  # the answer to our offer
            options[option] = wanted
        elif options[option] != wanted:
            options[option] = wanted
            self._output += bytes([IAC, yes if wanted else no, option])
