"""The session that README.md shows can be made again, and is one of today's programs."""

from __future__ import annotations

import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

from tests.docs.pages import REPOSITORY
from tests.fakes.peers import installed_program


def test_session_can_be_made_again(tmp_path: Path) -> None:
    installed_program("tmux")
    command = [sys.executable, str(REPOSITORY / "docs" / "record_session.py"), "--fast", "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    made, shown = (directory / "session.txt" for directory in (tmp_path, REPOSITORY / "docs"))
    assert _typed(made) == _typed(shown)
    assert "Kernel panic - not syncing" in made.read_text().splitlines()[-1]
    assert len(xml.dom.minidom.parse(str(tmp_path / "session.svg")).getElementsByTagName("text")) > 40


def _typed(session: Path) -> list[str]:
    return [line for line in session.read_text().splitlines() if line.startswith(("$ ", "<ConMan> "))]
