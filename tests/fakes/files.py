"""Waiting for what another program writes to a file, by inotify(7) instead of by the clock."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path
from typing import Callable

PATIENCE_SECONDS = 30.0
"""How long anything in a test may take before the test fails; never how long it does take."""

_IN_MODIFY, _IN_CREATE, _IN_MOVED_TO, _IN_DELETE = 0x2, 0x100, 0x80, 0x200


def read_when(path: Path, ready: Callable[[bytes], bool]) -> bytes:
    """The content of ``path`` as soon as ``ready`` likes it. Fails with what was there when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        while True:
            # First the watch, then the look: what happens between the two is an event.
            directory = next(parent for parent in path.parents if parent.is_dir())
            mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO | _IN_DELETE
            assert libc.inotify_add_watch(fd, os.fsencode(directory), mask) >= 0, os.strerror(ctypes.get_errno())
            content = path.read_bytes() if path.exists() else b""
            if ready(content):
                return content
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"{path} never became what was awaited: {content!r}"
            if select.select([fd], [], [], remaining)[0]:
                os.read(fd, 65536)
    finally:
        os.close(fd)


def read_with(path: Path, text: bytes, count: int = 1) -> bytes:
    """The content of ``path`` once it has ``text`` in it ``count`` times."""
    return read_when(path, lambda content: content.count(text) >= count)
