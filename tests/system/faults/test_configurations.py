"""Configurations that nobody would write: huge, binary, cut off. What can be used is, and the rest is complained of."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import List, Tuple

import pytest

from tests.fakes.daemons import OURS, environment, our_command
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.sites import Site

GOOD = 'console name="good" dev="test:" testopts="b:0"\n'


def check(path: Path) -> Tuple[int, List[str]]:
    """``--check``'s status and lines."""
    result = subprocess.run(
        [*our_command(), "--check", str(path)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_SECONDS * 2,
    )
    return result.returncode, result.stdout.decode("utf-8", "surrogateescape").splitlines()


def served(directory: Path, config: str) -> bytes:
    """The consoles that a daemon serves from ``config``."""
    with Site(OURS, directory) as site:
        site.start(config)
        return site.ask(b"QUERY\n")


def test_a_hundred_thousand_lines(tmp_path: Path) -> None:
    lines = [f"# node {number} was here" for number in range(90_000)]
    lines += [f'console name="n{number}" dev="unix:/nowhere/n{number}"' for number in range(10_000)]
    config = tmp_path / "conman.conf"
    config.write_text("\n".join(lines) + "\n")
    status, said = check(config)
    assert status == 0, said[-5:]
    assert any("10000" in line.replace(",", "") for line in said), said[-5:]


def test_a_hundred_thousand_wrong_lines_are_all_named(tmp_path: Path) -> None:
    config = tmp_path / "conman.conf"
    config.write_text("konsole name=x\n" * 100_000 + GOOD)
    status, said = check(config)
    assert status != 0
    assert sum("konsole" in line for line in said) == 100_000


@pytest.mark.parametrize(
    "text",
    [
        GOOD + 'console name="cut off',
        GOOD + 'console name="n\0l" dev="test:"\n',
        GOOD + "\0" * 1_000_000 + "\n",
        GOOD + "server " + "x" * 10_000_000 + "\n",
        GOOD + 'console name="' + "y" * 10_000_000 + '" dev="test:"\n',
        GOOD + "server logdir='" + "z" * 10_000_000 + "\n",
        GOOD + "# " + "comment " * 1_250_000,
        GOOD + "\xff\xfe\x80" * 1000 + "\n",
    ],
    ids=["quote", "nul", "nuls", "long-word", "long-name", "long-quote", "long-comment", "binary"],
)
def test_what_is_wrong_costs_only_its_own_line(text: str, tmp_path: Path) -> None:
    config = tmp_path / "odd.conf"
    config.write_text(text)
    status, said = check(config)
    assert not any("Traceback" in line for line in said), said
    assert all(len(line) < 4096 for line in said), [len(line) for line in said]
    if "comment" not in text:
        assert status != 0
        assert any(":2:" in line or "2" in line for line in said), said
    answer = served(tmp_path / "site", text)
    assert b"CONSOLE='good'" in answer
