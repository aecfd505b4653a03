from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conman_exec.telnet import MAX_SUBNEGOTIATION_BYTES, TelnetCodec


def bytewise(codec: TelnetCodec, data: bytes) -> bytes:
    return b"".join(codec.receive(data[at : at + 1]) for at in range(len(data)))


def test_character_mode_is_agreed_to_and_the_rest_refused() -> None:
    codec = TelnetCodec()
    data = codec.receive(b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x03\xff\xfd\x1flogin: \xff\xfb\x22")
    assert data == b"login: "
    assert codec.replies() == b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x03\xff\xfc\x1f\xff\xfe\x22"


def test_agreement_is_not_repeated_so_that_it_ends() -> None:
    codec = TelnetCodec()
    codec.receive(b"\xff\xfb\x01" * 3)
    assert codec.replies() == b"\xff\xfd\x01"
    codec.receive(b"\xff\xfc\x01" * 3)
    assert codec.replies() == b"\xff\xfe\x01"


def test_terminal_type_is_told() -> None:
    codec = TelnetCodec()
    codec.receive(b"\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0")
    assert codec.replies() == b"\xff\xfb\x18\xff\xfa\x18\x00DUMB\xff\xf0"


def test_doubled_255_is_data_and_inside_a_subnegotiation_not_its_end() -> None:
    assert TelnetCodec().receive(b"a\xff\xffb\xff\xfa\x18\xff\xff\x01\xff\xf0end") == b"a\xffbend"


def test_nul_after_a_255_is_data_even_if_a_return_came_before() -> None:
    assert TelnetCodec().receive(b"\r\xff\xff\0") == b"\r\xff\0"
    assert bytewise(TelnetCodec(), b"\r\xff\xff\0") == b"\r\xff\0"


def test_the_next_process_knows_that_a_return_came_last() -> None:
    codec = TelnetCodec()
    codec.receive(b"\xff\xfb\x01login:\r")
    assert TelnetCodec(codec.state()).receive(b"\0\nnext") == b"\nnext"


def test_return_and_nul_are_a_return() -> None:
    codec = TelnetCodec()
    assert codec.receive(b"a\r\0b\r") == b"a\rb\r"
    assert codec.receive(b"\0c\r") == b"c\r"
    assert codec.receive(b"\nd\0") == b"\nd\0"


def test_binary_leaves_returns_alone_both_ways() -> None:
    codec = TelnetCodec()
    codec.receive(b"\xff\xfb\x00\xff\xfd\x00")
    assert codec.receive(b"\r\0") == b"\r\0"
    assert codec.encode(b"a\r\xff") == b"a\r\xff\xff"
    assert TelnetCodec().encode(b"a\r\xff") == b"a\r\0\xff\xff"


def test_endless_subnegotiation_is_bounded_and_dropped() -> None:
    codec = TelnetCodec()
    assert codec.receive(b"\xff\xfa\x18" + b"x" * 100_000) == b""
    assert codec.receive(b"y" * 100_000) == b""
    assert len(codec.state()) <= MAX_SUBNEGOTIATION_BYTES + 16
    assert codec.receive(b"\xff") == b""
    assert codec.receive(b"\xf0end") == b"end"
    assert codec.replies() == b""


@given(st.binary(max_size=300))
def test_splits_do_not_matter(data: bytes) -> None:
    whole, pieces = TelnetCodec(), TelnetCodec()
    assert whole.receive(data) == bytewise(pieces, data)
    assert whole.replies() == pieces.replies()
    assert whole.state() == pieces.state()


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_state_carries_a_connection_over(first: bytes, second: bytes) -> None:
    codec = TelnetCodec()
    codec.receive(first)
    codec.replies()
    carried = TelnetCodec(codec.state())
    assert codec.receive(second) == carried.receive(second)
    assert codec.replies() == carried.replies()


@given(st.binary(max_size=300))
def test_what_is_encoded_arrives(data: bytes) -> None:
    data = data.replace(b"\0", b"")
    assert TelnetCodec().receive(TelnetCodec().encode(data)) == data
