"""That the benchmark of IPMI consoles runs and what its table says; never how fast anything is."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Iterator

import pytest

from bench.ipmi import ROWS, main
from tests.fakes.peers import installed_library, original_conmand


@pytest.fixture(autouse=True)
def descriptor_limit() -> Iterator[None]:
    """The benchmark raises the limit of its process, which here is the tests'."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_tiny_benchmark_measures_both_daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed_library("libipmiconsole.so.2")
    monkeypatch.setenv("CONMAN_ORIGINAL", str(original_conmand().parents[2]))
    assert main(["--bmcs", "3", "--seconds", "1", "--repeats", "1", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    table = (tmp_path / "ipmi.md").read_text()
    for row in ROWS.values():
        assert row.title in shown
        assert f"| {row.title} | 3 |" in table
    (lost,) = [line for line in table.splitlines() if line.startswith("| IPMI: lines lost")]
    assert "| 0 lines | 0 lines |" in lost
