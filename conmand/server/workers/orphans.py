"""Programs whose worker has died: the front adopts them, so that it can end what nobody else would.

The kernel gives orphans to the nearest ancestor that has asked for them (prctl(2), PR_SET_CHILD_SUBREAPER, Linux 3.4).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import List, Set

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on, orphans among our descendants become our children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> Set[int]:
    """All our children's pids, also those that have ended and wait to be reaped."""
    found: Set[int] = set()
    try:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # the thread may have ended
                found.update(map(int, (task / "children").read_text().split()))
        return found
    except OSError:
        return set()


def orphans(known: List[int]) -> List[int]:
    """Programs that a worker has started and left: our children that are not ``known``, and lead a session.

    What a program has put into the background comes to us too, but does not lead one. That is as little our business as
    it would be that of init: a reset command may have left it on purpose.
    """
    return sorted(pid for pid in children() - set(known) if _leads_session(pid))


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False
