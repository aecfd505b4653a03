"""The daemon rotates its logs: while a node floods its console, while it is signalled, and when it is killed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.fakes.daemons import OURS, start_daemon
from tests.fakes.files import read_when
from tests.fakes.sessions import open_session
from tests.fakes.sites import Site
from tests.fakes.wrong_clock import CONSTANTS, WrongClock
from tests.system.faults.logs import OPENED, accounts, node, numbered_lines, rotated, said

FAST = {"conmand.server.logs.rotation.LOOK_SECONDS": 0.01}
DAY_SECONDS = 86400
LOGGED = 'server logdir="DIR/logs"\nglobal log="%N.log"\n'


def settings(site: Site, text: str) -> str:
    """A settings file with ``text`` about rotation."""
    path = site.path("conmand-py.conf")
    path.write_text("[rotation]\n" + text)
    return str(path)


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_a_flood_is_in_the_files_once_and_in_order(compress: str, tmp_path: Path) -> None:
    if compress == "zstd" and shutil.which("zstd") is None:
        assert not os.environ.get("CI"), "zstd is missing"
        pytest.skip("zstd is missing")
    with Site(OURS, tmp_path) as site:
        file = settings(site, f"size = 20k\nkeep = 1000\ncompress = {compress}\n")
        peer = node(site, LOGGED, "--settings", file, constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        lines = b""
        while len(lines) < 300_000 or len(list(site.path("logs").iterdir())) < 8:
            if len(lines) % 30_000 == 0:
                site.daemon.signal(signal.SIGHUP)
            block = numbered_lines(len(lines) // 100, len(lines) // 100 + 30)
            peer.send(block)
            reader.receive_until(block[-100:])
            lines += block
        ending = {"none": "", "gzip": ".gz", "zstd": ".zst"}[compress]
        assert accounts(site) == {"read": len(lines), "logged": len(lines), "waiting": 0, "lost": 0}
        assert site.daemon.stop() == 0
        files = rotated(site.path("logs"))
        assert len(files) > 3
        assert all(content.count(OPENED) for content in files)
        assert b"".join(map(said, files)) == lines
        names = {path.name for path in site.path("logs").iterdir()}
        assert {f"c.log.{number}{ending}" for number in range(5, len(files))} <= names  # the youngest may not be ready


def test_a_daemon_that_is_killed_leaves_what_the_next_one_goes_on_with(tmp_path: Path) -> None:
    """Whatever it was doing: renaming, opening, compressing. What it had read is there once."""
    with Site(OURS, tmp_path) as site:
        peer, logs, begin = site.unix_peer("c.sock"), site.path("logs"), 0
        config = site.path("conman.conf")
        config.write_text((LOGGED + 'console name="c" dev="unix:DIR/c.sock"\n').replace("DIR", str(tmp_path)))
        options = ["--settings", settings(site, "size = 5k\nkeep = 1000\n")]
        for _life in range(4):
            killed = start_daemon(OURS, config, *options, constants=FAST)
            peer.accept()
            killed.wait_for("[c] connected")
            with open_session(killed.port, b"MONITOR CONSOLE='c'\n") as reader:
                for number in range(begin, begin + 200, 10):
                    lines = numbered_lines(number, number + 10)
                    peer.send(lines)
                    reader.receive_until(lines[-100:])
                killed.signal(signal.SIGKILL)
                assert killed.stop() == -signal.SIGKILL
            begin += 200
        site.daemon = site.use(start_daemon(OURS, config, *options, constants=FAST))
        read_when(logs / "c.log", lambda content: OPENED in content)
        assert site.daemon.stop() == 0
        assert b"".join(map(said, rotated(logs))) == numbered_lines(0, begin)


def test_the_quota_holds_whatever_a_node_says(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        file = settings(site, "size = 10k\nkeep = 1000\ncompress = none\nquota = 50k\n")
        peer = node(site, LOGGED, "--settings", file, constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        lines = numbered_lines(0, 3000)
        for start in range(0, len(lines), 5000):
            peer.send(lines[start : start + 5000])
            reader.receive_until(lines[start : start + 5000][-100:])
        site.daemon.wait_for("to stay within the quota")

        def within(_log: bytes) -> bool:
            return sum(path.stat().st_size for path in site.path("logs").glob("c.log.*")) <= 50 * 1024

        read_when(site.path("logs/c.log"), within)
        site.daemon.stop()
        assert lines.endswith(b"".join(map(said, rotated(site.path("logs")))))


def test_a_name_with_a_date_is_followed_over_midnight_without_a_signal(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path)
    config = 'server logdir="DIR/logs"\nglobal log="%Y-%m-%d.%N.log"\n'
    with Site(OURS, tmp_path) as site:
        file = settings(site, "roll_over = yes\n")
        peer = node(site, config, "--settings", file, environ=clock.environ, constants={**FAST, **CONSTANTS})
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        lines, number = b"", 0
        for days in range(3):
            clock.set(days * DAY_SECONDS)
            while len(list(site.path("logs").iterdir())) <= days or number % 100:
                block = numbered_lines(number, number + 1)
                peer.send(block)
                reader.receive_until(block)
                lines, number = lines + block, number + 1
        assert accounts(site) == {"read": len(lines), "logged": len(lines), "waiting": 0, "lost": 0}
        assert site.daemon.stop() == 0
        files = [path.read_bytes() for path in sorted(site.path("logs").iterdir())]
        assert len(files) >= 3 and all(content.startswith(b"\r\n<ConMan> Console [c] log opened") for content in files)
        assert b"".join(map(said, files)) == lines


def test_rotation_can_be_turned_on_while_the_daemon_runs(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        file = settings(site, "")
        peer = node(site, LOGGED, "--settings", file, constants=FAST)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        peer.send(numbered_lines(0, 500))
        reader.receive_until(b"%07d" % 499)
        settings(site, "size = 1k\n")
        site.daemon.signal(signal.SIGHUP)
        site.read_with("logs/c.log", OPENED, 2)
        number = 500
        while not site.path("logs/c.log.1").exists() and not site.path("logs/c.log.1.gz").exists():
            peer.send(numbered_lines(number, number + 1))
            reader.receive_until(b"%07d" % number)
            number += 1
        assert site.daemon.stop() == 0
        assert b"".join(map(said, rotated(site.path("logs")))) == numbered_lines(0, number)
