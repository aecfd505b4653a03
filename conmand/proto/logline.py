"""What becomes of console output on its way into a console log (``logopts`` ``sanitize`` and ``timestamp``).

Knows line ends, the notation for unprintable bytes, and where a timestamp goes. Does not know files, clocks or the
wording of notices: the caller formats the stamp (once a second, not once a line) and writes what it gets.

What is hard here is that a line end may be split over reads (CR now, LF later), while nothing may be written twice
and nothing withheld. ConMan holds a CR back until the next byte decides; a trailing CR is then missing from the log for
as long as the console is silent. We write the line end at once and remember that an LF belonging to it may follow.
The bytes in the log are ConMan's again at every next byte and at every notice; the tests hold its byte-wise state
machine against ours.

This is the hottest code of the daemon: it works on whole buffers, and the common read, one line or several that end in
CR LF, takes no regular expression and no loop.
"""

from __future__ import annotations

import enum
import re

_NUL_BYTE, _LF_BYTE, _CR_BYTE = 0x00, 0x0A, 0x0D  # as integers: "N in data" is ten times faster than b"\r" in data


class State(enum.Enum):
    INIT = "nothing since the log was opened or since a notice"
    DATA = "inside a line"
    CR = "after a line end that began with CR; its LF may still come"
    LF = "after a complete line end"


# Members as module names: an attribute look-up on an Enum class costs as much as the work below.
_INIT, _DATA, _CR, _LF = State.INIT, State.DATA, State.CR, State.LF

# One line end: CR LF, LF, or a CR alone, with the CR and NUL bytes that pad it. Anything after is the next line.
_LINE_END = re.compile(rb"(?:\r[\r\0]*\n?|\n)[\r\0]*")
_REST_OF_LINE_END = {
    _CR: re.compile(rb"[\r\0]*(\n?)[\r\0]*"),
    _LF: re.compile(rb"[\r\0]*()"),
}

_PRINTABLE = bytes(range(0x20, 0x7F))
_PRINTABLE_OR_LF = _PRINTABLE + b"\n"


def _sanitized(byte: int) -> str:
    """The notation of one byte: ``^A``, ``~@`` or `` `i``, or the byte itself. Source: ConMan 0.3.1."""
    low = byte & 0x7F
    if low < 0x20:
        return "^~"[byte >> 7] + chr(low + 0x40)
    if low == 0x7F:
        return "^~"[byte >> 7] + "?"
    return ("`" if byte > 0x7F else "") + chr(low)


# A list, not a dict: str.translate() indexes it by code point, and latin-1 maps byte N to code point N.
_NOTATION = [_sanitized(byte) if byte != _LF_BYTE else "\n" for byte in range(256)]


class LineProcessor:
    """The state of one console log: at most a few machine words, whatever was fed.

    Feed it with console output and notices in the order they happen. With neither option set, bytes pass verbatim.
    ``state`` is to be kept and given back, no more.
    """

    __slots__ = ("state", "_sanitize", "_timestamp")

    def __init__(self, sanitize: bool, timestamp: bool) -> None:
        self._sanitize = sanitize
        self._timestamp = timestamp
        self.state = _INIT

    def process(self, data: bytes, stamp: bytes) -> bytes:
        """The bytes to append to the log for console output ``data``.

        ``stamp`` is ``b"YYYY-MM-DD HH:MM:SS "`` in local time; it opens every line if the log has ``timestamp``.
        Every line end (CR LF, LF, CR) becomes CR LF; CR and NUL bytes next to it are dropped.
        """
        if self._timestamp:
            opening = stamp
        elif self._sanitize:
            opening = b""
        else:
            return data
        # One whole line in one read; not so if its first byte may belong to the line end before it.
        body, _, rest = data.partition(b"\r")
        if rest == b"\n" and body and body[0] != _NUL_BYTE and _LF_BYTE not in body:
            if self._sanitize and body.translate(None, _PRINTABLE):
                data = _sanitize(body) + b"\r\n"
            if self.state is _DATA:
                self.state = _LF
                return data
            self.state = _LF
            return opening + data
        return self._process_lines(data, opening)

    def fed_for(self, length: int, before: State, data: bytes, stamp: bytes) -> int:
        """How much of ``data``, processed in the ``state`` ``before``, ``length`` bytes of the result stand for.

        A byte of which only a part fits is not counted. ``state`` stays as it is.
        """
        fits, exceeds = 0, len(data) + 1
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            if self.length_of(before, data[:middle], stamp) <= length:
                fits = middle
            else:
                exceeds = middle
        return fits

    def length_of(self, before: State, data: bytes, stamp: bytes) -> int:
        """How long the result for ``data``, processed in the ``state`` ``before``, is."""
        trial = LineProcessor(self._sanitize, self._timestamp)
        trial.state = before
        return len(trial.process(data, stamp))

    def notice(self, message: bytes) -> bytes:
        """The bytes to append for a notice, ``message`` being the whole block ``\\r\\n<ConMan> ... .\\r\\n``.

        Notices are neither sanitised nor stamped, and what follows one starts a new line. After a CR the line end
        that opens the block is already in the log, so it is left out.
        """
        if self.state is _CR and message.startswith(b"\r\n"):
            message = message[2:]
        self.state = _INIT
        return message

    def _process_lines(self, data: bytes, opening: bytes) -> bytes:
        """``process`` for any other shape of data."""
        state = self.state
        if state is _CR or state is _LF:
            rest = _REST_OF_LINE_END[state].match(data)
            assert rest is not None  # every part of the pattern is optional
            if rest.group(1):
                self.state = _LF
            data = data[rest.end() :]
        if not data:
            return b""

        lines = data.replace(b"\r\n", b"\n")
        if _CR_BYTE in lines or (_NUL_BYTE in lines and b"\n\0" in lines):
            lines = _LINE_END.sub(b"\n", data)
            # Once an LF is seen in a run of these bytes, only an LF can start another line end.
            last_is_lf = b"\n" in data[len(data.rstrip(b"\r\n\0")) :]
        else:
            last_is_lf = True
        if self._sanitize and lines.translate(None, _PRINTABLE_OR_LF):
            lines = _sanitize(lines)

        ended = lines.endswith(b"\n")
        if ended:
            self.state = _LF if last_is_lf else _CR
            lines = lines[:-1]
        else:
            self.state = _DATA
        head = b"" if state is _DATA else opening
        return head + lines.replace(b"\n", b"\r\n" + opening) + (b"\r\n" if ended else b"")


def _sanitize(data: bytes) -> bytes:
    """``data`` in printable ASCII, its LF bytes kept as line ends."""
    return data.decode("latin-1").translate(_NOTATION).encode("ascii")
