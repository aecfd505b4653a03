"""Waiting for words in what a console says: text in, matches out, with the semantics of pexpect's ``expect``.

It knows the unread text and the patterns; it knows no clock and no connection, whose ends its callers report. Of
several patterns that match, the one that matches earliest in the text wins, and among those the first in the list.

Hard here: a console that floods must not cost more with every read. A pattern that did not match is tried again on the
last ``WINDOW`` characters and what is new only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Optional, Pattern, Sequence, Tuple, Type, Union

from conman.errors import ConmanError

WINDOW = 16384
"""Characters that one match may stretch over when its text comes in pieces."""

MAX_UNREAD = 16 * 1024 * 1024
"""Characters that are kept unread; then the oldest go."""


class EOF(ConmanError):
    """The session has ended. In a list of patterns: match the end instead of raising this."""


class TIMEOUT(ConmanError):
    """Nothing matched in time. In a list of patterns: match that instead of raising this."""


PatternLike = Union[str, Pattern[str], Type[EOF], Type[TIMEOUT]]
Compiled = Union[Pattern[str], Type[EOF], Type[TIMEOUT]]


@dataclass(frozen=True)
class Match:
    """Pattern number ``index`` matched. ``before`` is the unread text in front of it; ``found`` is ``None`` for the end
    and for a time-out, which consumes nothing.
    """

    index: int
    before: str
    found: Optional[re.Match[str]] = None

    @property
    def text(self) -> str:
        return self.found[0] if self.found else ""


def compiled(patterns: Union[PatternLike, Sequence[PatternLike]], *, exact: bool = False) -> Tuple[Compiled, ...]:
    """Regular expressions (``exact``: plain strings) as they are looked for; a dot matches line ends, as in pexpect."""
    listed = list(patterns) if isinstance(patterns, (list, tuple)) else [patterns]
    ready: List[Compiled] = []
    for pattern in listed:
        if isinstance(pattern, str):
            ready.append(re.compile(re.escape(pattern) if exact else pattern, re.DOTALL))
        else:
            ready.append(pattern)  # type: ignore[arg-type]
    return tuple(ready)


class Expecter:
    """The unread text of one session."""

    def __init__(self) -> None:
        self.unread = ""
        self.ended = False
        self._tried: Tuple[Compiled, ...] = ()
        self._tried_to = 0  # how much of the unread text they have seen

    def feed(self, text: str) -> None:
        self.unread += text
        excess = len(self.unread) - MAX_UNREAD
        if excess > 0:
            self.unread = self.unread[excess:]
            self._tried_to = max(0, self._tried_to - excess)

    def feed_eof(self) -> None:
        self.ended = True

    def find(self, patterns: Tuple[Compiled, ...]) -> Optional[Match]:
        """The match, taken off the unread text with all in front of it; ``None`` if more has to come.

        Raises ``EOF`` if no more will.
        """
        start = max(0, self._tried_to - WINDOW) if patterns == self._tried else 0
        best: Optional[Tuple[int, int, re.Match[str]]] = None
        for index, pattern in enumerate(patterns):
            found = pattern.search(self.unread, start) if isinstance(pattern, re.Pattern) else None
            if found is not None and (best is None or found.start() < best[0]):
                best = (found.start(), index, found)
        if best is not None:
            before, self.unread = self.unread[: best[0]], self.unread[best[2].end() :]
            self._tried_to = 0
            return Match(best[1], before, best[2])
        self._tried, self._tried_to = patterns, len(self.unread)
        return self._at_end(patterns) if self.ended else None

    def _at_end(self, patterns: Tuple[Compiled, ...]) -> Match:
        before, self.unread = self.unread, ""
        self._tried_to = 0
        if EOF in patterns:
            return Match(patterns.index(EOF), before)
        raise EOF(f"the session has ended; last seen: {before[-200:]!r}")

    def time_out(self, patterns: Tuple[Compiled, ...], seconds: float) -> Match:
        """Nothing matched within ``seconds``. Raises ``TIMEOUT`` unless that is one of ``patterns``."""
        if TIMEOUT in patterns:
            return Match(patterns.index(TIMEOUT), self.unread)
        wanted = [pattern.pattern for pattern in patterns if isinstance(pattern, re.Pattern)]
        raise TIMEOUT(f"none of {wanted} came within {seconds:g} s; last seen: {self.unread[-200:]!r}")

    def take(self) -> str:
        """All unread text, which is read then."""
        text, self.unread = self.unread, ""
        self._tried_to = 0
        return text
