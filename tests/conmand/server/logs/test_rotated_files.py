"""The rotated files of a log on a real disk: their numbers, and what every interruption leaves."""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.server.logs import rotated_files
from conmand.server.logs.rotated_files import (
    Compression,
    like,
    make_room,
    real_file,
    remove_oldest,
    rotate,
    tidy,
    uncompressed,
    undo_rotate,
)
from conmand.server.logs.rotated_files import rotated_files as listed

NOBODY: frozenset = frozenset()  # type: ignore[type-arg]


def make(directory: Path, *names: str) -> str:
    """Files that contain their name; returns the path of the log ``n1``."""
    for number, name in enumerate(names):
        (directory / name).write_text(name)
        os.utime(directory / name, (1000 + number, 1000 + number))
    return str(directory / "n1")


def content(directory: Path) -> Dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def test_a_rotation_gives_each_file_the_next_number(tmp_path: Path) -> None:
    base = make(tmp_path, "n1", "n1.1", "n1.2.gz", "n1.3.zst", "n1.5", "n1.1x")
    rotate(base, 7)
    assert content(tmp_path) == {
        "n1.1": "n1",
        "n1.2": "n1.1",
        "n1.3.gz": "n1.2.gz",
        "n1.4.zst": "n1.3.zst",
        "n1.5": "n1.5",
        "n1.1x": "n1.1x",
    }


@pytest.mark.parametrize("keep, left", [(1, []), (2, ["n1.2"]), (3, ["n1.2", "n1.3.gz"]), (0, [])])
def test_what_exceeds_the_number_kept_is_removed(keep: int, left: List[str], tmp_path: Path) -> None:
    make_room(make(tmp_path, "n1.1", "n1.2.gz", "n1.3.gz", "n1.4"), keep)
    assert sorted(content(tmp_path)) == left


@given(st.integers(0, 6), st.integers(0, 8), st.integers(0, 20))
def test_no_interruption_loses_or_doubles_what_is_to_be_kept(keep: int, files: int, calls: int) -> None:
    """The daemon is killed after any number of system calls; the next one rotates again."""

    class Killed(Exception):
        pass

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        directory = Path(name)
        base = make(directory, "n1", *(f"n1.{number}" for number in range(1, files + 1)))
        left = [calls]

        def killing(function):  # type: ignore[no-untyped-def]
            def call(*arguments):  # type: ignore[no-untyped-def]
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return function(*arguments)

            return call

        with patch.context() as inner:
            inner.setattr(rotated_files.os, "rename", killing(os.rename))
            inner.setattr(rotated_files.os, "unlink", killing(os.unlink))
            with contextlib.suppress(Killed):
                rotate(base, keep)
        if not os.path.exists(base):
            (directory / "n1").write_text("next")
        tidy(base, keep, frozenset)
        found = sorted(content(directory).values())
        assert len(found) == len(set(found))
        kept = ["n1", *(f"n1.{number}" for number in range(1, files + 1))][: keep + 1]
        assert set(kept[:-1] if keep else []) <= set(found)


def test_an_undone_rotation_restores_the_name_unless_somebody_has_it(tmp_path: Path) -> None:
    base = make(tmp_path, "n1")
    rotate(base, 7)
    undo_rotate(base)
    assert content(tmp_path) == {"n1": "n1"}
    rotate(base, 7)
    (tmp_path / "n1").write_text("other")
    undo_rotate(base)
    assert content(tmp_path) == {"n1": "other", "n1.1": "n1"}


def test_a_link_is_followed_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to("real")
    assert real_file(str(tmp_path / "link"))[0] == str(tmp_path / "real")
    (tmp_path / "real").unlink()
    assert real_file(str(tmp_path / "link")) == (str(tmp_path / "real"), None)


def compress(base: str) -> None:
    for file in uncompressed(base, NOBODY):
        compression = Compression(file, "gzip")
        assert compression.gzip(lambda: False)
        compression.finish()


def test_compressed_files_keep_time_mode_and_content(tmp_path: Path) -> None:
    base = make(tmp_path, "n1.1", "n1.2.gz", "n1.3")
    (tmp_path / "n1.1").write_bytes(b"line\r\n" * 100_000)
    (tmp_path / "n1.1").chmod(0o640)
    os.utime(tmp_path / "n1.1", ns=(5, 1_234_567_891_234_567_891))
    compress(base)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n1.1.gz", "n1.2.gz", "n1.3.gz"]
    status = (tmp_path / "n1.1.gz").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 1_234_567_891_234_567_891)
    assert gzip.decompress((tmp_path / "n1.1.gz").read_bytes()) == b"line\r\n" * 100_000


def test_a_file_that_is_still_written_is_neither_compressed_nor_removed(tmp_path: Path) -> None:
    base = make(tmp_path, "n1.1", "n1.2")
    busy = frozenset(file.file_id for file in listed(base))
    assert uncompressed(base, busy) == []
    tidy(base, 0, lambda: busy)
    assert remove_oldest(listed(base), 0, busy) == ([], None)
    assert len(content(tmp_path)) == 2


def test_an_interrupted_compression_is_begun_anew(tmp_path: Path) -> None:
    base = make(tmp_path, "n1.1", "n1.1.gz.unfinished", "n1.2.zst.unfinished", "n1.2")
    assert [file.path for file in tidy(base, 7, frozenset)] == [f"{base}.1", f"{base}.2"]
    assert sorted(content(tmp_path)) == ["n1.1", "n1.2"]


def test_a_finished_compression_whose_source_is_still_there_is_not_kept_twice(tmp_path: Path) -> None:
    base = make(tmp_path, "n1.1", "n1.1.gz", "n1.2", "n1.2.gz")
    os.utime(tmp_path / "n1.1.gz", (1000, 1000))
    tidy(base, 7, frozenset)
    # Of the second pair nobody knows that one was made from the other.
    assert sorted(content(tmp_path)) == ["n1.1.gz", "n1.2", "n1.2.gz"]
    assert uncompressed(base, NOBODY) == []


def test_an_abandoned_compression_leaves_what_was(tmp_path: Path) -> None:
    base = make(tmp_path, "n1.1")
    compression = Compression(uncompressed(base, NOBODY)[0], "gzip")
    assert not compression.gzip(lambda: True)
    compression.abandon()
    assert content(tmp_path) == {"n1.1": "n1.1"}


@pytest.mark.parametrize("taken", ["", "n1.1", "n1.1.gz"])
def test_a_file_renamed_while_it_is_compressed_costs_no_other(taken: str, tmp_path: Path) -> None:
    """As by logrotate, which numbers the same files."""
    base = make(tmp_path, "n1.1")
    compression = Compression(uncompressed(base, NOBODY)[0], "gzip")
    assert compression.gzip(lambda: False)
    (tmp_path / "n1.1").rename(tmp_path / "n1.2")
    if taken:
        make(tmp_path, taken)
    with pytest.raises(FileNotFoundError):
        compression.finish()
    compression.abandon()
    assert content(tmp_path) == {"n1.2": "n1.1", **({taken: taken} if taken else {})}


def test_a_link_in_the_place_of_a_rotated_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "n1.1").symlink_to(secret)
    with pytest.raises(OSError):
        compress(str(tmp_path / "n1"))
    assert secret.read_text() == "secret" and not (tmp_path / "n1.1.gz").exists()


def test_the_oldest_go_first_until_the_rest_is_within_the_quota(tmp_path: Path) -> None:
    files = []
    for number, name in enumerate(["a.3", "b.2", "a.2", "b.1", "a.1"]):
        (tmp_path / name).write_text("x" * 10)
        os.utime(tmp_path / name, (number, number))
    for base in ("a", "b"):
        files += listed(str(tmp_path / base))
    removed, failure = remove_oldest(files, 25, NOBODY)
    assert [Path(file.path).name for file in removed] == ["a.3", "b.2", "a.2"] and failure is None
    assert sorted(content(tmp_path)) == ["a.1", "b.1"]


def test_a_file_that_took_the_name_of_another_is_not_removed_for_it(tmp_path: Path) -> None:
    base = make(tmp_path, "n1", "n1.1")
    files = listed(base)
    rotate(base, 7)
    removed, failure = remove_oldest(files, 0, NOBODY)
    assert removed == files and failure is None
    assert sorted(content(tmp_path)) == ["n1.1", "n1.2"]


def test_what_cannot_be_removed_is_told_and_the_rest_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make(tmp_path, "n1.1", "n1.2")
    real = os.unlink

    def unlink(path: bytes) -> None:
        if path.endswith(b".1"):
            raise PermissionError(1, "Operation not permitted")
        real(path)

    monkeypatch.setattr(rotated_files.os, "unlink", unlink)
    removed, failure = remove_oldest(listed(base), 0, NOBODY)
    assert [Path(file.path).name for file in removed] == ["n1.2"]
    assert isinstance(failure, PermissionError)


def test_a_new_file_is_like_the_old(tmp_path: Path) -> None:
    base = make(tmp_path, "n1", "new")
    os.chmod(base, 0o640)
    fd = os.open(tmp_path / "new", os.O_WRONLY)
    like(fd, os.stat(base))
    os.close(fd)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
