"""The soak test, short: what ``make soak`` does for half an hour must work for some seconds, and be able to fail."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.soak import __main__ as soak
from tests.soak.devices import first_difference, line, without_notices
from tests.soak.users import Complaint, check_consecutive


@pytest.mark.parametrize("seed", [1, 2])
def test_mixed_load_loses_nothing(seed: int, tmp_path: Path) -> None:
    run = soak.Soak(tmp_path, seconds=6, printers=6, seed=seed, options=(), rotated_bytes=4096)
    asyncio.run(run.run())
    assert run.problems == []
    assert any("lines printed" in text for text in run.report)
    assert any(re.fullmatch("[1-9][0-9]* files rotated by the daemon", text) for text in run.report)


def test_the_check_finds_what_is_lost_doubled_or_changed() -> None:
    lines = [line("n", number) for number in range(5)]
    notice = b"\r\n<ConMan> Console [n] connected\r\n"
    assert first_difference("n", 5, without_notices(lines[0][:9] + notice + lines[0][9:] + b"".join(lines[1:]))) is None
    assert first_difference("n", 5, b"".join(lines[:4])) is not None
    assert first_difference("n", 4, b"".join(lines)) is not None
    assert first_difference("n", 5, b"".join([*lines[:3], *lines[2:]])) is not None
    assert first_difference("n", 5, b"".join(lines).replace(b"00000003", b"00000008")) is not None


def test_a_watcher_notices_a_gap() -> None:
    check_consecutive("n", line("n", 3)[5:] + line("n", 4) + line("n", 5)[:-1])
    with pytest.raises(Complaint, match="line 6 came where 5 was due"):
        check_consecutive("n", line("n", 4) + line("n", 6))
