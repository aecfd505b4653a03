"""The lock on the configuration file, against other processes and against the original's daemon."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest

from conmand.errors import FatalError
from conmand.server import configlock
from conmand.server.configlock import (
    LockedFile,
    lock_configuration,
    lock_owner,
    looks_like_daemon,
    open_configuration,
)
from tests.fakes.peers import original_conmand

HOLDER = (
    "import fcntl, sys\nfile = open(sys.argv[1], 'r+' if sys.argv[2] == 'EX' else 'r')\n"
    "fcntl.lockf(file, getattr(fcntl, 'LOCK_' + sys.argv[2]))\nprint(flush=True)\nsys.stdin.read()"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "conman.conf"
    path.write_text('console name="t" dev="test:"\n')
    return path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = open_configuration(str(path))
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def holder(path: Path, kind: str = "SH", *, name: str = "conmand") -> Iterator[int]:
    """Another process that has the file locked and looks like ``name``; gives its pid."""
    command = [sys.executable, "-c", HOLDER, str(path), kind]
    with subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        yield child.pid


def test_nobody_owns_a_lock_that_nobody_took(config: Path) -> None:
    with opened(config) as fd:
        assert lock_owner(fd) is None
        assert lock_configuration(fd, str(config)) is None
        assert lock_owner(fd) is None  # our own does not count


@pytest.mark.parametrize("kind", ["SH", "EX"])
def test_a_daemon_that_has_it_in_use_is_named(config: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configlock, "looks_like_daemon", lambda pid: True)
    with opened(config) as fd, holder(config, kind) as pid:
        assert lock_owner(fd) == pid
        with pytest.raises(FatalError, match=f'^Configuration "{re.escape(str(config))}" in use by pid {pid}$'):
            lock_configuration(fd, str(config))


def test_another_program_that_reads_it_under_lock_is_a_warning_only(config: Path) -> None:
    """The original takes any lock for a running daemon (errata E7)."""
    with opened(config) as fd, holder(config, name="editor") as pid:
        warning = lock_configuration(fd, str(config))
        assert warning == f'Configuration "{config}" is also locked by pid {pid}, which is no ConMan daemon'


def test_another_program_that_has_it_for_itself_cannot_be_passed(config: Path) -> None:
    with opened(config) as fd, holder(config, "EX", name="editor"), pytest.raises(FatalError, match="^Unable to lock"):
        lock_configuration(fd, str(config))


def test_two_that_see_each_other_both_let_go_and_one_gets_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other took its lock after we looked and before we took ours; while we wait, it gives up."""
    monkeypatch.setattr(configlock, "looks_like_daemon", lambda pid: True)
    waits: List[float] = []
    with opened(config) as fd:
        others = []
        real = fcntl.lockf

        def late(locked: int, operation: int) -> None:
            if operation & fcntl.LOCK_SH and not others:
                other = holder(config)
                other.__enter__()
                others.append(other)
            real(locked, operation)

        def wait(seconds: float) -> None:
            waits.append(seconds)
            others[0].__exit__(None, None, None)

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "lockf", late)
            patch.setattr(time, "sleep", wait)
            assert lock_configuration(fd, str(config)) is None
    assert len(waits) == 1


def test_what_cannot_be_opened_or_read_is_fatal_in_the_originals_words(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match='^Unable to open ".*/gone": No such file or directory$'):
        open_configuration(str(tmp_path / "gone"))
    with opened(tmp_path) as fd, pytest.raises(FatalError, match='^Unable to read ".*": Is a directory$'):
        configlock.read_configuration(fd, str(tmp_path))


def test_the_whole_file_is_read(config: Path) -> None:
    text = os.urandom(100) * 30_000
    config.write_bytes(text)
    with opened(config) as fd:
        assert configlock.read_configuration(fd, str(config)) == text


def test_daemons_are_known_by_their_command(config: Path) -> None:
    with holder(config, name="editor") as pid:
        assert not looks_like_daemon(pid)
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, "/usr/sbin/conmand-py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline() == b"\n"
        assert looks_like_daemon(daemon.pid)
    assert not looks_like_daemon(2**22 + 1)  # above any pid there can be


def test_the_originals_daemon_is_found_and_refused(config: Path) -> None:
    original = original_conmand()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [original, "-F", "-c", str(config), "-p", str(port)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as daemon:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if b"Starting" in line:
                break
        try:
            with opened(config) as fd:
                assert lock_owner(fd) == daemon.pid
                assert looks_like_daemon(daemon.pid)
                with pytest.raises(FatalError, match=f"in use by pid {daemon.pid}$"):
                    lock_configuration(fd, str(config))
        finally:
            daemon.terminate()
            daemon.communicate()


def test_the_original_finds_ours_and_refuses_to_start(config: Path) -> None:
    original = original_conmand()
    with opened(config) as fd:
        lock_configuration(fd, str(config))
        asked = subprocess.run([original, "-q", "-c", str(config)], stdout=subprocess.PIPE, timeout=60)
        assert asked.stdout == b"%d\n" % os.getpid()
        started = subprocess.run([original, "-F", "-c", str(config)], stderr=subprocess.PIPE, timeout=60)
        assert started.returncode == 1
        assert started.stderr.decode() == (f'ERROR:     Configuration "{config}" in use by pid {os.getpid()}\n')


# The daemon's own file, and what takes its place.


@contextmanager
def locked_file(path: Path) -> Iterator[LockedFile]:
    fd = open_configuration(str(path))
    lock_configuration(fd, str(path))
    file = LockedFile(fd, path.name, str(path.parent))
    try:
        yield file
    finally:
        file.close()


def owner_as_others_see_it(path: Path) -> int:
    """Who has ``path`` locked, 0 for nobody; asked by another process, since our own locks do not count for us."""
    program = (
        "import os, sys\nfrom conmand.server.configlock import lock_owner\n"
        "print(lock_owner(os.open(sys.argv[1], os.O_RDONLY)) or 0)"
    )
    return int(subprocess.run([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, check=True).stdout)


def test_the_file_is_read_again_under_its_lock(config: Path) -> None:
    with locked_file(config) as file:
        for text in (b"first\n", b"second\n", b""):
            # By another process: closing it in this one would end the lock.
            subprocess.run(["tee", str(config)], input=text, stdout=subprocess.DEVNULL, check=True)
            assert file.read() == text
            assert owner_as_others_see_it(config) == os.getpid()
    assert owner_as_others_see_it(config) == 0


def test_the_lock_follows_when_the_file_is_replaced(config: Path) -> None:
    with locked_file(config) as file:
        for number in range(3):
            replacement = config.with_suffix(f".{number}")
            replacement.write_text(f"# {number}\n")
            backup = config.with_suffix(f".old{number}")
            os.link(config, backup)
            replacement.rename(config)
            assert owner_as_others_see_it(config) == 0
            assert file.follow() is None
            assert owner_as_others_see_it(config) == os.getpid()
            assert owner_as_others_see_it(backup) == 0
            assert file.read() == b"# %d\n" % number


def test_reading_finds_the_replacement_too(config: Path) -> None:
    with locked_file(config) as file:
        config.unlink()
        config.write_text("new\n")
        assert file.read() == b"new\n"
        assert owner_as_others_see_it(config) == os.getpid()


def test_a_file_that_cannot_take_its_place_leaves_the_old_one_locked(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = config.with_suffix(".kept")
    os.link(config, kept)
    with locked_file(config) as file:
        config.unlink()
        with pytest.raises(FatalError, match='^Unable to open "conman.conf": No such file or directory$'):
            file.read()
        config.mkdir()
        with pytest.raises(FatalError, match='^Unable to read "conman.conf": Is a directory$'):
            file.follow()
        config.rmdir()
        config.write_text("another's\n")
        monkeypatch.setattr(configlock, "looks_like_daemon", lambda pid: True)
        with holder(config) as pid:
            with pytest.raises(FatalError, match=f'^Configuration "conman.conf" in use by pid {pid}$'):
                file.follow()
            assert owner_as_others_see_it(kept) == os.getpid()
        assert file.read() == b"another's\n"


def test_a_file_that_is_being_written_is_read_when_it_is_left_alone(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_the_rest(seconds: float) -> None:
        assert 0 < seconds <= configlock.SETTLED_SECONDS
        subprocess.run(["tee", "-a", str(config)], input=b"second half\n", stdout=subprocess.DEVNULL, check=True)
        os.utime(config, (0, 0))

    with locked_file(config) as file:
        monkeypatch.setattr(time, "sleep", write_the_rest)
        subprocess.run(["tee", str(config)], input=b"half\n", stdout=subprocess.DEVNULL, check=True)
        ahead = time.time() + 3600  # on a file server, say, which must not be waited for
        assert file.read() == b"half\nsecond half\n"
        os.utime(config, (ahead, ahead))
        monkeypatch.setattr(time, "sleep", None)
        assert file.read() == b"half\nsecond half\n"


def test_a_file_that_is_written_without_end_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked_file(config) as file:
        os.utime(config)
        monkeypatch.setattr(time, "sleep", lambda seconds: os.utime(config))
        with pytest.raises(FatalError, match='^Unable to read "conman.conf": it is being written$'):
            file.read()


def test_a_pipe_in_its_place_is_not_read(config: Path) -> None:
    with locked_file(config) as file:
        config.unlink()
        os.mkfifo(config)
        with pytest.raises(FatalError, match='^Unable to read "conman.conf": it is no file$'):
            file.read()


def test_a_pipe_cannot_be_read_again() -> None:
    readable, writable = os.pipe()
    os.close(writable)
    file = LockedFile(readable, f"/proc/self/fd/{readable}", "/")
    try:
        with pytest.raises(FatalError, match='^Unable to read "/proc/self/fd/[0-9]+" again: Illegal seek$'):
            file.read()
    finally:
        file.close()


def test_the_old_file_put_back_between_two_looks_is_locked_again(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked_file(config) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda path: os.lstat("/"))
            assert file.follow() is None
        assert owner_as_others_see_it(config) == os.getpid()


def test_a_link_may_be_replaced_at_both_its_ends(config: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.conf"
    link.symlink_to(config)
    with locked_file(link) as file:
        assert file.places() == {str(link), str(config.resolve())}


def test_every_link_on_the_way_may_be_replaced(tmp_path: Path) -> None:
    """As where the file is one of a set that is switched as a whole."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.conf").write_text("#\n")
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "near").symlink_to(tmp_path / "data" / ".." / "data")
    link = tmp_path / "c.conf"
    link.symlink_to("near/./c.conf")
    with locked_file(link) as file:
        assert file.places() == {f"{tmp_path}/{name}" for name in ("c.conf", "near", "data", "v1/c.conf")}
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").rename(tmp_path / "data")
        assert file.places() == {f"{tmp_path}/{name}" for name in ("c.conf", "near", "data", "v2/c.conf")}
        assert file.follow() is None
        assert owner_as_others_see_it(tmp_path / "v2" / "c.conf") == os.getpid()
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "new").symlink_to("loop")
        (tmp_path / "new").rename(tmp_path / "data")
        assert f"{tmp_path}/loop" in file.places()


def test_the_parent_of_a_linked_directory_is_that_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "c.conf").write_text("#\n")
    (tmp_path / "cur").symlink_to("real/sub")
    with locked_file(tmp_path / "cur" / ".." / "c.conf") as file:
        assert file.places() == {f"{tmp_path}/cur", f"{tmp_path}/real/c.conf"}


def test_a_file_that_is_closed_is_followed_no_more(config: Path) -> None:
    with locked_file(config) as file:
        file.close()
        with pytest.raises(FatalError, match="the daemon is stopping$"):
            file.read()
