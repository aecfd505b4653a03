from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.bmc import Bmc
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.installed import Installed


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    return Installed(prefix)


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[Bmc]:
    with Bmc(tmp_path) as started:
        yield started


@pytest.fixture(autouse=True)
def orphans_end_by_themselves() -> Iterator[None]:
    """A daemon that stops leaves relays and tools behind, which then end their sessions; wait for them.

    They are this process's children by then. Whatever does not end is found and told by the fixture of all tests.
    """
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                select.select([], [], [], 0.01)
        except ChildProcessError:
            return
