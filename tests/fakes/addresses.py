"""Loopback addresses of this process alone, so that tests in parallel can use fixed ports (623, 22, 23)."""

from __future__ import annotations

import itertools
import os

_NUMBERS = itertools.count(1)


def own_address() -> str:
    """An address in 127.0.0.0/8 that nobody else was given: the process and a counter are in it."""
    pid, number = os.getpid(), next(_NUMBERS)
    return f"127.{64 + (pid >> 8) % 128}.{pid % 256}.{1 + number % 254}"
