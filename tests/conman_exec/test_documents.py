"""What the documents say of the device scripts is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from conman_exec import PROGRAMS
from conman_exec.settings import SCRIPTS, load

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCUMENTS / "conman-exec.conf.example"


def test_example_changes_nothing() -> None:
    for script, table in SCRIPTS.items():
        chosen = load(script, str(EXAMPLE))
        assert [getattr(chosen, setting.name) for setting in table] == [setting.default for setting in table]


def test_example_with_its_comments_removed_changes_nothing(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(\w+ = )", r"\1", EXAMPLE.read_text())
    (tmp_path / "conf").write_text(text)
    for script, table in SCRIPTS.items():
        chosen = load(script, str(tmp_path / "conf"))
        assert [getattr(chosen, setting.name) for setting in table] == [setting.default for setting in table]


def test_example_has_every_setting() -> None:
    sections = re.split(r"(?m)^\[(\w+)\]$", EXAMPLE.read_text())[1:]
    assert dict(zip(sections[::2], (re.findall(r"(?m)^#(\w+) = ", body) for body in sections[1::2]))) == {
        script: [setting.name for setting in table] for script, table in SCRIPTS.items()
    }


def test_every_script_is_described() -> None:
    text = (DOCUMENTS / "device-scripts.md").read_text()
    for program in (*PROGRAMS.values(), "serial_exp.py"):
        assert f"`{program}`" in text
