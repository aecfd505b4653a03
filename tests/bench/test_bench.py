"""That the benchmark runs and what its table says; never how fast anything is."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Iterator

import pytest

from bench import load, measure, report
from bench.__main__ import main
from bench.measure import Sample
from bench.site import count_whole
from tests.fakes.peers import original_conmand

SECOND = b"2026-11-22 17:00:00 "


@pytest.fixture(autouse=True)
def descriptor_limit() -> Iterator[None]:
    """The benchmark raises the limit of its process, which here is the tests'."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_tiny_benchmark_measures_both_daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(original_conmand().parents[2]))
    assert main(["--size", "tiny", "--results", str(tmp_path)]) == 0

    document = json.loads((tmp_path / "latest.json").read_text())
    measured = {(sample["row"].rpartition(" ")[0], sample["subject"]) for sample in document["samples"]}
    assert measured == {(row, subject) for row in report.ROWS for subject in (report.ORIGINAL, report.OURS)}
    lost = [sample["value"] for sample in document["samples"] if "lost" in sample["row"]]
    assert lost and not any(lost)

    shown = capsys.readouterr().out
    table = (tmp_path / "latest.md").read_text()
    for row in report.ROWS.values():
        assert row.title in shown
        assert f"| {row.title} |" in table


def test_missing_original_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(tmp_path))
    assert main(["--size", "tiny", "--results", str(tmp_path)]) == 1
    assert f"cannot run the original's daemon {tmp_path}/usr/sbin/conmand" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ratio_is_that_of_the_medians() -> None:
    samples = [Sample("cpu 100", report.ORIGINAL, value) for value in (1.0, 2.0, 9.0)]
    samples += [Sample("cpu 100", report.OURS, value) for value in (1.0, 1.2, 0.5)]
    (line,) = report.lines(samples)
    assert line.cells == (
        f"CPU per {measure.PER_LINES:,} lines of 100 bytes",
        "100",
        "0.50",
        "1.00 s (0.50 to 1.20)",
        "2.00 s (1.00 to 9.00)",
        "ratio 0.7",
        "kept",
        "",
    )


def test_limit_that_is_not_kept_is_marked() -> None:
    over, under = report.lines(
        [Sample("pss idle 9000", report.OURS, 81e6), Sample("query 9000", report.OURS, 0.2)][::-1]
    )
    assert (over.title, over.verdict) == ("query of all names", "kept")
    assert (under.title, under.verdict) == ("PSS after the start", "BROKEN")


def test_figure_that_could_not_be_had_gives_no_ratio() -> None:
    samples = [
        Sample("query 9000", report.ORIGINAL, None, "fails: 0 of 9000 names"),
        Sample("query 9000", report.OURS, 0.05),
    ]
    (line,) = report.lines(samples)
    assert (line.ratio, line.original, line.note) == ("", "-", "original: fails: 0 of 9000 names")


def test_lines_come_in_the_order_of_the_rows_and_sizes() -> None:
    samples = [Sample(f"{row} {size}", report.OURS, 1.0) for row in reversed(report.ROWS) for size in (9000, 100)]
    table = report.lines(samples)
    titles = [row.title for row in report.ROWS.values()]
    assert [(line.title, line.consoles) for line in table] == [
        (title, size) for title in titles for size in (100, 9000)
    ]


def logged(console: int, *numbers: int) -> bytes:
    return b"\r\n<ConMan> Console [n] log opened.\r\n" + b"".join(
        SECOND + load.line(console, number) for number in numbers
    )


def test_whole_lines_are_counted_and_notices_are_not() -> None:
    assert count_whole(7, logged(7, 0, 1, 2)) == 3


def test_lost_line_is_missed_once() -> None:
    assert count_whole(7, logged(7, 0, 2, 3)) == 3


@pytest.mark.parametrize(
    "damaged",
    [
        logged(7, 0, 0),
        logged(7, 0) + logged(8, 1),
        logged(7, 0) + logged(7, 1)[:-20] + b"\r\n",
        logged(7, 0) + load.line(7, 1),
    ],
    ids=["twice", "of another console", "cut", "without a timestamp"],
)
def test_damaged_line_is_not_counted(damaged: bytes) -> None:
    assert count_whole(7, damaged) == 1


def test_line_of_a_device_has_its_size() -> None:
    assert {len(load.line(console, number)) for console in (0, 8999) for number in (0, 1_000_000)} == {100}
