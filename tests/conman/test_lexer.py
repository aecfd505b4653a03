"""The lexical rules of conman.conf(5), one case each, and that every input lexes."""

from __future__ import annotations

import re
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.lexer import MAX_VALUE_BYTES, Lexer, Token, TokenKind

KEYWORDS = ("console", "name", "on")
# Blanks, ends of line, quotes, signs and a keyword turn up often; anything else now and then.
PIECES = [b" ", b"\t", b"\n", b"\r", b"\\", b"'", b'"', b"#", b"=", b"-", b"7", b"on", b"\0", b"\xff"]
TRICKY = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4))).map(b"".join)


def lex(data: bytes) -> List[Token]:
    return list(Lexer(data, KEYWORDS))


def kinds(data: bytes) -> List[Tuple[str, bytes]]:
    return [(token.kind.name, token.raw) for token in lex(data)][:-1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b" \t\v\f", []),
        (b"abc _x9", [("STRING", b"abc"), ("STRING", b"_x9")]),
        (b"console CONSOLE CoNsOlE", [("KEYWORD", b"console"), ("KEYWORD", b"CONSOLE"), ("KEYWORD", b"CoNsOlE")]),
        (b"consoles", [("STRING", b"consoles")]),
        (b"'console'", [("STRING", b"console")]),
        (b"name=x", [("KEYWORD", b"name"), ("PUNCT", b"="), ("STRING", b"x")]),
        (b"name = x", [("KEYWORD", b"name"), ("PUNCT", b"="), ("STRING", b"x")]),
        (b"80abc", [("INTEGER", b"80"), ("STRING", b"abc")]),
        (b"+5 -6 007", [("INTEGER", b"+5"), ("INTEGER", b"-6"), ("INTEGER", b"007")]),
        (b"+ 5 -x", [("PUNCT", b"+"), ("INTEGER", b"5"), ("PUNCT", b"-"), ("STRING", b"x")]),
        (b"a,b:&", [("STRING", b"a"), ("PUNCT", b","), ("STRING", b"b"), ("PUNCT", b":"), ("PUNCT", b"&")]),
        (b'"it\'s" \'say "a"\'', [("STRING", b"it's"), ("STRING", b'say "a"')]),
        (rb'"a\" b', [("STRING", b"a\\"), ("STRING", b"b")]),
        (b"''\"\"", [("STRING", b""), ("STRING", b"")]),
        (b"'a#b' # rest 'x\n", [("STRING", b"a#b"), ("EOL", b"\n")]),
        (b"# ends in \\\nx", [("EOL", b"\n"), ("STRING", b"x")]),
        (
            b"a\rb\r\nc\n",
            [("STRING", b"a"), ("EOL", b"\r"), ("STRING", b"b"), ("EOL", b"\r\n"), ("STRING", b"c"), ("EOL", b"\n")],
        ),
        (b"a \\\nb \\\r\nc", [("STRING", b"a"), ("STRING", b"b"), ("STRING", b"c")]),
        (b"\\\r", [("PUNCT", b"\\"), ("EOL", b"\r")]),
        (b"\\ \n", [("PUNCT", b"\\"), ("EOL", b"\n")]),
        (b"\\", [("PUNCT", b"\\")]),
        (b'\'open "x"\n', [("ERROR", b'\'open "x"'), ("EOL", b"\n")]),
        (b"'open \\\nnext", [("ERROR", b"'open \\"), ("EOL", b"\n"), ("STRING", b"next")]),
        (b"x\0 y", [("STRING", b"x")]),
        (b"\x80\xc3\xff", [("PUNCT", b"\x80"), ("PUNCT", b"\xc3"), ("PUNCT", b"\xff")]),
        (b"'\xff'", [("STRING", b"\xff")]),
    ],
)
def test_tokens(data: bytes, expected: List[Tuple[str, bytes]]) -> None:
    assert kinds(data) == expected


def test_lines_count_ends_of_line_and_continuations() -> None:
    assert [(t.raw, t.line) for t in lex(b"a\nb \\\nc\r\nd\re")] == [
        (b"a", 1), (b"\n", 1), (b"b", 2), (b"c", 3), (b"\r\n", 3), (b"d", 4), (b"\r", 4), (b"e", 5), (b"", 5),
    ]  # fmt: skip


def test_keyword_is_named_in_upper_case() -> None:
    assert [t.keyword for t in lex(b"Name 'name' other")] == ["NAME", "", "", ""]


def test_quoted_strings_say_so() -> None:
    assert [t.quoted for t in lex(b"'a' a 5")] == [True, False, False, False]


def test_text_survives_any_byte() -> None:
    assert lex(b"'caf\xc3\xa9 \xff'")[0].text == "café \udcff"


def test_nothing_is_cut_but_what_is_too_long_says_so() -> None:
    size = MAX_VALUE_BYTES + 1
    for data in (b"x" * size, b"'" + b" " * size + b"'", b"1" * size):
        assert lex(data)[0].too_long
        assert len(lex(data)[0].raw) == size
    assert not lex(b"x" * MAX_VALUE_BYTES)[0].too_long


def test_a_lexer_can_be_read_again() -> None:
    lexer = Lexer(b"a b", KEYWORDS)
    assert list(lexer) == list(lexer)


@given(TRICKY)
def test_every_input_lexes_and_ends_in_one_eof(data: bytes) -> None:
    assert [token.kind for token in lex(data)].index(TokenKind.EOF) == len(lex(data)) - 1


@given(TRICKY)
def test_nothing_but_blanks_comments_and_continuations_is_lost(data: bytes) -> None:
    typed = b"".join(b"'%b'" % t.raw if t.quoted else t.raw for t in lex(data))
    rest = re.sub(rb"[\0].*", b"", data, flags=re.DOTALL)
    assert len(typed) <= len(rest)
    if b"#" not in rest and b"\\" not in rest and b"'" not in rest and b'"' not in rest:
        assert typed == re.sub(rb"[ \t\v\f]", b"", rest)


@given(TRICKY)
def test_lines_never_go_back(data: bytes) -> None:
    lines = [token.line for token in lex(data)]
    assert lines == sorted(lines)
    assert lines[-1] <= 1 + data.count(b"\n") + data.count(b"\r")
