"""Logical lines and what their tokens must be."""

from __future__ import annotations

import pytest

from conman.lexer import Lexer, Token
from conmand.config.errors import ConfigurationError
from conmand.config.lines import Expect, integer, logical_lines, refuse, value_of


def token(data: bytes) -> Token:
    return next(iter(Lexer(data, ["on", "off", "port"])))


def test_lines_end_at_an_end_of_line_or_of_the_file() -> None:
    lines = []
    for line in logical_lines(b"a \\\n b\n\nc", frozenset()):
        words = []
        while not line.at_end():
            words.append((line.next().raw, line.number))
        lines.append(words)
    assert lines == [[(b"a", 1), (b"b", 2)], [], [(b"c", 4)]]


def test_a_consumed_end_of_line_gives_its_line() -> None:
    line = next(logical_lines(b"a \\\n\n", frozenset()))
    line.next()
    assert line.number == 1
    for _ in range(3):
        assert line.next().raw == b"\n"
        assert line.number == 2
        assert line.at_end()


@pytest.mark.parametrize(
    ("expect", "data", "value"),
    [
        (Expect.STRING, b"word", "word"),
        (Expect.STRING, b"' x '", " x "),
        (Expect.STRING, b"'5'", "5"),
        (Expect.STRING, b"'port'", "port"),
        (Expect.ANY_STRING, b"''", ""),
        (Expect.ANY_STRING, b"' '", " "),
        (Expect.INTEGER, b"-007", "-007"),
        (Expect.SWITCH, b"oN", "ON"),
        (Expect.SWITCH, b"off", "OFF"),
    ],
)
def test_values(expect: Expect, data: bytes, value: str) -> None:
    assert value_of("KEY", expect, token(data)) == value


@pytest.mark.parametrize(
    ("expect", "data", "message"),
    [
        (Expect.STRING, b"5", "expected STRING for KEY value"),
        (Expect.STRING, b"port", "expected STRING for KEY value"),
        (Expect.STRING, b"''", "expected STRING for KEY value"),
        (Expect.STRING, b"'\t\v\f '", "expected STRING for KEY value"),
        (Expect.STRING, b"'x", "expected STRING for KEY value"),
        (Expect.STRING, b"\n", "expected STRING for KEY value"),
        (Expect.STRING, b"", "expected STRING for KEY value"),
        (Expect.ANY_STRING, b"5", "expected STRING for KEY value"),
        (Expect.INTEGER, b"'5'", "expected INTEGER for KEY value"),
        (Expect.INTEGER, b"x", "expected INTEGER for KEY value"),
        (Expect.SWITCH, b"'on'", "expected ON or OFF for KEY value"),
        (Expect.SWITCH, b"port", "expected ON or OFF for KEY value"),
        (Expect.SWITCH, b"1", "expected ON or OFF for KEY value"),
        (Expect.STRING, b"y" * 1024, "KEY value exceeds 1023-byte maximum"),
        (Expect.INTEGER, b"1" * 9999, "KEY value exceeds 1023-byte maximum"),
    ],
)
def test_wrong_values(expect: Expect, data: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        value_of("KEY", expect, token(data))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"Word", "unrecognized token 'Word'"), (b"'a b'", "unrecognized token 'a b'"), (b",", "unrecognized token ','"),
     (b"\xff", "unrecognized token '\udcff'"), (b"'x", "unmatched quote"),
     (b"y" * 1024, f"unrecognized token '{'y' * 1023}'")],
)  # fmt: skip
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse(token(data))
    assert str(caught.value) == message


def test_integers_have_ranges() -> None:
    assert integer("KEY", "+7") == 7
    assert integer("KEY", "-7", least=-7) == -7
    for digits in ("-1", str(2**31), "9" * 1023):
        with pytest.raises(ConfigurationError, match=f"^invalid KEY value {digits}$"):
            integer("KEY", digits)
