"""The lines that open a connection: greeting and request from the client, the answers of the daemon, for both sides.

It knows how the lines are written and read, their limits, and the texts of the errors. It knows no sockets, no consoles
and no patterns, and nothing of the session after the ``OK`` (``conman.escapes``). Source: ConMan 0.3.1 as observed.

Hard here: the original can only send 7-bit strings. A sender turns ``'`` and ``"`` inside a string into A7 and A2, and
the original's receiver clears the top bit of every byte, so ``café`` arrives there as ``cafC)``. Ours sends the same
bytes but turns A7 and A2 back only where they are no part of a UTF-8 character: the original's peers understand what
they could ever understand, and between ours any text arrives whole.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from conman.lexer import MAX_VALUE_BYTES, Lexer, Token, TokenKind
from conman.text import decode, encode

#: Bytes of a greeting without its LF. Ours; the original takes 131071. Two names of 1023 bytes fit several times.
MAX_GREETING_BYTES = 8 * 1024

#: Bytes of a request without its LF. Ours; the original takes 131071, which a list of 9,000 names exceeds.
MAX_REQUEST_BYTES = 1024 * 1024

#: Words and signs in a request; three make one CONSOLE. Ours: reading them must not hold up a daemon for long.
MAX_REQUEST_TOKENS = 100_000

NO_USER = "Invalid greeting: no user specified"
NO_CONSOLES = "Found no matching consoles"

_COMMANDS = ("QUERY", "MONITOR", "CONNECT")
_OPTIONS = ("QUIET", "REGEX", "FORCE", "JOIN", "BROADCAST")  # in the order in which the original's client sends them
_STATUS = "STATUS"  # no keyword: a bare word that is one cannot be the name of a console
_KEYWORDS = (
    *_COMMANDS,
    *_OPTIONS,
    "RESET",
    "HELLO",
    "USER",
    "TTY",
    "OPTION",
    "CONSOLE",
    "OK",
    "ERROR",
    "CODE",
    "MESSAGE",
)
_TO_WIRE = bytes.maketrans(b"'\"\r\n\0", b"\xa7\xa2   ")  # line ends and NUL have no form on the wire
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
_NOTHING = Token(TokenKind.EOF, b"", 0)


class ErrorCode(enum.IntEnum):
    """The ``CODE`` of an ``ERROR``."""

    LOCAL = 1  #: the client's own failures; never on the wire
    BAD_REQUEST = 2
    BAD_REGEX = 3
    AUTHENTICATION = 4  #: reserved; never sent
    NO_CONSOLES = 5
    TOO_MANY_CONSOLES = 6
    BUSY = 7


class RequestCommand(enum.Enum):
    QUERY = "QUERY"
    MONITOR = "MONITOR"
    CONNECT = "CONNECT"


class ProtocolError(Exception):
    """The peer's line cannot be accepted; ``message`` is what an ``ERROR`` answer says."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Greeting:
    """Who the client says it is. ``tty`` is without ``/dev/``, and ``None`` if its standard input is no terminal."""

    user: str
    tty: Optional[str] = None


@dataclass(frozen=True)
class Request:
    """What the client wants. No ``patterns`` (QUERY only) means all consoles; ``force`` prevails over ``join``."""

    command: RequestCommand
    patterns: Tuple[str, ...] = ()
    quiet: bool = False
    regex: bool = False
    force: bool = False
    join: bool = False
    broadcast: bool = False
    status: bool = False  #: ours, QUERY only: the original's daemon skips it and answers with names alone


@dataclass(frozen=True)
class Ok:
    """Success: the consoles found, in order, and whether they can be reset. Both empty in answer to a greeting.

    With ``status`` there are no names; a JSON object for each console follows, one per line, up to the end.
    """

    names: Tuple[str, ...] = ()
    reset: bool = False
    status: bool = False


@dataclass(frozen=True)
class ErrorReply:
    """Refusal. ``code`` may be one that we do not know. Plain lines for the user may follow on the wire."""

    code: int
    message: str = "Unspecified"


def too_many_consoles(count: int) -> str:
    """The message of ``TOO_MANY_CONSOLES``; the names follow it, one per line."""
    return f"Found {count} matching consoles"


def consoles_busy(count: int) -> str:
    """The message of ``BUSY``, for ``count`` consoles that have a writer; a line for each writer follows it."""
    return "Found console already in use" if count == 1 else f"Found {count} consoles already in use"


# Writing


def encode_string(text: str) -> bytes:
    """``text`` as it stands between single quotes. Line ends and NUL, which have no form there, become spaces."""
    return encode(text).translate(_TO_WIRE)


def encode_greeting(greeting: Greeting) -> bytes:
    tty = b"" if greeting.tty is None else b" TTY='%b'" % encode_string(greeting.tty)
    return b"HELLO USER='%b'%b\n" % (encode_string(greeting.user), tty)


def encode_request(request: Request) -> bytes:
    """The request line with its parts in the order of the original's client."""
    options = [b" OPTION=" + name.encode("ascii") for name in _OPTIONS if getattr(request, name.lower())]
    if request.status:
        options.append(b" OPTION=" + _STATUS.encode("ascii"))
    return b"%b%b%b\n" % (request.command.value.encode("ascii"), b"".join(options), _consoles(request.patterns))


def encode_ok(names: Iterable[str] = (), reset: bool = False) -> bytes:
    """The answer to a greeting (without arguments) or to a request. It may be of any length (the original: 131071)."""
    return b"OK%b%b\n" % (b" OPTION=RESET" if reset else b"", _consoles(names))


def encode_status_ok() -> bytes:
    """The answer to a QUERY for status; JSON lines follow."""
    return b"OK OPTION=%b\n" % _STATUS.encode("ascii")


def encode_error(code: ErrorCode, message: str, details: Iterable[str] = ()) -> bytes:
    """A refusal; ``details`` follow as plain lines, which carry quotes and all other bytes as they are."""
    lines = [encode(line).translate(_LINE_ENDS) + b"\n" for line in details]
    return b"ERROR CODE=%d MESSAGE='%b'\n%b" % (code, encode_string(message), b"".join(lines))


def _consoles(names: Iterable[str]) -> bytes:
    return b"".join([b" CONSOLE='%b'" % encode_string(name) for name in names])


# Reading


def decode_string(raw: bytes) -> str:
    """The text of a received string (the bytes between its quotes), cut to the original's 1023 bytes.

    A byte A7 or A2 outside any valid UTF-8 sequence is a quote; any other such byte stays, as a surrogate escape.
    """
    return decode(raw[:MAX_VALUE_BYTES]).replace("\udca7", "'").replace("\udca2", '"')


def parse_greeting(line: bytes) -> Greeting:
    """Raises ``ProtocolError`` with ``BAD_REQUEST`` if no user is named."""
    tokens = _tokens(line)
    user = tty = ""
    if _skip_to(tokens, "HELLO"):
        for key, value in _assignments(tokens, "USER", "TTY"):
            if key == "USER":
                user = _string(value) or user
            else:
                tty = _string(value) or tty
    if not user:
        raise ProtocolError(ErrorCode.BAD_REQUEST, NO_USER)
    return Greeting(user, tty or None)


def parse_request(line: bytes) -> Request:
    """Raises ``ProtocolError``: ``NO_CONSOLES`` without a command or a console to connect to, as the original does."""
    tokens = _tokens(line)
    command = _skip_to(tokens, *_COMMANDS)
    if command is None:
        raise ProtocolError(ErrorCode.NO_CONSOLES, NO_CONSOLES)
    patterns: List[str] = []
    options = set()
    for key, value in _assignments(tokens, "OPTION", "CONSOLE"):
        if key == "OPTION":
            options.add(_option(value))
        else:
            patterns.append(_string(value))
    request = Request(
        command=RequestCommand(command),
        patterns=tuple(pattern for pattern in patterns if pattern),
        quiet="QUIET" in options,
        regex="REGEX" in options,
        force="FORCE" in options,
        join="JOIN" in options,
        broadcast="BROADCAST" in options,
        status=_STATUS in options,
    )
    if request.command is not RequestCommand.QUERY and not request.patterns:
        raise ProtocolError(ErrorCode.NO_CONSOLES, NO_CONSOLES)
    return request


def parse_response(line: bytes) -> Union[Ok, ErrorReply]:
    """The client's side, for both answers. Raises ``ProtocolError`` (``LOCAL``) if ``line`` is no answer at all."""
    tokens = _tokens(line, max_tokens=None)
    word = _skip_to(tokens, "OK", "ERROR")
    if word == "OK":
        return _parse_ok(tokens)
    code: Optional[int] = None
    message = ""
    for key, value in _assignments(tokens, "CODE", "MESSAGE"):
        if key == "MESSAGE":
            message = _string(value) or message
        elif value.kind is TokenKind.INTEGER:
            code = int(value.raw[:9])
    if word is None or code is None:
        raise ProtocolError(ErrorCode.LOCAL, "Received invalid response")
    return ErrorReply(code, message) if message else ErrorReply(code)


def _parse_ok(tokens: Iterator[Token]) -> Ok:
    names: List[str] = []
    options = set()
    for key, value in _assignments(tokens, "OPTION", "CONSOLE"):
        if key == "OPTION":
            options.add(_option(value))
        else:
            names.append(_string(value))
    return Ok(tuple(name for name in names if name), "RESET" in options, _STATUS in options)


def _tokens(line: bytes, max_tokens: Optional[int] = MAX_REQUEST_TOKENS) -> Iterator[Token]:
    """The tokens of ``line`` up to its first CR, LF or NUL."""
    line = line.partition(b"\n")[0].partition(b"\r")[0]
    for count, token in enumerate(Lexer(line, _KEYWORDS)):
        if count == max_tokens:
            raise ProtocolError(ErrorCode.BAD_REQUEST, f"Invalid request: more than {max_tokens} words")
        yield token


def _skip_to(tokens: Iterator[Token], *keywords: str) -> Optional[str]:
    """Read up to and including the first of ``keywords``; ``None`` if there is none."""
    return next((token.keyword for token in tokens if token.keyword in keywords), None)


class _Assignment(NamedTuple):
    key: str
    value: Token


def _assignments(tokens: Iterator[Token], *keys: str) -> Iterator[_Assignment]:
    """Each ``key = value`` of the rest, everything else skipped.

    A key takes the token after it, and if that is ``=`` the next one too, whatever they are: in ``USER=TTY='x'``, TTY
    is a value that is no string, and no terminal is named. Observed with ConMan 0.3.1.
    """
    for token in tokens:
        if token.keyword in keys:
            sign = next(tokens, _NOTHING)
            if sign.kind is TokenKind.PUNCT and sign.raw == b"=":
                yield _Assignment(token.keyword, next(tokens, _NOTHING))


def _option(token: Token) -> str:
    """The option that ``token`` names, if any, in upper case."""
    return "" if token.quoted else token.keyword or token.text.upper()


def _string(token: Token) -> str:
    """The text of a STRING; of anything else nothing, as if it had been left out."""
    return decode_string(token.raw) if token.kind is TokenKind.STRING else ""


# The daemon's side of the dialogue


class LineBuffer:
    """Collects bytes and gives out lines; looks at each byte once, however the input is split."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes at the front that are known to hold no LF

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take_line(self, max_bytes: int) -> Optional[bytes]:
        """The next line without its LF; ``None`` if more input is needed.

        Raises ``ValueError`` once it is certain that the line has more than ``max_bytes``.
        """
        end = self._buffer.find(b"\n", self._scanned, max_bytes + 1)
        if end >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._scanned = 0
            return line
        self._scanned = len(self._buffer)
        if self._scanned > max_bytes:
            raise ValueError(f"line exceeds {max_bytes} bytes")
        return None

    def take_rest(self) -> bytes:
        """Everything that no line has taken; the buffer is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest


class Phase(enum.Enum):
    """What the daemon waits for from a new client."""

    GREETING = "greeting"
    REQUEST = "request"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class GreetingReceived:
    """To be answered with ``encode_ok()``; the request may follow at once."""

    greeting: Greeting


@dataclass(frozen=True)
class RequestReceived:
    """The last event. ``rest`` is what the client has already sent behind the request: input of its session."""

    request: Request
    rest: bytes


@dataclass(frozen=True)
class Failed:
    """The last event. To be answered with ``encode_error(code, message)`` and the end of the connection."""

    code: ErrorCode
    message: str


@dataclass(frozen=True)
class Eof:
    """The last event: the client closed while the daemon waited for ``phase``."""

    phase: Phase


HandshakeEvent = Union[GreetingReceived, RequestReceived, Failed, Eof]


class ServerHandshake:
    """The daemon's side up to the end of the request: bytes in, events out.

    Input after ``Failed`` or ``Eof`` is dropped. After ``RequestReceived`` it belongs to the session, not here.
    """

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._phase = Phase.GREETING

    @property
    def phase(self) -> Phase:
        return self._phase

    def receive(self, data: bytes) -> List[HandshakeEvent]:
        """Raises ``RuntimeError`` if the caller hands session input to a handshake that is done."""
        if self._phase is Phase.DONE:
            raise RuntimeError("cannot take handshake input: the request is complete")
        if self._phase is Phase.FAILED:
            return []
        self._lines.feed(data)
        return self._read_lines()

    def receive_eof(self) -> List[HandshakeEvent]:
        """A line that lacks its LF counts as a line, as in the original; then there is nothing more to wait for."""
        if self._phase in (Phase.DONE, Phase.FAILED):
            return []
        rest = self._lines.take_rest()
        events = [self._line_received(rest)] if rest else []
        if self._phase in (Phase.GREETING, Phase.REQUEST):
            events.append(Eof(self._phase))
            self._phase = Phase.FAILED
        return events

    def _read_lines(self) -> List[HandshakeEvent]:
        events: List[HandshakeEvent] = []
        while self._phase in (Phase.GREETING, Phase.REQUEST):
            limit = MAX_GREETING_BYTES if self._phase is Phase.GREETING else MAX_REQUEST_BYTES
            try:
                line = self._lines.take_line(limit)
            except ValueError as error:
                events.append(self._fail(ErrorCode.BAD_REQUEST, f"Invalid {self._phase.value}: {error}"))
                break
            if line is None:
                break
            events.append(self._line_received(line))
        return events

    def _line_received(self, line: bytes) -> HandshakeEvent:
        try:
            if self._phase is Phase.GREETING:
                greeting = GreetingReceived(parse_greeting(line))
                self._phase = Phase.REQUEST
                return greeting
            request = parse_request(line)
        except ProtocolError as error:
            return self._fail(error.code, error.message)
        self._phase = Phase.DONE
        return RequestReceived(request, self._lines.take_rest())

    def _fail(self, code: ErrorCode, message: str) -> Failed:
        self._phase = Phase.FAILED
        self._lines.take_rest()
        return Failed(code, message)
