from __future__ import annotations

from typing import Iterable, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.escapes import Command, Data, EscapeDecoder, Event, Invalid, encode_command, stuff

LETTERS = {ord(command.value): command for command in Command}
# FF and the command letters are rare in random bytes, and are what matters here.
TYPING = st.lists(st.sampled_from([b"\xff", b"B", b"M", b"?", b"x", b"\x00"]) | st.binary(max_size=3)).map(b"".join)


def reference(data: bytes) -> List[Event]:
    """The same, one byte at a time."""
    events: List[Event] = []
    escaped = False
    for byte in data:
        if not escaped and byte == 0xFF:
            escaped = True
        elif escaped and byte != 0xFF:
            escaped = False
            events.append(LETTERS[byte] if byte in LETTERS else Invalid(byte))
        else:
            escaped = False
            events.append(Data(bytes([byte])))
    return merged(events)


def merged(events: Iterable[Event]) -> List[Event]:
    """Events with neighbouring Data joined."""
    result: List[Event] = []
    for event in events:
        if isinstance(event, Data) and result and isinstance(result[-1], Data):
            result[-1] = Data(result[-1].data + event.data)
        else:
            result.append(event)
    return result


@pytest.mark.parametrize(
    ("typed", "events"),
    [
        (b"", []),
        (b"abc", [Data(b"abc")]),
        (b"\xff\xff", [Data(b"\xff")]),
        (b"A\xffxB\xff?\xff.\xff\xff", [Data(b"A"), Invalid(120), Data(b"B"), Invalid(63), Invalid(46), Data(b"\xff")]),
        (b"\xffb", [Invalid(ord("b"))]),
        (b"\xff\x00", [Invalid(0)]),
        (b"\xff\xff\xffB", [Data(b"\xff"), Command.BREAK]),
        (b"\xff", []),
    ],
)
def test_typed_bytes_become_events(typed: bytes, events: List[Event]) -> None:
    assert EscapeDecoder().receive(typed) == events


@pytest.mark.parametrize(
    ("letter", "command"),
    [
        ("B", "BREAK"),
        ("D", "DELETE"),
        ("F", "FORCE"),
        ("J", "JOIN"),
        ("L", "REPLAY"),
        ("M", "MONITOR"),
        ("Q", "QUIET"),
        ("R", "RESET"),
        ("Z", "SUSPEND"),
    ],
)
def test_each_command_has_its_letter(letter: str, command: str) -> None:
    wire = encode_command(Command[command])
    assert wire == b"\xff" + letter.encode()
    assert EscapeDecoder().receive(wire) == [Command[command]]


def test_a_command_waits_for_the_data_typed_before_it() -> None:
    assert EscapeDecoder().receive(b"x\xffBy\xffMz") == [
        Data(b"x"),
        Command.BREAK,
        Data(b"y"),
        Command.MONITOR,
        Data(b"z"),
    ]


def test_a_sequence_may_be_split_between_reads() -> None:
    decoder = EscapeDecoder()
    assert decoder.receive(b"ab\xff") == [Data(b"ab")]
    assert decoder.receive(b"") == []
    assert decoder.receive(b"\xff\xff") == [Data(b"\xff")]
    assert decoder.receive(b"Lcd") == [Command.REPLAY, Data(b"cd")]
    assert decoder.receive(b"ef") == [Data(b"ef")]


def test_plain_typing_is_not_copied() -> None:
    typed = b"make all\r"
    (event,) = EscapeDecoder().receive(typed)
    assert isinstance(event, Data) and event.data is typed


@given(TYPING)
def test_decoding_equals_the_bytewise_reference(typed: bytes) -> None:
    assert EscapeDecoder().receive(typed) == reference(typed)


@given(st.lists(TYPING))
def test_splits_do_not_matter(pieces: List[bytes]) -> None:
    decoder = EscapeDecoder()
    assert merged(event for piece in pieces for event in decoder.receive(piece)) == reference(b"".join(pieces))


@given(TYPING, st.integers(min_value=0))
def test_what_is_stuffed_arrives(data: bytes, cut: int) -> None:
    wire = stuff(data)
    cut %= len(wire) + 1
    decoder = EscapeDecoder()
    events = merged(decoder.receive(wire[:cut]) + decoder.receive(wire[cut:]))
    assert events == ([Data(data)] if data else [])
