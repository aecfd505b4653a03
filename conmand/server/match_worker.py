"""Evaluates patterns with libc's fnmatch(3) and regcomp(3), as a program of its own that its caller can kill.

Both functions can take for ever, or all memory, or the whole stack, for a few hostile bytes; no pattern is worth the
daemon. It is executed by its path with an isolated interpreter, imports nothing of ours, and ends after one answer.

Standard input: ``MODE COUNT`` and LF, then strings separated by NUL: COUNT patterns, then names. MODE is ``glob`` or
``regex``. Standard output: ``+`` and the indexes of the names that match, as native 32-bit numbers, or ``-`` and libc's
words about the first pattern that it cannot compile.
"""

from __future__ import annotations

import array
import ctypes
import locale
import os
import resource
import sys
from typing import Callable, Iterable, List, Sequence, Set

#: Ours. An interpreter takes some 30 MiB, libc's regular expressions a few for any sensible pattern.
MAX_MEMORY_BYTES = 256 * 1024 * 1024
MAX_CPU_SECONDS = 3  # in case nobody kills us; the caller has a shorter limit
NICENESS = 5

_REG_EXTENDED, _REG_ICASE = 1, 2
_REGEX_BYTES = 1024  # more than any libc's regex_t
_MESSAGE_BYTES = 256

Predicate = Callable[[bytes], bool]


class PatternRefused(Exception):
    """libc does not take the pattern; the argument is what it says, as bytes."""


class _Match(ctypes.Structure):
    """regmatch_t."""

    _fields_ = [("start", ctypes.c_int), ("end", ctypes.c_int)]


def glob_predicate(libc: ctypes.CDLL, pattern: bytes) -> Predicate:
    return lambda name: bool(libc.fnmatch(pattern, name, 0) == 0)


def regex_predicate(libc: ctypes.CDLL, pattern: bytes) -> Predicate:
    """Whether the leftmost longest match is the whole name, upper and lower case alike."""
    compiled = ctypes.create_string_buffer(_REGEX_BYTES)
    status = libc.regcomp(compiled, pattern, _REG_EXTENDED | _REG_ICASE)
    if status != 0:
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        libc.regerror(status, compiled, message, ctypes.c_size_t(_MESSAGE_BYTES))
        raise PatternRefused(message.value)
    found = _Match()
    one = ctypes.c_size_t(1)

    def matches(name: bytes) -> bool:
        status = libc.regexec(compiled, name, one, ctypes.byref(found), 0)
        return bool(status == 0 and found.start == 0 and found.end == len(name))

    return matches


def matching_indexes(predicates: Iterable[Predicate], names: Sequence[bytes]) -> List[int]:
    """The names that at least one predicate takes, by their places."""
    matched: Set[int] = set()
    for predicate in predicates:
        matched.update(index for index, name in enumerate(names) if predicate(name))
    return sorted(matched)


def answer(request: bytes) -> bytes:
    """See the module's description."""
    header, _, body = request.partition(b"\n")
    mode, count_text = header.split()
    count = int(count_text)
    strings = body.split(b"\0")
    libc = ctypes.CDLL(None)
    make = regex_predicate if mode == b"regex" else glob_predicate
    try:
        predicates = [make(libc, pattern) for pattern in strings[:count]]
    except PatternRefused as refusal:
        return b"-" + bytes(refusal.args[0])
    return b"+" + array.array("I", matching_indexes(predicates, strings[count:])).tobytes()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    os.nice(NICENESS)
    locale.setlocale(locale.LC_ALL, "C")
    reply = answer(sys.stdin.buffer.read())
    sys.stdout.buffer.write(reply)


if __name__ == "__main__":
    main()
