"""The terminal server's side of telnet, alone and against the daemon's core."""

from __future__ import annotations

from typing import List, Union

from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.telnet import BREAK, TelnetCore
from demo.telnet_server import Signal, TelnetPort


def items(port: TelnetPort, wire: bytes) -> List[Union[bytes, Signal]]:
    return port.receive(wire)


def test_typed_bytes_and_breaks_keep_their_order() -> None:
    assert items(TelnetPort(), b"ab\xff\xf3c\xff\xff") == [b"ab", Signal.BREAK, b"c\xff"]


def test_sequences_may_be_split() -> None:
    port = TelnetPort()
    assert [items(port, bytes([byte])) for byte in b"\xff\xf3\xff\xffx"] == [[], [Signal.BREAK], [], [b"\xff"], [b"x"]]


def test_sub_negotiations_are_skipped() -> None:
    assert items(TelnetPort(), b"a\xff\xfa\x18\xff\xff\x00\xff\xf0b") == [b"ab"]


def test_unknown_options_are_refused() -> None:
    port = TelnetPort()
    port.receive(b"\xff\xfd\x18\xff\xfb\x1f\xff\xfe\x18")
    assert port.take_output() == b"\xff\xfc\x18\xff\xfe\x1f"


def test_an_option_that_the_peer_ends_is_acknowledged() -> None:
    port = TelnetPort()
    port.start()
    port.receive(b"\xff\xfd\x01\xff\xfe\x01")
    assert port.take_output() == b"\xff\xfc\x01"


def test_negotiation_with_the_daemon_ends_with_everything_on() -> None:
    port, core = TelnetPort(), TelnetCore()
    to_core, to_port = port.start(), core.start()
    for _ in range(3):
        core.receive(to_core)
        port.receive(to_port)
        to_core, to_port = port.take_output(), core.take_output()
    assert not to_core + to_port
    assert all(port.ours.values()) and all(port.theirs.values())
    assert core.take_events() == []


def test_a_refused_offer_needs_no_answer() -> None:
    port = TelnetPort()
    port.start()
    port.receive(b"\xff\xfe\x01")
    assert port.take_output() == b"" and not port.ours[1]



@given(st.lists(st.one_of(st.none(), st.binary(min_size=1))))
def test_what_the_daemon_types_arrives(typed: List[Union[bytes, None]]) -> None:
    core = TelnetCore()
    wire = b"".join(BREAK if data is None else core.escape(data) for data in typed)
    arrived = items(TelnetPort(), wire)
    shown = b"".join(b"<BREAK>" if isinstance(item, Signal) else item for item in arrived)
    assert shown == b"".join(b"<BREAK>" if data is None else data for data in typed)


@given(st.binary())
def test_output_arrives_at_the_daemon(data: bytes) -> None:
    assert TelnetCore().receive(TelnetPort.escape(data)) == data


@given(st.binary())
def test_any_bytes_are_taken(wire: bytes) -> None:
    port = TelnetPort()
    port.receive(wire)
    assert len(port.take_output()) <= len(wire)
