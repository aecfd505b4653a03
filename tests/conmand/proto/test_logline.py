"""Console output on its way into a log, against ConMan's byte-wise state machine."""

from __future__ import annotations

from typing import List, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.logline import LineProcessor

STAMP = b"2024-02-29 23:59:59 "
NOTICE = b"\r\n<ConMan> Console [n1] joined by <root@host> at 02-29 23:59.\r\n"


class Reference:
    """ConMan 0.3.1's state machine, one byte at a time, as the table in its specification has it."""

    def __init__(self, sanitize: bool, timestamp: bool) -> None:
        self.sanitize = sanitize
        self.timestamp = timestamp
        self.state = "INIT"

    def notice(self, message: bytes) -> bytes:
        self.state = "INIT"
        return message

    def process(self, data: bytes, stamp: bytes) -> bytes:
        if not self.sanitize and not self.timestamp:
            return data
        return b"".join(self._byte(byte, stamp if self.timestamp else b"") for byte in data)

    def _byte(self, byte: int, stamp: bytes) -> bytes:
        state = self.state
        if byte == 0x0D:
            if state in ("INIT", "DATA"):
                self.state = "CR"
            return stamp if state == "INIT" else b""
        if byte == 0x0A:
            self.state = "LF"
            return stamp + b"\r\n" if state in ("INIT", "LF") else b"\r\n"
        if byte == 0x00 and state in ("CR", "LF"):
            return b""
        self.state = "DATA"
        text = self._sanitized(byte) if self.sanitize else bytes([byte])
        return {"INIT": stamp, "DATA": b"", "CR": b"\r\n" + stamp, "LF": stamp}[state] + text

    @staticmethod
    def _sanitized(byte: int) -> bytes:
        low = byte & 0x7F
        if byte == 0xFF:
            return b"~?"
        if byte == 0x7F:
            return b"^?"
        if byte < 0x20:
            return b"^" + bytes([low + 0x40])
        if byte < 0x7F:
            return bytes([byte])
        if byte < 0xA0:
            return b"~" + bytes([low + 0x40])
        return b"`" + bytes([low])

    @property
    def withheld(self) -> bytes:
        """The line end that ours has written and the reference has not yet."""
        return b"\r\n" if self.state == "CR" else b""


# Mostly the bytes that the states tell apart, among any others.
BYTES = [b"\r", b"\n", b"\0", b"\r\n", b"\r\r\n", b"a", b"text\r\n", b"\x8d\xff"]
pieces = st.one_of(st.sampled_from(BYTES), st.binary())
output = st.lists(pieces, max_size=12).map(b"".join)

# None is a notice; bytes are one read.
histories = st.lists(st.one_of(st.none(), output), max_size=8)


@given(st.booleans(), st.booleans(), histories)
def test_log_is_the_originals_except_that_a_line_end_is_not_withheld(
    sanitize: bool, timestamp: bool, history: List[Union[bytes, None]]
) -> None:
    ours, reference = LineProcessor(sanitize, timestamp), Reference(sanitize, timestamp)
    log, expected = b"", b""
    for number, event in enumerate(history):
        stamp = b"stamp %d " % number
        log += ours.notice(NOTICE) if event is None else ours.process(event, stamp)
        expected += reference.notice(NOTICE) if event is None else reference.process(event, stamp)
        assert log == expected + reference.withheld


@given(st.booleans(), st.booleans(), output, st.lists(st.integers(0, 60)))
def test_splits_do_not_matter(sanitize: bool, timestamp: bool, data: bytes, cuts: List[int]) -> None:
    ours = LineProcessor(sanitize, timestamp)
    edges = [0, *sorted(cuts), len(data)]
    split = b"".join(ours.process(data[a:b], STAMP) for a, b in zip(edges, edges[1:]))
    assert split == LineProcessor(sanitize, timestamp).process(data, STAMP)


@pytest.mark.parametrize("sanitize, timestamp", [(True, False), (False, True), (True, True)])
def test_every_pair_of_bytes_in_every_state(sanitize: bool, timestamp: bool) -> None:
    for before in (b"", b"x", b"x\r", b"x\n"):
        for first in range(256):
            for second in (b"", b"\0", b"\r", b"\n", b"y", b"\r\n", b"\xff"):
                ours, reference = LineProcessor(sanitize, timestamp), Reference(sanitize, timestamp)
                data = bytes([first]) + second
                log = ours.process(before, STAMP) + ours.process(data, STAMP)
                expected = reference.process(before, STAMP) + reference.process(data, STAMP)
                assert log == expected + reference.withheld, (before, data)


# Observed with ConMan 0.3.1: start, input, and what it logs with sanitize; T is where timestamp adds the stamp.
EXAMPLES: List[Tuple[bytes, bytes, bytes]] = [
    (b"\n", b"abc\r\n", b"Tabc\r\n"),
    (b"\n", b"abc\n", b"Tabc\r\n"),
    (b"\n", b"abc\rdef", b"Tabc\r\nTdef"),
    (b"\n", b"a\r\r\nb\r\n", b"Ta\r\nTb\r\n"),
    (b"\n", b"a\n\rb\n\r", b"Ta\r\nTb\r\n"),
    (b"\n", b"a\r\0b", b"Ta\r\nTb"),
    (b"\n", b"\0a\0b\n", b"Ta^@b\r\n"),
    (b"\n", b"\n\n\n", b"T\r\nT\r\nT\r\n"),
    (b"", b"\r\nx\n", b"T\r\nTx\r\n"),
    (b"", b"\r\rx\n", b"T\r\nTx\r\n"),
    (b"", b"\0x\n", b"T^@x\r\n"),
    (b"x", b"\x01\x08\t\n\x1b\x7f", b"^A^H^I\r\nT^[^?"),
    (b"\n", b"\x80\x8a\x9f\xa0\xe9\xff", b"T~@~J~_` `i~?"),
]


@pytest.mark.parametrize("before, data, logged", EXAMPLES)
def test_examples_observed_with_the_original(before: bytes, data: bytes, logged: bytes) -> None:
    for timestamp in (False, True):
        ours = LineProcessor(True, timestamp)
        ours.process(before, STAMP)
        assert ours.process(data, STAMP) == logged.replace(b"T", STAMP if timestamp else b"")


def test_a_carriage_return_is_logged_at_once() -> None:
    ours = LineProcessor(True, True)
    assert ours.process(b"Password:\r", b"T1 ") == b"T1 Password:\r\n"
    assert ours.process(b"\n", b"T2 ") == b""
    assert ours.process(b"next", b"T3 ") == b"T3 next"


def test_a_notice_after_a_carriage_return_adds_no_empty_line() -> None:
    ours = LineProcessor(True, True)
    assert ours.process(b"text\r", b"T ") + ours.notice(NOTICE) == b"T text" + NOTICE
    assert ours.process(b"\n", b"T ") == b"T \r\n"


def test_a_notice_is_not_sanitized_and_interrupts_a_line() -> None:
    ours = LineProcessor(True, True)
    message = b"\r\n<ConMan> Console [\xc3\xa9] log opened.\r\n"
    assert ours.process(b"part", b"T ") == b"T part"
    assert ours.notice(message) == message
    assert ours.process(b"more\n", b"T ") == b"T more\r\n"


def test_with_neither_option_bytes_pass_verbatim_and_uncopied() -> None:
    ours = LineProcessor(False, False)
    data = b"a\r\r\n\0\xff"
    assert ours.process(data, STAMP) is data
    assert ours.process(b"\r", STAMP) + ours.notice(NOTICE) == b"\r" + NOTICE


def test_timestamp_alone_leaves_data_bytes_as_they_are() -> None:
    assert LineProcessor(False, True).process(b"\xe9\0\x1b[1m\n", b"T ") == b"T \xe9\0\x1b[1m\r\n"


@given(st.lists(st.sampled_from(BYTES)).map(b"".join), st.booleans(), st.booleans(), st.sampled_from(BYTES))
def test_what_a_part_of_the_result_stands_for_can_be_told(
    data: bytes, sanitize: bool, timestamp: bool, earlier: bytes
) -> None:
    ours = LineProcessor(sanitize, timestamp)
    ours.process(earlier, STAMP)
    before = ours.state
    result = ours.process(data, STAMP)
    after = ours.state
    for length in range(0, len(result) + 1, max(1, len(result) // 20)):
        fed = ours.fed_for(length, before, data, STAMP)
        assert ours.length_of(before, data[:fed], STAMP) <= length
        if fed < len(data):
            assert ours.length_of(before, data[: fed + 1], STAMP) > length
    assert ours.fed_for(len(result), before, data, STAMP) == len(data)
    assert ours.state is after
