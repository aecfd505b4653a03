"""Which file system a path is on, told without touching it: asking a dead file server anything may never return."""

from __future__ import annotations

import os.path
import re
from typing import AbstractSet, FrozenSet

from conman.text import decode

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mount_points(path: str = MOUNTINFO) -> FrozenSet[str]:
    """Where file systems are mounted; only ``/`` if nobody says. Source: proc(5)."""
    try:
        with open(path, "rb") as table:
            lines = table.read().splitlines()
    except OSError:
        lines = []
    return frozenset({"/", *(decode(_unescaped(fields[4])) for fields in map(bytes.split, lines) if len(fields) > 4)})


def _unescaped(name: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), name)


def mount_of(path: str, points: AbstractSet[str]) -> str:
    """The mount point that ``path``, an absolute one, is under if no symbolic link leads elsewhere."""
    directory = os.path.normpath(path)
    while directory not in points:
        above = os.path.dirname(directory)
        if above == directory:
            return "/"
        directory = above
    return directory
