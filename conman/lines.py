"""Console output as lines that begin with the console's name: cut, cleaned, coloured. Pure."""

from __future__ import annotations

import re
import zlib
from typing import List

_NOT_SHOWN = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]|\x1b.|[\x00-\x08\x0a-\x1f\x7f-\x9f]", re.DOTALL)
_COLOURS = (36, 33, 32, 35, 34, 31, 96, 93, 92, 95, 94, 91)

MAX_LINE = 65536
"""Characters after which a line that does not end is cut."""


class LineCutter:
    """One console's text in, whole lines out, without what would disturb other consoles' lines on a terminal."""

    def __init__(self) -> None:
        self._partial = ""

    def feed(self, text: str) -> List[str]:
        *whole, self._partial = (self._partial + text).split("\n")
        if len(self._partial) > MAX_LINE:
            whole, self._partial = [*whole, self._partial], ""
        return [shown(line) for line in whole]

    def take_partial(self) -> List[str]:
        """What waits for its line end, such as a prompt; nothing if it would be blank."""
        partial, self._partial = shown(self._partial), ""
        return [partial] if partial.strip() else []


def shown(line: str) -> str:
    """``line`` without control characters; what a CR overwrites is kept, as in a log."""
    return _NOT_SHOWN.sub("", line.rstrip("\r").replace("\r", " "))


def prefixed(name: str, line: str, *, colour: bool = False) -> str:
    """``NAME:LINE``, as the original's examples print it; each name has a colour of its own, always the same."""
    if not colour:
        return f"{name}:{line}"
    code = _COLOURS[zlib.crc32(name.encode("utf-8", "surrogateescape")) % len(_COLOURS)]
    return f"\x1b[{code}m{name}:\x1b[0m{line}"
