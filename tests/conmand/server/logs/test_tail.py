"""The end of a log: what is kept and what is read back are one, whatever becomes of the file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.replay import REPLAY_BYTES
from conmand.server.logs.tail import LogTail


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@given(st.lists(st.tuples(st.sampled_from(["kept", "written", "left", "opened"]), st.binary(max_size=3000))))
def test_the_tail_is_the_end_of_all_that_was_put_into_the_log(steps: list[tuple[str, bytes]]) -> None:
    fd = os.memfd_create("log")
    try:
        tail, text, in_file = LogTail(), b"", False
        for step, data in steps:
            if step == "opened":
                tail.leave_file()
                os.write(fd, b"nobody is asked to remember this")
                tail.go_on_in(fd)
                in_file = True
            elif step == "left":
                tail.leave_file()
                in_file = False
            else:
                if in_file:
                    os.write(fd, data)
                else:
                    tail.append(data)
                text += data
            assert tail.last_bytes == text[-REPLAY_BYTES:] and tail.total_bytes == len(text)
    finally:
        os.close(fd)


def test_a_file_has_grown_when_something_came_after_it_was_opened(tmp_path: Path) -> None:
    tail = LogTail()
    assert tail.file_bytes is None and not tail.file_has_grown
    with opened(tmp_path / "log") as fd:
        os.write(fd, b"the line that says so")
        tail.go_on_in(fd)
        assert tail.file_bytes == 21 and not tail.file_has_grown
        os.write(fd, b"more")
        assert tail.file_bytes == 25 and tail.file_has_grown
        tail.leave_file()
        assert tail.file_bytes is None and not tail.file_has_grown and tail.kept_bytes == 4


def test_a_descriptor_that_was_closed_is_not_asked_any_more(tmp_path: Path) -> None:
    tail = LogTail()
    with opened(tmp_path / "log") as fd:
        tail.go_on_in(fd)
        os.write(fd, b"seen")
        tail.forget_file()
    with opened(tmp_path / "other") as again:
        assert again == fd
        os.write(again, b"another's words")
        assert tail.last_bytes == b"" and tail.total_bytes == 0


def test_a_file_that_was_truncated_shows_what_came_since(tmp_path: Path) -> None:
    """logrotate's copytruncate, with a log that was long when it was opened."""
    tail = LogTail()
    with opened(tmp_path / "log") as fd:
        os.write(fd, b"from a former life\r\n" * 1000)
        tail.go_on_in(fd)
        os.write(fd, b"before\r\n")
        assert tail.total_bytes == 8
        os.truncate(tmp_path / "log", 0)
        os.write(fd, b"after\r\n")
        assert tail.last_bytes == b"after\r\n"
        assert tail.total_bytes == 15 and tail.file_bytes == 7 and tail.file_has_grown
        os.write(fd, b"more\r\n")
        assert tail.last_bytes == b"after\r\nmore\r\n"
        tail.leave_file()
        assert tail.last_bytes == b"after\r\nmore\r\n"
