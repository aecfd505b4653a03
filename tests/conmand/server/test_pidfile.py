"""The pid file: written anew, removed if it is still ours, believed with care."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from conmand.server.pidfile import PidFile, read_pid


def test_it_is_written_with_its_directories_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "conmand.pid"
    before = os.umask(0o022)
    try:
        file = PidFile(str(path))
        assert file.write() is None
    finally:
        os.umask(before)
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert file.remove() is None
    assert not path.exists()
    assert file.remove() is None


def test_an_old_file_is_replaced_and_a_link_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "pid"
    path.symlink_to(victim)
    file = PidFile(str(path))
    assert file.write() is None
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert PidFile(str(path)).write() is None


def test_a_file_that_is_another_daemons_by_now_stays(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    first, second = PidFile(str(path)), PidFile(str(path))
    first.write()
    other = tmp_path / "other"  # another inode for certain
    other.write_text("1\n")
    other.rename(path)
    assert first.remove() is None
    assert path.exists()
    second.write()
    path.unlink()
    assert second.remove() is None


def test_failures_are_worded_as_the_originals(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    for path, cause in ((tmp_path / "dir", "Is a directory"), (tmp_path / "dir" / ("x" * 300), "File name too long")):
        file = PidFile(str(path))
        assert file.write() == f'Unable to open pidfile "{path}": {cause}'
        assert file.remove() is None


def test_a_failing_write_is_a_warning_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"

    def fail(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    file = PidFile(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        assert file.write() == f'Unable to write to pidfile "{path}": No space left on device'
    file.remove()
    assert not path.exists()


def test_without_a_path_nothing_is_done() -> None:
    file = PidFile(None)
    assert (file.write(), file.remove()) == (None, None)


def running(*words: str) -> subprocess.Popen[bytes]:
    program = "import sys; print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"\n"
    return child


def test_the_pid_of_a_running_daemon_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    warnings: List[str] = []
    with running("/usr/sbin/conmand") as daemon:
        path.write_text(f"{daemon.pid}\n")
        assert read_pid(str(path), warnings) == daemon.pid
    assert read_pid(str(path), warnings) is None  # gone
    assert warnings == []


def test_another_program_with_that_pid_is_no_daemon(tmp_path: Path) -> None:
    """The original signals whatever has the number (errata E6)."""
    with running() as other:
        path = tmp_path / "pid"
        path.write_text(f"{other.pid}\n")
        assert read_pid(str(path), []) is None


@pytest.mark.parametrize(
    "text, warning",
    [
        (b"", 'Unable to read from pidfile "{path}"'),
        (b"abc\n", 'Unable to obtain pid from pidfile "{path}"'),
        (b"\xff", 'Unable to obtain pid from pidfile "{path}"'),
        (b"0\n", None),
        (b"1\n", None),
        (b"-5\n", None),
        (b"99999999999\n", None),
    ],
)
def test_what_is_no_pid_counts_as_none(tmp_path: Path, text: bytes, warning: str) -> None:
    path = tmp_path / "pid"
    path.write_bytes(text)
    warnings: List[str] = []
    assert read_pid(str(path), warnings) is None
    assert warnings == ([warning.format(path=path)] if warning else [])


def test_a_file_that_is_not_there_is_no_warning(tmp_path: Path) -> None:
    warnings: List[str] = []
    assert read_pid(str(tmp_path / "gone"), warnings) is None
    assert warnings == []
