from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import conman_exec


@pytest.mark.parametrize(("original", "ours"), sorted(conman_exec.PROGRAMS.items()))
def test_every_original_has_its_program(original: str, ours: str) -> None:
    assert original.replace("-", "_").replace(".exp", "_exp.py") == ours
    assert callable(importlib.import_module(f"conman_exec.{ours[:-3]}").main)


def test_script_directory_is_where_the_programs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "share" / "conman" / "exec"
    scripts.mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    assert conman_exec.script_directory() is None
    (scripts / "ipmitool_exp.py").touch(mode=0o755)
    assert conman_exec.script_directory() == str(scripts)


def test_registry_has_the_one_record_that_ipmitool_needs() -> None:
    home = Path(conman_exec.__file__).parent / "home"
    registry = home / ".local/usr/share/misc/enterprise-numbers.txt"
    assert registry.read_bytes() == b"0\n  Reserved\n    x\n      a\n"
