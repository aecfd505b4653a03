"""Finding the original: run where it is, skipped where it is not, a failure where it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.peers import original_conmand


def test_the_environment_tells_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "usr" / "sbin" / "conmand"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setenv("CONMAN_ORIGINAL", str(tmp_path))
    assert original_conmand() == program


def test_without_it_tests_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        original_conmand()


def test_without_it_continuous_integration_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONMAN_ORIGINAL", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        original_conmand()
