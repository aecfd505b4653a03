"""What holds for every test: it leaves no process and no open descriptor behind."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

pytest.register_assert_rewrite(
    "tests.fakes.daemons", "tests.fakes.devices", "tests.fakes.files", "tests.fakes.sessions", "tests.fakes.sites"
)

GRACE_SECONDS = 5.0
"""For a process that is ending when its test is over; one that stays that long does not mean to."""

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session", autouse=True)
def orphans_are_adopted() -> None:
    """Make programs that outlive the daemon that started them children of the test run, so that they are seen."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(orphans_are_adopted: None) -> Iterator[None]:
    children, descriptors = _children(), _descriptors()
    yield
    left = _children() - children
    if left:
        left = {pid for pid in left if not _reap(pid)}
    assert not left, "processes are left: " + "; ".join(map(_command_line, left))
    if _descriptors().keys() - descriptors.keys():
        gc.collect()  # what only a cycle keeps open is closed now
        new = {fd: target for fd, target in _descriptors().items() if fd not in descriptors}
        # The interpreter opens these once and keeps them.
        assert not {fd: name for fd, name in new.items() if name not in ("/dev/urandom",)}, f"open descriptors: {new}"


def _children() -> Set[int]:
    children: Set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread may have ended
            children.update(map(int, (task / "children").read_text().split()))
    return children


def _descriptors() -> Dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the directory's own is closed again
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _reap(pid: int) -> bool:
    """Whether the process has ended, or is about to; an orphan has nobody else to ask for its status."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        select.select([fd], [], [], GRACE_SECONDS)
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
    finally:
        os.close(fd)


def _command_line(pid: int) -> str:
    try:
        return f"{pid} " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return str(pid)
