"""The harness itself: a comparison is worth what its masks and its waiting are."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tests.fakes.daemons import OURS, Daemon, masked
from tests.fakes.files import read_with


def run(code: str, directory: Path) -> Daemon:
    return Daemon(OURS, [sys.executable, "-c", code], directory)


def test_masks_hide_what_differs_and_nothing_else(tmp_path: Path) -> None:
    seen = b"""\
2026-11-22 10:33:21 INFO: Console [2026-11-22] connected to "%b/u.sock" (pid 77)
<ConMan> Console [u] log opened at 2026-11-22 10:33:21 UTC.
<ConMan> Console [u] joined by <root@localhost> on pts/1 at 11-22 10:28.
Client <root@localhost:47102> connected to [u]; <127.0.0.1:2001> after 12s (idle 1s).
12:34 pids localhost:x""" % str(tmp_path).encode()
    assert (
        masked(seen, tmp_path)
        == b"""\
DATE TIME INFO: Console [2026-11-22] connected to "DIR/u.sock" (pid N)
<ConMan> Console [u] log opened at DATE TIME ZONE.
<ConMan> Console [u] joined by <root@localhost> on pts/1 at MM-DD HH:MM.
Client <root@localhost:PORT> connected to [u]; <127.0.0.1:PORT> after N (idle N).
12:34 pids localhost:x"""
    )


def test_a_line_that_never_comes_fails_as_soon_as_the_daemon_has_ended(tmp_path: Path) -> None:
    daemon = run("import sys; sys.exit('last words')", tmp_path)
    with pytest.raises(AssertionError, match="last words"):
        daemon.wait_for("something else")
    assert daemon.stop() == 1


def test_a_daemon_that_fails_fails_its_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="status 3"), run("import sys; sys.exit(3)", tmp_path) as daemon:
        daemon.wait_for_end()


def test_a_daemon_with_a_bug_fails_its_test(tmp_path: Path) -> None:
    code = "import sys; print('ERROR: Internal error: x', file=sys.stderr)"
    with pytest.raises(AssertionError, match="Internal error"), run(code, tmp_path) as daemon:
        daemon.wait_for_end()


def test_a_file_is_read_when_it_has_come_in_a_directory_that_was_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"

    def write() -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"begin")
        with path.open("ab") as file:
            file.write(b" end")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert read_with(path, b"end") == b"begin end"
    finally:
        writer.join()
