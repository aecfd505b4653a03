"""That the benchmark of script consoles runs and what its table says; how little a console costs, but not how fast."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Iterator

import pytest

from bench import report
from bench.exec_consoles import ROWS, Found, main, samples
from tests.fakes.peers import original_conmand, original_script


@pytest.fixture(autouse=True)
def descriptor_limit() -> Iterator[None]:
    """The benchmark raises the limit of its process, which here is the tests'."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_tiny_benchmark_measures_both_daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() == 0:
        original_script("ipmitool.exp")
    monkeypatch.setenv("CONMAN_ORIGINAL", str(original_conmand().parents[2]))
    assert main(["--consoles", "4", "--results", str(tmp_path)]) == 0
    table = (tmp_path / "exec_consoles.md").read_text()
    assert all(f"| {row.title} | 4 |" in table for row in ROWS.values())
    (processes,) = [line for line in table.splitlines() if line.startswith(f"| {ROWS['exec processes'].title} ")]
    ours, original = processes.split("|")[4:6]
    assert ours.strip() == "1.00"
    if os.geteuid() == 0:
        assert original.strip() == "2.00"
    assert ROWS["exec private"].title in capsys.readouterr().out


def test_console_costs_what_it_adds() -> None:
    alone = Found(1, 0.5, 1, 1500.0, 20_000.0, 0.3, 0.1)
    found = Found(101, 3.0, 101, 151_500.0, 22_000.0, 0.7, 0.2)
    figures = {sample.row: sample.value for sample in samples(report.OURS, 101, alone, found)}
    assert figures == {
        "exec up 101": 3.0,
        "exec processes 101": 1.0,
        "exec private 101": 1500.0,
        "exec daemon 101": 20.0,
        "exec cpu 101": pytest.approx(0.004),
        "exec stop 101": 0.2,
    }


def test_those_that_do_not_come_up_are_told() -> None:
    found = Found(3, 200.0, 6, 30_000.0, 1_000.0, 0.1, 0.2)
    up, processes, *_ = samples(report.ORIGINAL, 4, found, found)
    assert (up.value, up.note) == (None, "3 of 4 up after 200 s")
    assert processes.value == 2.0
