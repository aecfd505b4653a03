"""The lexical rules that conman.conf and the client protocol share: bytes in, tokens out.

It knows blanks, line ends, comments, continuations, quotes, words and numbers, and which words its caller reserves.
It does not know what a token means, nor complain: what the caller cannot use is still a token, so that any input lexes
and the caller can name it. The rules are ConMan 0.3.1's, with one mend: byte FF outside quotes is an unrecognized
character like any other above 7F, not an unmatched quote.

Hard here: nothing may be scanned twice. The one expression below takes the blanks before a token together with the
token and has an alternative for every byte, so that the scan moves on at each match and never looks back.
"""

from __future__ import annotations

import enum
import re
from typing import Iterable, Iterator, NamedTuple

from conman.text import decode

#: Bytes of a string, word or integer that the original keeps; the rest it drops without a word.
MAX_VALUE_BYTES = 1023


class TokenKind(enum.Enum):
    KEYWORD = "keyword"  #: an unquoted word that the caller reserves, in any case
    STRING = "string"  #: a quoted string or any other word
    INTEGER = "integer"  #: decimal digits, with or without a sign
    PUNCT = "punct"  #: one byte that is nothing else
    EOL = "eol"  #: LF, CR or CR LF
    ERROR = "error"  #: a quote without its partner, and the rest of its line
    EOF = "eof"  #: always the last token, and only the last


class Token(NamedTuple):
    """``raw`` is the token as typed, but without the quotes of a quoted string, and never cut.

    ``line`` counts physical lines from 1; an EOL is on the line that it ends. ``keyword`` is the reserved word in upper
    case, or empty. A STRING that is not ``quoted`` is a word, so never empty.
    """

    kind: TokenKind
    raw: bytes
    line: int
    keyword: str = ""
    quoted: bool = False

    @property
    def text(self) -> str:
        """``raw`` as text in the sense of ``conman.text``."""
        return decode(self.raw)

    @property
    def too_long(self) -> bool:
        """Whether the original would have cut this token; conman.conf refuses it, the protocol cuts it as well."""
        return len(self.raw) > MAX_VALUE_BYTES


# Groups by number: 1 word, 2 quoted, 3 punctuation that is common, 4 end of line, 5 integer, 6 comment, 7 continuation,
# 8 unmatched quote, 9 any other byte. "\Z" takes the blanks at the end, where no token follows.
_SCANNER = re.compile(
    rb"""[ \t\v\f]*(?:
        ([A-Za-z_][A-Za-z0-9_]*)
      | ("[^"\r\n]*"|'[^'\r\n]*')
      | (=)
      | (\r\n|\n|\r)
      | ([+-]?[0-9]+)
      | (\#[^\r\n]*)
      | (\\\r?\n)
      | (["'][^\r\n]*)
      | ([^ \t\v\f])
      | \Z
    )""",
    re.VERBOSE,
)
_WORD, _QUOTED, _EQUALS, _EOL, _INTEGER, _COMMENT, _CONTINUATION, _UNMATCHED, _OTHER = range(1, 10)
_KIND_OF_GROUP = {
    _EQUALS: TokenKind.PUNCT,
    _INTEGER: TokenKind.INTEGER,
    _UNMATCHED: TokenKind.ERROR,
    _OTHER: TokenKind.PUNCT,
}


class Lexer:
    """Iterate over it for the tokens of ``data``, up to its end or its first NUL byte; the last one is EOF.

    ``keywords`` are reserved in any case. Every iteration starts at the beginning.
    """

    def __init__(self, data: bytes, keywords: Iterable[str] = ()) -> None:
        self._data = data.partition(b"\0")[0]
        self._keywords = {keyword.upper().encode("ascii"): keyword.upper() for keyword in keywords}

    def __iter__(self) -> Iterator[Token]:
        line = 1
        keywords = self._keywords
        for match in _SCANNER.finditer(self._data):
            group = match.lastindex
            if group is None or group == _COMMENT:
                continue
            raw = match[group]
            if group == _WORD:
                keyword = keywords.get(raw.upper(), "")
                yield Token(TokenKind.KEYWORD if keyword else TokenKind.STRING, raw, line, keyword)
            elif group == _QUOTED:
                yield Token(TokenKind.STRING, raw[1:-1], line, "", True)
            elif group == _EOL:
                yield Token(TokenKind.EOL, raw, line)
                line += 1
            elif group == _CONTINUATION:
                line += 1
            else:
                yield Token(_KIND_OF_GROUP[group], raw, line)
        yield Token(TokenKind.EOF, b"", line)
