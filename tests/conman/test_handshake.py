from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.handshake import ClientHandshake, Ended, Garbled, Granted, HandshakeEvent, Refused
from conman.protocol import Greeting, Ok, Request, RequestCommand


def started() -> ClientHandshake:
    handshake = ClientHandshake(Greeting("root", "pts/1"), Request(RequestCommand.MONITOR, ("n1",)))
    assert handshake.data_to_send() == b"HELLO USER='root' TTY='pts/1'\n"
    assert handshake.data_to_send() == b""
    return handshake


def test_the_request_follows_the_greeting() -> None:
    handshake = started()
    assert handshake.receive(b"OK\n") == []
    assert handshake.data_to_send() == b"MONITOR CONSOLE='n1'\n"
    assert handshake.receive(b"OK OPTION=RESET CONSOLE='n1'\nboot") == [Granted(Ok(("n1",), True), b"boot")]
    assert handshake.receive(b"more") == []


@pytest.mark.parametrize(
    ("answers", "event"),
    [
        ([b"ERROR CODE=2 MESSAGE='no'\n", b""], Refused(2, "no", b"")),
        ([b"OK\n", b"ERROR CODE=6 MESSAGE='Found 2'\nn1\nn2"], Refused(6, "Found 2", b"n1\nn2")),
        ([b"OK\n", b"ERROR CODE=9\n"], Refused(9, "Unspecified", b"")),
        ([b"SSH-2.0-OpenSSH\n"], Garbled()),
        ([b"OK\n", b"ERROR MESSAGE='x'\n"], Garbled()),
        ([b""], Ended()),
        ([b"OK\n", b""], Ended()),
        ([b"OK", b""], Ended()),
        ([b"OK\n", b"OK CONSOLE='n1'", b""], Granted(Ok(("n1",)), b"")),
    ],
)
def test_ends(answers: List[bytes], event: HandshakeEvent) -> None:
    handshake = started()
    events: List[HandshakeEvent] = []
    for answer in answers:
        events += handshake.receive(answer)
    assert events == [event]


@given(st.lists(st.binary(min_size=1), max_size=5))
def test_any_answer_ends_in_at_most_one_event(answers: List[bytes]) -> None:
    handshake = started()
    events = [event for answer in [*answers, b"", b""] for event in handshake.receive(answer)]
    assert len(events) == 1


@given(st.integers(1, 48))
def test_splits_do_not_matter(place: int) -> None:
    data = b"OK\nOK OPTION=RESET CONSOLE='n1' CONSOLE='caf\xc3\xa9'\nrest"
    handshake = started()
    (granted,) = handshake.receive(data[:place]) + handshake.receive(data[place:])
    assert isinstance(granted, Granted)
    assert granted.ok == Ok(("n1", "café"), True)
