"""Lines of conman.conf, and what their tokens must be. Pure; what the keys mean is in ``grammar``."""

from __future__ import annotations

import enum
from typing import AbstractSet, Iterator, List, NoReturn

from conman.lexer import MAX_VALUE_BYTES, Lexer, Token, TokenKind
from conman.text import decode
from conmand.config.errors import ConfigurationError
from conmand.config.options import MAX_INT


def logical_lines(text: bytes, keywords: AbstractSet[str]) -> Iterator[Line]:
    """The lines of a configuration, continued ones in one piece."""
    tokens: List[Token] = []
    for token in Lexer(text, keywords):
        tokens.append(token)
        if token.kind is TokenKind.EOL or token.kind is TokenKind.EOF:
            yield Line(tokens)
            tokens = []


class Line:
    """The tokens of one logical line, of which the last is EOL or EOF, and how far they are consumed."""

    def __init__(self, tokens: List[Token]) -> None:
        self._tokens = tokens
        self._consumed = 0

    @property
    def number(self) -> int:
        """The physical line of the last token consumed, where ConMan places its messages."""
        return self._tokens[max(self._consumed - 1, 0)].line

    def next(self) -> Token:
        """The next token; at the end of the line that end, over and over."""
        self._consumed = min(self._consumed + 1, len(self._tokens))
        return self._tokens[self._consumed - 1]

    def at_end(self) -> bool:
        """Whether nothing is left but the end of the line, which may be consumed or not."""
        return self._consumed >= len(self._tokens) - 1


class Expect(enum.Enum):
    STRING = "STRING"  # not empty, not blank
    ANY_STRING = "STRING, even an empty one"
    INTEGER = "INTEGER"
    SWITCH = "ON or OFF"


def refuse(token: Token) -> NoReturn:
    if token.kind is TokenKind.ERROR:
        raise ConfigurationError("unmatched quote")
    raise ConfigurationError(f"unrecognized token '{decode(token.raw[:MAX_VALUE_BYTES])}'")


def value_of(key: str, expect: Expect, token: Token) -> str:
    """The text of ``token`` if it is what ``key`` expects."""
    if expect is Expect.SWITCH:
        if token.keyword not in ("ON", "OFF"):
            raise ConfigurationError(f"expected ON or OFF for {key} value")
        return token.keyword
    kind = TokenKind.INTEGER if expect is Expect.INTEGER else TokenKind.STRING
    if token.kind is not kind or (expect is Expect.STRING and not token.raw.strip()):
        raise ConfigurationError(f"expected {kind.name} for {key} value")
    if token.too_long:
        raise value_too_long(key)  # mend: ConMan cuts it, and uses what is left
    return token.text


def value_too_long(key: str) -> ConfigurationError:
    return ConfigurationError(f"{key} value exceeds {MAX_VALUE_BYTES}-byte maximum")


def integer(key: str, digits: str, least: int = 0, most: int = MAX_INT) -> int:
    number = int(digits)
    if not least <= number <= most:
        raise ConfigurationError(f"invalid {key} value {number}")
    return number
