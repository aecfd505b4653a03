"""Telnet as the device scripts speak it: the data without the protocol, and the answers the protocol wants.

Pure, and without imports, as it lives in each console's relay process. Speaking telnet here, instead of running a
telnet program, leaves users no escape to that program's prompt (from which ``!`` starts a shell as the daemon's
user), costs no process, and makes the break a command instead of a dialogue.

Only what terminal servers ask for is agreed to: echo by them, no go-aheads, 8-bit data, a terminal type. Everything
else is refused once (RFC 854, 855, 856, 1091).
"""

from __future__ import annotations

IAC, DONT, DO, WONT, WILL, SB, BRK, SE = 255, 254, 253, 252, 251, 250, 243, 240
BINARY, ECHO, SUPPRESS_GO_AHEAD, TERMINAL_TYPE = 0, 1, 3, 24

# The longest sub-negotiation kept; a terminal-type request has 2 bytes. A longer one is dropped up to its end.
MAX_SUBNEGOTIATION_BYTES = 256

_THEIRS = (BINARY, ECHO, SUPPRESS_GO_AHEAD)
_OURS = (BINARY, SUPPRESS_GO_AHEAD, TERMINAL_TYPE)


class TelnetCodec:
    """One telnet connection. ``state()`` and ``TelnetCodec(state)`` carry it from one process to the next."""

    def __init__(self, state: bytes = b"") -> None:
        # Two counts of options, whether a CR came last, the options, then what was received of an unfinished command.
        counts, after_cr, rest = (state[:2], state[2] != 0, state[3:]) if state else (b"\0\0", False, b"")
        end = sum(counts)
        self._theirs, self._ours, self._partial = set(rest[: counts[0]]), set(rest[counts[0] : end]), rest[end:]
        self._replies = bytearray()
        self._after_cr = after_cr

    def state(self) -> bytes:
        theirs, ours = bytes(sorted(self._theirs)), bytes(sorted(self._ours))
        return bytes((len(theirs), len(ours), self._after_cr)) + theirs + ours + self._partial

    def receive(self, data: bytes) -> bytes:
        """The data among received bytes, ``CR NUL`` as ``CR``. Answers wait in :meth:`replies`."""
        data, self._partial = self._partial + data, b""
        parts = []
        start = 0
        while True:
            at = data.find(b"\xff", start)
            if at < 0:
                parts.append(self._text(data[start:]))
                break
            parts.append(self._text(data[start:at]))
            start, literal = self._command(data, at)
            if literal:
                parts.append(b"\xff")
                self._after_cr = False
            if start < 0:
                break
        return b"".join(parts)

    def _text(self, data: bytes) -> bytes:
        if not data:
            return b""
        text = self._drop_nul(data)
        self._after_cr = data.endswith(b"\r")  # its NUL may be next; the CR is not kept back for that
        return text

    def _drop_nul(self, data: bytes) -> bytes:
        if BINARY in self._theirs:
            return data
        if self._after_cr and data.startswith(b"\0"):
            data = data[1:]
        return data.replace(b"\r\0", b"\r")

    def _command(self, data: bytes, at: int) -> tuple[int, bool]:
        """Act on the command at ``at``: where the data goes on (-1: the rest is kept), and whether it is a byte 255."""
        if len(data) < at + 2:
            self._partial = data[at:]
            return -1, False
        verb = data[at + 1]
        if verb == IAC:
            return at + 2, True
        if verb == SB:
            return self._subnegotiation(data, at), False
        if verb < SB:
            return at + 2, False
        if len(data) < at + 3:
            self._partial = data[at:]
            return -1, False
        self._negotiate(verb, data[at + 2])
        return at + 3, False

    def _negotiate(self, verb: int, option: int) -> None:
        # Answered only when it changes something, which is what keeps two sides from answering for ever.
        mine = verb in (DO, DONT)
        enabled, allowed = (self._ours, _OURS) if mine else (self._theirs, _THEIRS)
        yes, no = (WILL, WONT) if mine else (DO, DONT)
        if verb in (DO, WILL):
            if option in enabled:
                return
            if option in allowed:
                enabled.add(option)
                self._replies += bytes((IAC, yes, option))
            else:
                self._replies += bytes((IAC, no, option))
        elif option in enabled:
            enabled.discard(option)
            self._replies += bytes((IAC, no, option))

    def _subnegotiation(self, data: bytes, at: int) -> int:
        search = at + 2
        while True:
            end = data.find(b"\xff", search)
            if end < 0 or end + 1 >= len(data):
                # The beginning says what it is about; of an endless one no more than that is kept.
                tail = data[end:] if end >= 0 else b""
                self._partial = data[at : at + MAX_SUBNEGOTIATION_BYTES]
                if len(data) - at > MAX_SUBNEGOTIATION_BYTES:
                    self._partial = data[at : at + 2] + b"\0" + tail
                return -1
            if data[end + 1] == SE:
                if data[at + 2 : end] == bytes((TERMINAL_TYPE, 1)):
                    self._replies += bytes((IAC, SB, TERMINAL_TYPE, 0)) + b"DUMB" + bytes((IAC, SE))
                return end + 2
            search = end + 2

    def encode(self, data: bytes) -> bytes:
        """Data as it is sent: 255 doubled, and ``CR`` as ``CR NUL`` unless 8-bit data was agreed."""
        data = data.replace(b"\xff", b"\xff\xff")
        return data if BINARY in self._ours else data.replace(b"\r", b"\r\0")

    def replies(self) -> bytes:
        """What to send besides data; given once."""
        replies, self._replies = bytes(self._replies), bytearray()
        return replies


SERIAL_BREAK = bytes((IAC, BRK))
