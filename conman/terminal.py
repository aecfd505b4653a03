"""The user's terminal: raw for a session, and as it was before on every way out.

Hard here: "every way out". The settings are noted before anything is changed, ``restore`` may be called at any time
and any number of times, and a ``with`` statement around the session cannot leave it raw, whatever is raised.
After a stop and a continuation that were not ours (``kill -TSTP``) the shell has changed the settings behind our back;
``refresh`` sets them again.
"""

from __future__ import annotations

import os
import termios
from typing import Any, List, Optional, Type

IFLAG, OFLAG, CFLAG, LFLAG, _ISPEED, _OSPEED, CC = range(7)


class Terminal:
    """The terminal behind descriptor ``fd``. Nothing is changed until ``make_raw``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._original: Optional[List[Any]] = None
        self._raw: Optional[List[Any]] = None

    def make_raw(self, *, echo: bool = False) -> None:
        """Keys as they are typed, output as it comes. What was typed before is discarded, as by the original."""
        if self._original is None:
            self._original = termios.tcgetattr(self._fd)
        self._raw = _raw(self._original, echo)
        termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._raw)

    def set_echo(self, on: bool) -> None:
        """While raw. What is typed meanwhile is kept: it may be a part of what is being pasted."""
        if self._original is not None:
            self._raw = _raw(self._original, on)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._raw)

    def refresh(self) -> None:
        """Set again what somebody else may have changed; nothing if the terminal is not ours to be raw."""
        if self._raw is not None and self._is_foreground():
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._raw)

    def restore(self, *, at_once: bool = False) -> None:
        """As it was before. A terminal that has gone away needs nothing, and one that is the shell's again neither.

        ``at_once`` does not wait until all output is shown: a signal's way out must not hang on a stuck terminal.
        """
        original, self._original, self._raw = self._original, None, None
        if original is None or not self._is_foreground():
            return
        try:
            if at_once:
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, original)
            else:
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, original)
        except termios.error:
            pass

    def _is_foreground(self) -> bool:
        """Whether changing the settings would not stop us; true for a terminal that is not our controlling one."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_rest: object) -> None:
        self.restore(at_once=kind is not None)


def _raw(original: List[Any], echo: bool) -> List[Any]:
    raw = list(original)
    raw[IFLAG] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
    raw[OFLAG] &= ~termios.OPOST
    raw[CFLAG] = (raw[CFLAG] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8 | termios.CLOCAL
    raw[LFLAG] &= ~(termios.ECHO | termios.ECHOCTL | termios.ICANON | termios.IEXTEN | termios.ISIG)
    if echo:
        raw[LFLAG] |= termios.ECHO
    raw[CC] = list(original[CC])
    raw[CC][termios.VMIN], raw[CC][termios.VTIME] = 1, 0
    return raw
