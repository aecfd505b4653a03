"""That the measurements of many consoles, clients and processes run, and what their table and plot say."""

from __future__ import annotations

import json
import resource
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Iterator

import pytest

from bench import report, scale
from bench.measure import Sample
from bench.plot import Chart, Line, drawn
from tests.fakes.peers import original_conmand


@pytest.fixture(autouse=True)
def descriptor_limit() -> Iterator[None]:
    """The benchmark raises the limit of its process, which here is the tests'."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_tiny_run_measures_everything_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(original_conmand().parents[2]))
    assert scale.main(["--size", "tiny", "--results", str(tmp_path)]) == 0
    assert "given up" not in capsys.readouterr().err
    samples = json.loads((tmp_path / "scale.json").read_text())
    measured = {(sample["row"].rpartition(" ")[0], sample["subject"]) for sample in samples}
    assert measured >= {(row, subject) for row in scale.ROWS for subject in (report.ORIGINAL, "ours")}
    assert ("rate", "ours, 2 workers") in measured
    assert not any(sample["value"] for sample in samples if "lost" in sample["row"])
    assert ElementTree.parse(tmp_path / "scale.svg").getroot().tag.endswith("svg")
    assert "| most log lines a second, ten in a write | 4 |" in (tmp_path / "scale.md").read_text()


def test_missing_original_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(tmp_path))
    assert scale.main(["--size", "tiny", "--results", str(tmp_path)]) == 1
    assert "cannot run the original's daemon" in capsys.readouterr().err


def test_the_table_has_medians_and_a_column_for_each_daemon() -> None:
    samples = [Sample("rate 10", "original", value) for value in (1.0, 2.0, 9.0)]
    samples += [Sample("rate 10", "ours", 4.0), Sample("broadcast 5", "ours", None, "3 consoles got all of it")]
    assert scale.as_markdown(samples).splitlines()[2:] == [
        "| most log lines a second, ten in a write | 10 | 2 lines/s | 4 lines/s |",
        "| 1 KB to all consoles, until the last has it | 5 |  | 3 consoles got all of it |",
    ]


def test_a_plot_marks_every_point_and_says_what_it_shows() -> None:
    lines = tuple(Line(f"<{label}>", ((100, 1.0), (9_000, 50.0))) for label in "abc")
    text = drawn([Chart("title", "x", "y", lines), Chart("alone", "x", "y", (Line("one", ((5, 5),)),))])
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert {"title", "alone", "<a>", "<b>", "<c>", "1,000"} <= set(words)
    assert len([element for element in root.iter() if element.tag.endswith("polyline")]) == 4
    # Two points and a key for each of the first chart's lines, one and a key in the second; circles are first lines'.
    assert len([element for element in root.iter() if element.tag.endswith("circle")]) == 3 + 2
