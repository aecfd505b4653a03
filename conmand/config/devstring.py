"""How a ``dev`` string splits into words, and where the console's name goes into them. Pure.

Rules: conman.conf(5) and observations of ConMan 0.3.1. There are no escapes; quotes count only where a word starts.
"""

from __future__ import annotations

import re
from typing import List

from conman.lexer import MAX_VALUE_BYTES
from conman.text import encode
from conmand.config.errors import DeviceError

_BLANKS = " \t\n\v\f\r"
_WORD = re.compile(r"[^ \t\n\v\f\r]+")


def split_device_string(text: str, name: str) -> List[str]:
    """The words of ``text`` for the console ``name``, at least one; quoted ones may be empty.

    ``%N`` becomes the name as it is, except in words written in single quotes. Raises :class:`DeviceError`.
    """
    words: List[str] = []
    found = _WORD.search(text)
    while found:
        word, end = found[0], found.end()
        quote = word[0] if word[0] in "'\"" else ""
        if quote and found.start() + 1 < len(text):
            closing = _find_closing_quote(text, found.start() + 1, quote, name)
            word, end = text[found.start() + 1 : closing], closing + 1
        words.append(word if quote == "'" else _with_name(word, name))
        found = _WORD.search(text, end)
    if not words:
        raise DeviceError(f"console [{name}] dev string is empty")
    return words


def _find_closing_quote(text: str, start: int, quote: str, name: str) -> int:
    closing = text.find(quote, start)
    while closing >= 0:
        if closing + 1 == len(text) or text[closing + 1] in _BLANKS:
            return closing
        closing = text.find(quote, closing + 1)
    raise DeviceError(f"console [{name}] dev string parse error")


def _with_name(word: str, name: str) -> str:
    if "%N" not in word:
        return word
    word = word.replace("%N", name)
    if len(encode(word)) > MAX_VALUE_BYTES:
        raise DeviceError(f"console [{name}] dev string substitution failed")
    return word
