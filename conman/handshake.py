"""The client's side of the dialogue that opens a connection: bytes in, events out; what to send is asked for.

The request is sent when the greeting was accepted and not before, as the original does. A daemon may end at any time;
where it did so makes no difference to the user. Replies may be long (a name each for thousands of consoles).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import List, Union

from conman import protocol
from conman.protocol import ErrorReply, Greeting, LineBuffer, Ok, ProtocolError, Request

MAX_REPLY_BYTES = 256 * 1024 * 1024
"""Ours: a quarter of a million names of 1023 bytes. The original's client takes 131071 bytes."""


@dataclass(frozen=True)
class Granted:
    """The last event: the request was granted. ``rest`` is what came behind the answer."""

    ok: Ok
    rest: bytes


@dataclass(frozen=True)
class Refused:
    """The last event. ``rest`` and all that still comes up to the end are plain lines for the user."""

    code: int
    message: str
    rest: bytes


@dataclass(frozen=True)
class Garbled:
    """The last event: the peer is no ConMan daemon."""


@dataclass(frozen=True)
class Ended:
    """The last event: the daemon closed instead of answering."""


HandshakeEvent = Union[Granted, Refused, Garbled, Ended]


class _Phase(enum.Enum):
    GREETING = "greeting sent"
    REQUEST = "request sent"
    DONE = "answered, or failed"


class ClientHandshake:
    """``data_to_send`` at the start and after every ``receive``; the session's bytes are not to be given to it."""

    def __init__(self, greeting: Greeting, request: Request) -> None:
        self._request = request
        self._lines = LineBuffer()
        self._phase = _Phase.GREETING
        self._to_send = protocol.encode_greeting(greeting)

    def data_to_send(self) -> bytes:
        data, self._to_send = self._to_send, b""
        return data

    def receive(self, data: bytes) -> List[HandshakeEvent]:
        """At most one event; after it there are no more. No bytes mean the end of file."""
        if self._phase is _Phase.DONE:
            return []
        if not data:
            return self._eof()
        self._lines.feed(data)
        while True:
            try:
                line = self._lines.take_line(MAX_REPLY_BYTES)
            except ValueError:
                return [self._end(Garbled())]
            if line is None:
                return []
            events = self._line_received(line)
            if events:
                return events

    def _eof(self) -> List[HandshakeEvent]:
        rest = self._lines.take_rest()
        events = self._line_received(rest) if rest else []
        return events or [self._end(Ended())]

    def _line_received(self, line: bytes) -> List[HandshakeEvent]:
        try:
            answer = protocol.parse_response(line)
        except ProtocolError:
            return [self._end(Garbled())]
        if isinstance(answer, ErrorReply):
            return [self._end(Refused(answer.code, answer.message, self._lines.take_rest()))]
        if self._phase is _Phase.GREETING:
            self._phase = _Phase.REQUEST
            self._to_send = protocol.encode_request(self._request)
            return []
        return [self._end(Granted(answer, self._lines.take_rest()))]

    def _end(self, event: HandshakeEvent) -> HandshakeEvent:
        self._phase = _Phase.DONE
        return event
