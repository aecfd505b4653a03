"""Where ConMan's own programs are, for the tests that run ours beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def original_conmand() -> Path:
    """The original's daemon, to be run and never read.

    It is looked for under ``$CONMAN_ORIGINAL``, else under ``.peers/conman-0.3.1`` in the repository. Without it the
    test is skipped, but fails where ``CI`` is set: there the peers are a part of the set-up.
    """
    directory = Path(os.environ.get("CONMAN_ORIGINAL") or _REPOSITORY / ".peers" / "conman-0.3.1")
    program = directory / "usr" / "sbin" / "conmand"
    if not os.access(program, os.X_OK):
        reason = f"cannot run {program}: set CONMAN_ORIGINAL to a directory that holds usr/sbin/conmand"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program
