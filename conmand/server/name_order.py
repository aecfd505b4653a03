"""The order in which consoles are listed: ConMan's, where ``n2`` comes before ``n10``.

Pure. Hard here: the original's rule compares two names as numbers or as bytes depending on both, and so is not
transitive (``n10`` < ``n10a`` < ``n2`` < ``n10``). No key can express it; we sort with its comparison, and for such odd
mixes any of the possible orders comes out, in the original as well. Source: ConMan 0.3.1 as observed.
"""

from __future__ import annotations

import functools
import re
from typing import Iterable, List, Optional, Tuple

from conman.text import encode

_TRAILING_DIGITS = re.compile(rb"([0-9]+)\Z")
# The original compares signed characters: bytes from 80 on come first.
_SIGNED = bytes(byte ^ 0x80 for byte in range(256))

_Number = Tuple[int, bytes]


class _Key:
    """What is compared of one name. ``number`` is its trailing digits, ordered by value at any length."""

    __slots__ = ("name", "signed", "prefix", "number")

    def __init__(self, name: str) -> None:
        data = encode(name)
        found = _TRAILING_DIGITS.search(data)
        digits = found[1].lstrip(b"0") if found else b""
        self.name = name
        self.signed = data.translate(_SIGNED)
        self.prefix = data[: found.start()] if found else None
        self.number: Optional[_Number] = (len(digits), digits) if found else None


def sorted_names(names: Iterable[str]) -> List[str]:
    """``names`` as the original lists them; equal ones (``n1`` and ``n01``) stay in the order given."""
    return [key.name for key in sorted(map(_Key, names), key=functools.cmp_to_key(_compare))]


def _compare(first: _Key, second: _Key) -> int:
    if first.number is not None and second.number is not None and first.prefix == second.prefix:
        return (first.number > second.number) - (first.number < second.number)
    return (first.signed > second.signed) - (first.signed < second.signed)
