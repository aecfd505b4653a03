from __future__ import annotations

import threading
from pathlib import Path
from typing import List

import pytest

from conman import run
from conman.dialogues import CommandResult
from conman.errors import ConmanError, DialogueError
from conman.parallel import Outcome
from tests.fakes.files import PATIENCE_SECONDS


def credentials(tmp_path: Path, text: str, mode: int = 0o600) -> run.Credentials:
    path = tmp_path / "credentials"
    path.write_text(text)
    path.chmod(mode)
    return run.read_credentials(str(path))


def test_credentials_are_read_and_not_shown(tmp_path: Path) -> None:
    found = credentials(tmp_path, "# ours\n\nuser = root\nPassword = a = b #c \n")
    assert (found.user, found.password) == ("root", "a = b #c")
    assert "a = b" not in repr(found)
    assert "a = b" not in repr(run.Job("true", found, 1.0))


def test_a_password_may_be_missing(tmp_path: Path) -> None:
    assert credentials(tmp_path, "user=guest\n").password is None


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [("password=secret\n", 0o600, "names no user"), ("user=root\n", 0o640, "others may read it")],
)
def test_unusable_credentials(text: str, mode: int, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConmanError, match=complaint) as caught:
        credentials(tmp_path, text, mode)
    assert "secret" not in str(caught.value)


def test_credentials_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConmanError, match='Unable to open ".*absent": No such file or directory'):
        run.read_credentials(str(tmp_path / "absent"))


def test_a_bar_is_replaced_by_the_lines_that_come(capfd: pytest.CaptureFixture[str]) -> None:
    report = run._Report(3, on_terminal=True)
    report.add(Outcome("n1", CommandResult("out", 0)))
    report._show_bar()
    report.add(Outcome("n2", error=DialogueError("No shell prompt")))
    report._show_bar()
    report.add(Outcome("n3", CommandResult("", 7)))
    assert report.finish() == 1
    shown = capfd.readouterr()
    assert shown.out == "n1:out\n"
    first, second, *rest = shown.err.split("\r\x1b[K")
    assert first == "n1:exit status 0\n\r[##########....................] 1/3, 0 failed, 0 s"
    assert second == "n2:ERROR: No shell prompt.\n\r[####################..........] 2/3, 1 failed, 0 s"
    assert rest == ["n3:exit status 7\n3 consoles: 1 succeeded, 2 failed\n"]


@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_bar_is_for_terminals_and_moves_while_nothing_else_happens(
    on_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PROGRESS_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(run, "PROGRESS_SECONDS", 0.0)
    drawn: List[int] = []
    twice = threading.Event()

    def draw(_report: run._Report) -> None:
        drawn.append(1)
        if len(drawn) == 2:
            twice.set()

    monkeypatch.setattr(run._Report, "_show_bar", draw)
    with run._Report(2, on_terminal):
        assert twice.wait(PATIENCE_SECONDS if on_terminal else 0) is on_terminal


def test_a_status_that_is_unknown_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    run._Report(2, on_terminal=False).add(Outcome("n1", CommandResult("", None)))
    assert capfd.readouterr().err == "n1:exit status unknown\n"
