"""Disks that fill up, file systems that are read-only, limits, lost permissions, removed directories: real ones.

In each case the console concerned goes on and so do all others; what waits is bounded; what is lost is marked in the
log where it is missing; the log recovers by itself; and the daemon's accounts agree with the files to the byte.

A quota of the file system is not among them, as kernels of containers have none: to the daemon it is one more error of
write(2), like the limit on the size of files here, which needs no privilege.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import List

import pytest

from conmand.server.logs.backlog import PIECE_BYTES
from tests.fakes.daemons import OURS, Daemon, environment, our_command
from tests.fakes.sessions import RawClient
from tests.fakes.sites import Site
from tests.system.faults.logs import (
    MARK,
    OPENED,
    accounts,
    file_system,
    node,
    numbered_lines,
    remount,
    rotated,
    said,
    status,
)

FAST = {"conmand.server.logs.console_log.RETRY_SECONDS": (0.05, 0.2), "conmand.server.logs.files.DELETED_SECONDS": 0.05}
LOGGED = 'server logdir="DIR/logs"\nglobal log="%N.log"\n'


def say(site: Site, peer: object, reader: RawClient, begin: int, end: int) -> bytes:
    """Let the node say lines, and see that a client gets them all the same."""
    lines = numbered_lines(begin, end)
    for start in range(0, len(lines), 10_000):
        peer.send(lines[start : start + 10_000])  # type: ignore[attr-defined]
        reader.receive_until(lines[start : start + 10_000][-100:])
    return lines


def assert_accounted_for(site: Site, log: bytes, lines: bytes) -> int:
    """All that was said is in the log, or missing where a mark says how much; returns how much."""
    found = accounts(site)
    assert found["waiting"] == 0
    text, position, lost = b"", 0, 0
    for match in MARK.finditer(log):
        text = said(log[position : match.start()])
        assert lines.startswith(text), "what stands before a mark is what was said"
        lines = lines[len(text) + int(match[1]) :]
        lost += int(match[1])
        position = match.end()
    assert said(log[position:]) == lines
    assert found["lost"] == lost
    return lost


def test_a_full_disk_concerns_its_own_consoles_only_and_every_byte_is_accounted_for(tmp_path: Path) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(file_system(tmp_path / "disk", "size=128k"))
        site = stack.enter_context(Site(OURS, tmp_path / "site"))
        healthy = site.unix_peer("h.sock")
        peer = node(
            site,
            f'console name="h" dev="unix:DIR/h.sock" log="DIR/h.log"\nserver logdir="{disk}"\nglobal log="%N.log"\n',
            constants=FAST,
        )
        healthy.accept()
        reader, other = site.session(b"MONITOR CONSOLE='c'\n"), site.session(b"MONITOR CONSOLE='h'\n")
        lines = b""
        for cycle in range(3):
            lines += say(site, peer, reader, 10_000 * cycle, 10_000 * cycle + 6000)
            site.daemon.wait_for("Console [c] log cannot be written: losing what exceeds", count=cycle + 1)
            site.daemon.wait_for("Unable to write to [", "c.log]: No space left on device", count=cycle + 1)
            found = status(site)
            assert "No space left on device" in found["log_complaint"]
            assert found["device_bytes"]["lost"] > 0
            assert 0 < found["device_bytes"]["waiting"] <= 256 * 1024 + PIECE_BYTES
            assert found["device_bytes"]["read"] == len(lines)
            said_there = say(site, healthy, other, 0, 100)
            assert said((site.directory / "h.log").read_bytes()).endswith(said_there)
            assert status(site, "h")["device_bytes"]["waiting"] == 0
            remount(disk, f"size={1024 * (cycle + 1)}k")
            site.daemon.wait_for("Console [c] log is written again", count=cycle + 1)
            ballast = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
            assert_accounted_for(site, (disk / "c.log").read_bytes(), lines)
            (disk / f"ballast{cycle}").write_bytes(b"x" * (ballast - 64 * 1024))
        assert status(site)["log_complaint"] is None


def test_a_limit_that_is_reached_is_like_a_quota(tmp_path: Path) -> None:
    """The kernel refuses the bytes that exceed it, and takes those that do not, even of one write."""
    with Site(OURS, tmp_path) as site:
        peer = node(site, LOGGED, constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        log = site.path("logs/c.log")
        lines = say(site, peer, reader, 0, 100)
        pid = site.daemon.owner_pid
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_033, resource.RLIM_INFINITY))
        lines += say(site, peer, reader, 100, 5000)
        site.daemon.wait_for("Unable to write to [", "c.log]: File too large")
        assert log.stat().st_size == 20_033
        assert "File too large" in status(site)["log_complaint"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (30_001, resource.RLIM_INFINITY))
        site.read_when("logs/c.log", lambda content: len(content) == 30_001)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        site.daemon.wait_for("Console [c] log is written again")
        lines += say(site, peer, reader, 5000, 5010)
        assert assert_accounted_for(site, log.read_bytes(), lines) > 0


def test_a_read_only_file_system_is_waited_for(tmp_path: Path) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(file_system(tmp_path / "disk", "size=4096k"))
        remount(disk, "ro")
        site = stack.enter_context(Site(OURS, tmp_path / "site"))
        peer = node(site, f'server logdir="{disk}"\nglobal log="%N.log"\n', constants=FAST)
        site.daemon.wait_for(f'Unable to open logfile "{disk}/c.log": Read-only file system')
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        lines = say(site, peer, reader, 0, 4000)
        assert "Read-only file system" in status(site)["log_complaint"]
        remount(disk, "rw")
        site.daemon.wait_for("Console [c] log is written again")
        lines += say(site, peer, reader, 4000, 4010)
        assert assert_accounted_for(site, (disk / "c.log").read_bytes(), lines) > 0


def test_a_removed_directory_is_made_again_with_what_was_said_since(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, LOGGED, constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        gone = say(site, peer, reader, 0, 10)
        while accounts(site)["logged"] < len(gone):
            pass
        site.read_with("logs/c.log", gone[-100:])
        shutil.rmtree(site.path("logs"))
        lines = say(site, peer, reader, 10, 20)
        site.daemon.wait_for("has been deleted; it is made anew")
        log = site.read_with("logs/c.log", lines[-100:])
        lines += say(site, peer, reader, 20, 30)
        log = site.read_with("logs/c.log", lines[-100:])
        text = said(log)
        # Of what was said before, that which the daemon had not seen with a name is there too.
        assert text.endswith(lines) and (gone + lines).endswith(text)
        assert log.count(OPENED) <= 2
        assert accounts(site) == {"read": 3000, "logged": 3000, "waiting": 0, "lost": 0}


@pytest.mark.parametrize("way", ["SIGHUP", "rotation"])
def test_what_is_said_into_a_deleted_log_is_not_lost_if_it_is_opened_anew_before_anybody_looks(
    way: str, tmp_path: Path
) -> None:
    never = {**FAST, "conmand.server.logs.files.DELETED_SECONDS": 1e6}
    never["conmand.server.logs.rotation.LOOK_SECONDS"] = 0.05
    with Site(OURS, tmp_path) as site:
        settings = site.path("settings")
        settings.write_text("[rotation]\nsize = 3k\nkeep = 1000\n" if way == "rotation" else "")
        peer = node(site, LOGGED, "--settings", str(settings), constants=never)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        before = say(site, peer, reader, 0, 10)
        site.read_with("logs/c.log", before[-100:])
        shutil.rmtree(site.path("logs"))
        lines = say(site, peer, reader, 10, 40)
        while accounts(site)["logged"] < len(before + lines):
            pass
        if way == "SIGHUP":
            site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("has been deleted; it is made anew")
        more = say(site, peer, reader, 40, 50)
        while accounts(site)["logged"] < len(before + lines + more):
            pass
        assert site.daemon.stop() == 0
        text = b"".join(map(said, rotated(site.path("logs"))))
        assert text.endswith(lines + more) and (before + lines + more).endswith(text)


def test_without_permission_the_log_waits_until_there_is_one(tmp_path: Path) -> None:
    """As an ordinary user; or as root without the right to pass over permissions."""
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer("c.sock")
        config = site.path("conman.conf")
        config.write_text((LOGGED + 'console name="c" dev="unix:DIR/c.sock"\n').replace("DIR", str(tmp_path)))
        logs = site.path("logs")
        logs.mkdir(mode=0o500)
        site.daemon = site.use(Daemon(OURS, [*_unprivileged(), *_command(config)], tmp_path, environment()))
        site.daemon.port = int(site.daemon.wait_for("Listening on TCP port").rpartition(" ")[2])
        peer.accept()
        site.daemon.wait_for(f'Unable to open logfile "{logs}/c.log": Permission denied')
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        lines = say(site, peer, reader, 0, 10)
        assert accounts(site)["waiting"] == len(lines)
        logs.chmod(0o700)
        site.daemon.wait_for("Console [c] log is written again, 0 bytes were lost")
        # The file's own permission counts when it is opened, not while it is.
        (logs / "c.log").chmod(0)
        lines += say(site, peer, reader, 10, 20)
        log = site.read_with("logs/c.log", lines[-100:])
        assert assert_accounted_for(site, log, lines) == 0


def _command(config: Path) -> List[str]:
    return [*our_command(FAST), "-F", "-c", str(config), "-p", "0"]


def _unprivileged() -> List[str]:
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []


@pytest.mark.parametrize("options", ["sanitize,timestamp", "timestamp"])
def test_accounts_hold_for_logs_that_are_not_what_the_device_said(options: str, tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, LOGGED + f'global logopts="{options}"\n', constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        block = b"".join(bytes([byte]) + b"\r\n" for byte in range(0x80, 0x100)) * 4
        pid, sent = site.daemon.owner_pid, 0
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        for number in range(60):
            if number % 20 == 5:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (30_000 * (number + 1), resource.RLIM_INFINITY))
            if number % 20 == 19:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
                site.read_with("logs/c.log", b"%d|\r\n" % (number - 1))  # else the next block may be lost too
            peer.send(block + b"%d|\r\n" % number)
            reader.receive_until(b"%d|\r\n" % number)
            sent += len(block) + len(b"%d|\r\n" % number)
            assert accounts(site)["read"] == sent
        site.read_with("logs/c.log", b"59|\r\n")
        found = accounts(site)
        marked = sum(int(mark[1]) for mark in MARK.finditer(site.path("logs/c.log").read_bytes()))
        assert (found["waiting"], found["lost"]) == (0, marked)
