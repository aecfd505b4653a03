from __future__ import annotations

from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.protocol import (
    MAX_GREETING_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_TOKENS,
    Eof,
    ErrorCode,
    ErrorReply,
    Failed,
    Greeting,
    GreetingReceived,
    HandshakeEvent,
    LineBuffer,
    Ok,
    Phase,
    ProtocolError,
    Request,
    RequestCommand,
    RequestReceived,
    ServerHandshake,
    consoles_busy,
    decode_string,
    encode_error,
    encode_greeting,
    encode_ok,
    encode_request,
    encode_status_ok,
    encode_string,
    parse_greeting,
    parse_request,
    parse_response,
    too_many_consoles,
)

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), min_size=1, max_size=200)
REQUESTS = st.builds(
    Request,
    command=st.just(RequestCommand.QUERY),
    patterns=st.lists(NAMES, max_size=4).map(tuple),
    quiet=st.booleans(),
    regex=st.booleans(),
    force=st.booleans(),
    join=st.booleans(),
    broadcast=st.booleans(),
)
# Fragments out of which hostile lines are likely to be interesting.
WORDS = (
    b"HELLO USER TTY QUERY CONNECT MONITOR OPTION CONSOLE REGEX CODE ERROR OK 7 x = ' \" # \\ \r \n \0 \xa7 \xa2 \xff"
)
FRAGMENTS = st.sampled_from(WORDS.split(b" ")) | st.binary(max_size=4)
WIRE = st.lists(FRAGMENTS, max_size=40).map(b" ".join)


def pieces_of(data: bytes, cuts: List[int]) -> List[bytes]:
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)])]


def converse(pieces: List[bytes]) -> Tuple[List[HandshakeEvent], bytes]:
    """The events of a handshake, and the session's input: ``rest`` and what had not been read."""
    handshake = ServerHandshake()
    events: List[HandshakeEvent] = []
    for number, piece in enumerate(pieces):
        events += handshake.receive(piece)
        if events and isinstance(events[-1], RequestReceived):
            received = events.pop()
            assert isinstance(received, RequestReceived)
            events.append(RequestReceived(received.request, b""))
            return events, received.rest + b"".join(pieces[number + 1 :])
    return events + handshake.receive_eof(), b""


# Strings


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("a'b", b"a\xa7b"),
        ('a"b', b"a\xa2b"),
        ("café", b"caf\xc3\xa9"),
        ("ç'", b"\xc3\xa7\xa7"),  # the UTF-8 of ç ends in A7, which is no quote
        ("\udcff", b"\xff"),
    ],
)
def test_a_string_survives_its_way_over_the_wire(text: str, wire: bytes) -> None:
    assert encode_string(text) == wire
    assert decode_string(wire) == text


def test_line_ends_and_nul_become_spaces() -> None:
    assert encode_string("a\r\nb\0c") == b"a  b c"


def test_a_string_is_cut_to_1023_bytes() -> None:
    assert decode_string(b"x" * 5000) == "x" * 1023


def test_bytes_that_are_no_character_are_kept() -> None:
    assert decode_string(b"\xe9\x80") == "\udce9\udc80"


@given(NAMES)
def test_any_text_survives(text: str) -> None:
    assert decode_string(encode_string(text)) == text


@given(st.binary())
def test_an_encoded_string_never_ends_its_quotes_or_its_line(raw: bytes) -> None:
    assert not set(encode_string(decode_string(raw))) & set(b"'\"\r\n\0")


# Greeting


@pytest.mark.parametrize(
    ("line", "greeting"),
    [
        (b"HELLO USER='root' TTY='pts/3'", Greeting("root", "pts/3")),
        (b"HELLO USER='root'", Greeting("root")),
        (b"hello user=bob\r", Greeting("bob")),
        (b"foo QUERY HELLO USER='x'", Greeting("x")),
        (b"USER='x' HELLO USER = ' '", Greeting(" ")),
        (b"HELLO USER='x' USER='' TTY='a' TTY='b'", Greeting("x", "b")),
        (b"HELLO TTY HELLO USER='x'", Greeting("x")),
        (b"HELLO USER='x' # TTY='y'", Greeting("x")),
        (b"HELLO USER='x' TTY=7", Greeting("x")),
        (b"HELLO USER='o\xa7brien'", Greeting("o'brien")),
    ],
)
def test_greeting_is_read(line: bytes, greeting: Greeting) -> None:
    assert parse_greeting(line) == greeting


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HELLO",
        b"HELLO USER",
        b"HELLO USER=",
        b"HELLO USER=''",
        b"HELLO USER 'bob'",
        b"HELLO USER '=' 'bob'",
        b"HELLO USER==x",
        b"HELLO USER USER='x'",
        b"HELLO USER=TTY='x'",
        b"HELLO USER=user",
        b"HELLO USER=5",
        b"HELLO USER='x",
        b"HELLO 'USER'='x'",
        b"'HELLO' USER='x'",
        b"USER='x' HELLO",
        b"HELLO\rUSER='x'",
        b"HELLO\0USER='x'",
    ],
)
def test_greeting_without_a_user_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_greeting(line)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert str(caught.value) == "Invalid greeting: no user specified"


def test_greeting_is_written_as_the_original_writes_it() -> None:
    assert encode_greeting(Greeting("root")) == b"HELLO USER='root'\n"
    assert encode_greeting(Greeting("root", "pts/2")) == b"HELLO USER='root' TTY='pts/2'\n"


@given(NAMES, st.none() | NAMES)
def test_greeting_reads_back(user: str, tty: Optional[str]) -> None:
    assert parse_greeting(encode_greeting(Greeting(user, tty))) == Greeting(user, tty)


# Request


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"QUERY", Request(RequestCommand.QUERY)),
        (b"QUERY CONSOLE='n1' CONSOLE='' CONSOLE=5", Request(RequestCommand.QUERY, ("n1",))),
        (b"CONSOLE='n1' QUERY", Request(RequestCommand.QUERY)),
        (b"HELLO query console=n1 option = regex", Request(RequestCommand.QUERY, ("n1",), regex=True)),
        (b"QUERY OPTION='REGEX' REGEX CONSOLE=n1", Request(RequestCommand.QUERY, ("n1",))),
        (b"QUERY OPTION REGEX CONSOLE='n1'", Request(RequestCommand.QUERY, ("n1",))),
        (b"QUERY OPTION=CONSOLE='n1'", Request(RequestCommand.QUERY)),
        (b"QUERY CONSOLE CONSOLE='n1'", Request(RequestCommand.QUERY)),
        (b"QUERY CONSOLE=CONSOLE='n1'", Request(RequestCommand.QUERY)),
        (b"QUERY OPTION=FOO CONSOLE=n1,n2", Request(RequestCommand.QUERY, ("n1",))),
        (b"QUERY CONSOLE='*'\0 CONSOLE='n1'", Request(RequestCommand.QUERY, ("*",))),
        (b"QUERY CONSOLE='a\xa7b'", Request(RequestCommand.QUERY, ("a'b",))),
        (b"MONITOR CONSOLE='n1' CONNECT CONSOLE='n2'", Request(RequestCommand.MONITOR, ("n1", "n2"))),
        (
            b"CONNECT CONSOLE='u' OPTION=BROADCAST OPTION=JOIN OPTION=FORCE OPTION=QUIET",
            Request(RequestCommand.CONNECT, ("u",), quiet=True, force=True, join=True, broadcast=True),
        ),
    ],
)
def test_request_is_read(line: bytes, request_: Request) -> None:
    assert parse_request(line) == request_


@pytest.mark.parametrize("line", [b"", b"FOO", b"CONSOLE='n1'", b"MONITOR", b"CONNECT CONSOLE=''", b"'QUERY'"])
def test_request_without_command_or_console_finds_no_consoles(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_request(line)
    assert caught.value.code is ErrorCode.NO_CONSOLES
    assert caught.value.message == "Found no matching consoles"


def test_a_request_of_too_many_words_is_refused() -> None:
    assert len(b"=" * MAX_REQUEST_TOKENS) < MAX_REQUEST_BYTES
    with pytest.raises(ProtocolError, match="Invalid request: more than 100000 words") as caught:
        parse_request(b"QUERY " + b"=" * MAX_REQUEST_TOKENS)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_request_is_written_as_the_original_writes_it() -> None:
    request = Request(RequestCommand.CONNECT, ("u", "n1"), quiet=True, join=True, broadcast=True)
    wire = b"CONNECT OPTION=QUIET OPTION=JOIN OPTION=BROADCAST CONSOLE='u' CONSOLE='n1'\n"
    assert encode_request(request) == wire
    assert encode_request(Request(RequestCommand.QUERY)) == b"QUERY\n"
    assert encode_request(Request(RequestCommand.QUERY, ("n[12]",), regex=True, force=True)) == (
        b"QUERY OPTION=REGEX OPTION=FORCE CONSOLE='n[12]'\n"
    )


@given(REQUESTS)
def test_request_reads_back(request_: Request) -> None:
    assert parse_request(encode_request(request_)) == request_


# Responses


def test_success_is_written_as_the_original_writes_it() -> None:
    assert encode_ok() == b"OK\n"
    assert encode_ok(["n1", "a'b"], reset=True) == b"OK OPTION=RESET CONSOLE='n1' CONSOLE='a\xa7b'\n"


def test_errors_are_written_as_the_original_writes_them() -> None:
    assert encode_error(ErrorCode.BAD_REGEX, "Unmatched ( or \\(") == b"ERROR CODE=3 MESSAGE='Unmatched ( or \\('\n"
    assert encode_error(ErrorCode.TOO_MANY_CONSOLES, too_many_consoles(3), ["n1", "a'b", "é\n"]) == (
        b"ERROR CODE=6 MESSAGE='Found 3 matching consoles'\nn1\na'b\n\xc3\xa9 \n"
    )
    assert consoles_busy(1) == "Found console already in use"
    assert consoles_busy(2) == "Found 2 consoles already in use"


def test_a_list_of_consoles_may_be_of_any_length() -> None:
    names = tuple(f"node-{number:06}" for number in range(20_000))
    line = encode_ok(names)
    assert len(line) > 131_071
    assert parse_response(line) == Ok(names)


@pytest.mark.parametrize(
    ("line", "response"),
    [
        (b"OK", Ok()),
        (b"x OK OPTION=RESET CONSOLE='n1' CONSOLE=''", Ok(("n1",), reset=True)),
        (b"OK OPTION='RESET'", Ok()),
        (b"ERROR CODE=5 MESSAGE='Found no matching consoles'", ErrorReply(5, "Found no matching consoles")),
        (b"ERROR MESSAGE='a\xa7b' CODE=99", ErrorReply(99, "a'b")),
        (b"ERROR CODE=2", ErrorReply(2, "Unspecified")),
    ],
)
def test_response_is_read(line: bytes, response: object) -> None:
    assert parse_response(line) == response


@pytest.mark.parametrize("line", [b"", b"HELLO", b"'OK'", b"ERROR", b"ERROR CODE='5'", b"ERROR MESSAGE='x'"])
def test_a_line_that_is_no_response_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="Received invalid response") as caught:
        parse_response(line)
    assert caught.value.code is ErrorCode.LOCAL


@given(st.lists(NAMES), st.booleans())
def test_success_reads_back(names: List[str], reset: bool) -> None:
    assert parse_response(encode_ok(names, reset)) == Ok(tuple(names), reset)


@given(st.sampled_from(ErrorCode), NAMES)
def test_an_error_reads_back(code: ErrorCode, message: str) -> None:
    assert parse_response(encode_error(code, message)) == ErrorReply(code, message)


@given(WIRE)
def test_any_line_is_read_or_refused(line: bytes) -> None:
    for parse in (parse_greeting, parse_request, parse_response):
        try:
            parse(line)
        except ProtocolError as error:
            assert error.message


# Handshake

HELLO = GreetingReceived(Greeting("u"))
QUERY = Request(RequestCommand.QUERY)


def test_greeting_then_request_then_session() -> None:
    handshake = ServerHandshake()
    phases = [handshake.phase]
    assert handshake.receive(b"HELLO USER='u'\n") == [HELLO]
    phases.append(handshake.phase)
    assert handshake.receive(b"QUERY\n\xffLls\n") == [RequestReceived(QUERY, b"\xffLls\n")]
    phases.append(handshake.phase)
    assert phases == [Phase.GREETING, Phase.REQUEST, Phase.DONE]
    assert handshake.receive_eof() == []


def test_a_client_may_send_everything_at_once() -> None:
    assert ServerHandshake().receive(b"HELLO USER='u'\nQUERY\nls") == [HELLO, RequestReceived(QUERY, b"ls")]


def test_session_input_is_not_the_handshakes() -> None:
    handshake = ServerHandshake()
    handshake.receive(b"HELLO USER='u'\nQUERY\n")
    with pytest.raises(RuntimeError, match="request is complete"):
        handshake.receive(b"ls")


def test_a_bad_greeting_ends_the_handshake() -> None:
    handshake = ServerHandshake()
    assert handshake.receive(b"\nHELLO USER='u'\n") == [
        Failed(ErrorCode.BAD_REQUEST, "Invalid greeting: no user specified")
    ]
    assert handshake.phase is Phase.FAILED
    assert handshake.receive(b"HELLO USER='u'\n") == []
    assert handshake.receive_eof() == []


def test_a_bad_request_ends_the_handshake() -> None:
    events = ServerHandshake().receive(b"HELLO USER='u'\nCONNECT\nls")
    assert events == [HELLO, Failed(ErrorCode.NO_CONSOLES, "Found no matching consoles")]


def test_end_of_file_says_what_was_waited_for() -> None:
    handshake = ServerHandshake()
    assert handshake.receive_eof() == [Eof(Phase.GREETING)]
    assert handshake.receive_eof() == []
    handshake = ServerHandshake()
    handshake.receive(b"HELLO USER='u'\n")
    assert handshake.receive_eof() == [Eof(Phase.REQUEST)]


def test_a_line_cut_off_by_end_of_file_is_still_a_line() -> None:
    handshake = ServerHandshake()
    assert handshake.receive(b"HELLO USER='u'") == []
    assert handshake.receive_eof() == [HELLO, Eof(Phase.REQUEST)]
    handshake = ServerHandshake()
    assert handshake.receive(b"HELLO USER='u'\nQUERY") == [HELLO]
    assert handshake.receive_eof() == [RequestReceived(QUERY, b"")]


def test_too_long_a_greeting_is_refused() -> None:
    fits = b"HELLO USER='u'".ljust(MAX_GREETING_BYTES)
    assert ServerHandshake().receive(fits + b"\n") == [HELLO]
    refused = [Failed(ErrorCode.BAD_REQUEST, "Invalid greeting: line exceeds 8192 bytes")]
    assert ServerHandshake().receive(fits + b" ") == refused
    assert ServerHandshake().receive(fits + b" \n") == refused


def test_too_long_a_request_is_refused_and_never_taken_for_session_input() -> None:
    fits = b"QUERY".ljust(MAX_REQUEST_BYTES)
    assert ServerHandshake().receive(b"HELLO USER='u'\n" + fits + b"\n") == [HELLO, RequestReceived(QUERY, b"")]
    assert ServerHandshake().receive(b"HELLO USER='u'\n" + fits + b" rm -rf /\n") == [
        HELLO,
        Failed(ErrorCode.BAD_REQUEST, "Invalid request: line exceeds 1048576 bytes"),
    ]


@given(WIRE, st.lists(st.integers(min_value=0), max_size=6))
def test_splits_of_the_input_do_not_matter(tail: bytes, cuts: List[int]) -> None:
    wire = b"HELLO USER='u'\n" + tail + b"\nQUERY\nrest\n"
    assert converse(pieces_of(wire, cuts)) == converse([wire])


@given(WIRE, st.lists(st.integers(min_value=0), max_size=6))
def test_any_input_ends_in_one_last_event(wire: bytes, cuts: List[int]) -> None:
    events, _ = converse(pieces_of(wire, cuts))
    assert isinstance(events[-1], (RequestReceived, Failed, Eof))
    assert all(isinstance(event, GreetingReceived) for event in events[:-1])


@given(st.lists(st.binary(max_size=5)))
def test_line_buffer_gives_lines_and_rest(pieces: List[bytes]) -> None:
    buffer = LineBuffer()
    lines = []
    for piece in pieces:
        buffer.feed(piece)
        line = buffer.take_line(1000)
        while line is not None:
            lines.append(line)
            line = buffer.take_line(1000)
    assert b"\n".join([*lines, buffer.take_rest()]) == b"".join(pieces)
    assert buffer.take_rest() == b""


def test_options_of_status_pass_both_ways() -> None:
    request = Request(RequestCommand.QUERY, ("n*",), status=True)
    assert encode_request(request) == b"QUERY OPTION=STATUS CONSOLE='n*'\n"
    assert parse_request(encode_request(request)) == request
    assert parse_response(encode_status_ok()) == Ok(status=True)


def test_status_is_no_keyword() -> None:
    assert parse_request(b"QUERY CONSOLE=status OPTION='status'") == Request(RequestCommand.QUERY, ("status",))
