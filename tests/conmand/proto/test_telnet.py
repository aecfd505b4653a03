"""The telnet core, whole and byte by byte, alone and against another one."""

from __future__ import annotations

from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.telnet import (
    BREAK,
    MAX_EVENTS,
    MAX_SUBNEGOTIATION_BYTES,
    CommandIgnored,
    Event,
    InvalidCommand,
    OptionRefused,
    TelnetCore,
    escape,
)

START = bytes.fromhex("fffd00 fffd01 fffd03 fffb00 fffb03")
NAMES = ["EOF", "SUSP", "ABORT", "EOR", "SE", "NOP", "DMARK", "BRK", "IP", "AO", "AYT", "EC", "EL", "GA"]


class Reference:
    """The same rules with one byte at a time and the states as plain sets."""

    def __init__(self) -> None:
        self.text, self.output = b"", b""
        self.events: List[Event] = []
        self.state = ""
        self.skipped = 0
        self.on: Dict[str, set[int]] = {"us": set(), "him": set()}
        self.asked = {"us": {0, 3}, "him": {0, 1, 3}}

    def receive(self, data: bytes) -> None:
        for byte in data:
            self._byte(byte)

    def _byte(self, byte: int) -> None:
        state = self.state
        if state == "" and byte != 0xFF:
            self.text += bytes([byte])
        elif state == "":
            self.state = "iac"
        elif state == "sb" or (state == "sb iac" and byte == 0xFF):
            if state == "sb" and byte == 0xFF:
                self.state = "sb iac"
                return
            self.state = "sb"
            self.skipped += 1
            if self.skipped == MAX_SUBNEGOTIATION_BYTES:
                self.state = ""
                self.events.append(InvalidCommand(0xFA))
        elif state in ("iac", "sb iac"):
            self.state = ""
            self._command(byte)
        else:
            self.state = ""
            self._option(state, byte)

    def _command(self, byte: int) -> None:
        if byte == 0xFF:
            self.text += b"\xff"
        elif byte >= 0xFB:
            self.state = {0xFB: "WILL", 0xFC: "WONT", 0xFD: "DO", 0xFE: "DONT"}[byte]
        elif byte == 0xFA:
            self.state, self.skipped = "sb", 0
        elif byte < 0xEC:
            self.events.append(InvalidCommand(byte))
        elif byte != 0xF0:
            self.events.append(CommandIgnored(NAMES[byte - 0xEC]))

    def _option(self, verb: str, option: int) -> None:
        side = "him" if verb in ("WILL", "WONT") else "us"
        answers = (b"\xff\xfd", b"\xff\xfe") if side == "him" else (b"\xff\xfb", b"\xff\xfc")
        on, asked = self.on[side], self.asked[side]
        if verb in ("WILL", "DO"):
            if option not in ((0, 1, 3) if side == "him" else (0, 3)):
                self.output += answers[1] + bytes([option])
            elif option not in on:
                if option not in asked:
                    self.output += answers[0] + bytes([option])
                on.add(option)
        elif option in on or option in asked:
            if option in on:
                self.output += answers[1] + bytes([option])
            on.discard(option)
            if verb == "WONT":
                self.events.append(OptionRefused({0: "BINARY", 1: "ECHO", 3: "SUPPRESS GO AHEAD"}[option]))
        asked.discard(option)


def connected() -> TelnetCore:
    core = TelnetCore()
    core.start()
    return core


def converse(data: bytes) -> Tuple[bytes, bytes, List[Event]]:
    """What a connected core makes of ``data``: text, answers, events; the same whole and byte by byte."""
    core, bytewise = connected(), connected()
    text = core.receive(data)
    assert b"".join(bytewise.receive(data[i : i + 1]) for i in range(len(data))) == text
    result = (text, core.take_output(), core.take_events())
    assert (text, bytewise.take_output(), bytewise.take_events()) == result
    return result


options = st.sampled_from([0, 1, 3, 24, 255])
commands = st.builds(lambda verb, option: bytes([255, verb, option]), st.integers(251, 254), options)
sequences = st.sampled_from([b"\xff", b"\xff\xff", b"\xff\xfa", b"\xff\xf0", b"\xff\xf3"])
wire = st.lists(st.one_of(commands, st.binary(max_size=6), sequences), max_size=30).map(b"".join)


@given(wire, st.lists(st.integers(0, 150), max_size=5))
def test_any_bytes_in_any_pieces_mean_what_they_mean_byte_by_byte(data: bytes, cuts: List[int]) -> None:
    core, reference = connected(), Reference()
    reference.receive(data)
    edges = [0, *sorted(cuts), len(data)]
    text, output, events = b"", b"", []
    for start, end in zip(edges, edges[1:]):
        text += core.receive(data[start:end])
        output += core.take_output()
        events += core.take_events()
    assert (text, output, events) == (reference.text, reference.output, reference.events)
    assert len(output) <= len(data)


@given(st.booleans(), st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=30))
def test_negotiation_between_two_cores_ends(only_a_starts: bool, deliveries: List[Tuple[bool, int]]) -> None:
    a, b = TelnetCore(), TelnetCore()
    to_b = a.start()
    to_a = b"" if only_a_starts else b.start()
    # Any order and size of deliveries, then whatever is left in turn.
    for a_is_next, size in deliveries + [(True, 99), (False, 99)] * 3:
        if a_is_next:
            assert a.receive(to_a[:size]) == b""
            to_a, to_b = to_a[size:], to_b + a.take_output()
        else:
            assert b.receive(to_b[:size]) == b""
            to_b, to_a = to_b[size:], to_a + b.take_output()
    assert not to_a + to_b
    # Neither of two consoles does ECHO.
    assert a.take_events() == [OptionRefused("ECHO")]
    assert b.take_events() == ([] if only_a_starts else [OptionRefused("ECHO")])


@given(st.binary())
def test_escaped_data_arrives_as_it_was(data: bytes) -> None:
    core = connected()
    assert core.receive(escape(data)) == data
    assert core.take_output() == b"" and core.take_events() == []


def test_start_is_the_originals() -> None:
    assert TelnetCore().start() == START


def test_break_is_brk() -> None:
    assert BREAK == b"\xff\xf3"


def test_data_without_protocol_is_not_copied() -> None:
    data = b"login: \r\0"
    assert connected().receive(data) is data
    assert TelnetCore.escape(data) is data


def test_requests_are_answered_as_the_original_does() -> None:
    for option in range(256):
        do, will = bytes([0xFF, 0xFD, option]), bytes([0xFF, 0xFB, option])
        assert converse(do) == (b"", b"" if option in (0, 3) else bytes([0xFF, 0xFC, option]), [])
        assert converse(will) == (b"", b"" if option in (0, 1, 3) else bytes([0xFF, 0xFE, option]), [])
        assert converse(bytes([0xFF, 0xFE, option])) == (b"", b"", [])


def test_refusals_of_what_we_asked_for_are_told_once() -> None:
    data = bytes.fromhex("fffc00 fffc01 fffc03 fffc18 fffc01")
    assert converse(data) == (
        b"",
        b"",
        [OptionRefused("BINARY"), OptionRefused("ECHO"), OptionRefused("SUPPRESS GO AHEAD")],
    )


def test_an_option_that_the_peer_ends_is_acknowledged() -> None:
    assert converse(bytes.fromhex("fffb01 fffc01")) == (b"", bytes.fromhex("fffe01"), [OptionRefused("ECHO")])
    assert converse(bytes.fromhex("fffd00 fffe00")) == (b"", bytes.fromhex("fffc00"), [])


def test_an_option_that_the_peer_takes_up_again_is_accepted() -> None:
    assert converse(bytes.fromhex("fffc01 fffb01"))[1] == bytes.fromhex("fffd01")


def test_doubled_iac_is_data() -> None:
    assert converse(b"a\xff\xffb") == (b"a\xffb", b"", [])


def test_commands_of_no_use_are_told() -> None:
    for byte, name in zip(range(0xEC, 0xFA), NAMES):
        assert converse(bytes([0xFF, byte]))[2] == ([] if name == "SE" else [CommandIgnored(name)])


def test_bytes_that_are_no_command_are_told_and_dropped() -> None:
    assert converse(b"a\xff\x05b") == (b"ab", b"", [InvalidCommand(5)])


def test_sub_negotiation_is_skipped_with_a_doubled_iac_inside() -> None:
    assert converse(bytes.fromhex("fffa18ffff01fff0") + b"end") == (b"end", b"", [])


def test_a_command_breaks_off_a_sub_negotiation() -> None:
    assert converse(bytes.fromhex("fffa1801 fffd18") + b"end") == (b"end", bytes.fromhex("fffc18"), [])


@pytest.mark.parametrize("filler", [b"x", b"\xff\xff"])
def test_a_sub_negotiation_without_end_does_not_silence_the_console(filler: bytes) -> None:
    data = b"\xff\xfa" + filler * MAX_SUBNEGOTIATION_BYTES + b"console"
    assert converse(data) == (b"console", b"", [InvalidCommand(0xFA)])


def test_a_flood_of_commands_gives_a_bounded_number_of_events() -> None:
    core = connected()
    core.receive(b"\xff\xf1" * 10 * MAX_EVENTS)
    assert len(core.take_events()) == MAX_EVENTS
    core.receive(b"\xff\xf1")
    assert core.take_events() == [CommandIgnored("NOP")]


def test_messages_are_the_originals() -> None:
    assert str(OptionRefused("ECHO")) == "Received telnet cmd WONT ECHO"
    assert str(CommandIgnored("AYT")) == "Ignoring telnet cmd AYT OPT:-1"
    assert str(InvalidCommand(5)) == "Received invalid telnet cmd 0x05"
