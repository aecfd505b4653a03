from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.bmc import Bmc
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
