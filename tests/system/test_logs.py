"""Console logs and the daemon's own log, beside the original's daemon: content, files, rotation, trouble."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from pathlib import Path
from typing import Dict

import pytest

from tests.fakes.daemons import OURS
from tests.fakes.devices import Peer
from tests.fakes.sites import Seen, Site, assert_same

CONSOLE = 'console name="c" dev="unix:DIR/c.sock"\n'
MONITOR = b"MONITOR CONSOLE='c'\n"
CONNECT = b"CONNECT CONSOLE='c'\n"
TRICKY = [
    b"abc\r\n",
    b"abc\n",
    b"abc\r",
    b"def",
    b"a\rb",
    b"a\r\r\nb\r\n",
    b"a\n\rb\n\r",
    b"a\r\0b",
    b"\0a\0b\n",
    b"\n\n\n",
    b"\x01\x08\t\n\x1b\x7f",
    b"\x80\x8a\x8d\x9f\xa0\xe9\xff",
    b"\r",
    b"\n",
    b"x\n",
    b"\r\r",
    b"x\n",
    bytes(range(256)),
    b"caf\xc3\xa9 \xff\xfb\x01",
    b"no end",
    b"; and then one\r\nend.\r\n",
]


def node(site: Site, config: str, *options: str) -> Peer:
    """Start the daemon on ``config`` and a console ``c`` whose node is connected."""
    peer = site.unix_peer("c.sock")
    site.start(config + CONSOLE, *options)
    peer.accept()
    site.daemon.wait_for("[c] connected")
    return peer


@pytest.mark.parametrize("logopts", ["lock", "sanitize", "timestamp", "sanitize,timestamp", "nolock"])
def test_tricky_bytes_are_logged_the_same(logopts: str, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site, f'server logdir="DIR"\nglobal log="%N.log" logopts="{logopts}"\n')
        reader = site.session(MONITOR)
        for chunk in TRICKY:
            peer.send(chunk)
            reader.receive_until(chunk)
        # A line of ours in the middle of one of the node's.
        peer.send(b"part")
        reader.receive_until(b"part")
        writer = site.session(CONNECT)
        reader.receive_until(b"joined by")
        reader.receive_until(b"\r\n")
        peer.send(b"more\r\n")
        reader.receive_until(b"more\r\n")
        reader.send(b"\xffL")
        replay = reader.receive_until(b"End log replay of console [c].\r\n")
        site.leave(writer)
        site.leave(reader)
        return {"log": site.path("c.log"), "replay": replay}

    seen = assert_same(scenario, tmp_path)
    if logopts in ("lock", "nolock"):
        assert b"".join(TRICKY) in seen["log"]


def test_large_output_is_logged_whole(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site, 'server logdir="DIR"\nglobal log="%N.log" logopts="sanitize"\n')
        reader = site.session(MONITOR)
        for number in range(300):
            line = b"%06d " % number + b"x" * 500 + b"\r\n"
            peer.send(line)
            reader.receive_until(line)  # at the pace of the slowest: the original's rings are small (errata C1)
        site.leave(reader)
        return {"log": site.path("c.log")}

    assert_same(scenario, tmp_path)


def test_files_and_directories_are_made_with_the_originals_modes(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        existing = site.path("existing.log")
        existing.write_text("kept\n")
        existing.chmod(0o664)
        site.start(
            'server logdir="DIR/logs"\nglobal log="%N/%D/%Y.log"\n'
            'console name="p 1/x" dev="test:" testopts="b:0"\n'
            'console name="q" dev="unix:DIR/none/q.sock"\n'
            'console name="e" dev="test:" testopts="b:0" log="DIR/existing.log"\n'
            'console name="n" dev="test:" testopts="b:0" log="%N-%%-%z"\n'
            'console name="u" dev="test:" testopts="b:0" log=""\n'
        )
        year = time.strftime("%Y")
        for name in ("n-%-%z", f"p_1_x/{year}.log", f"q/q.sock/{year}.log"):
            site.read_with(f"logs/{name}", b"log opened")
        site.read_with("existing.log", b"log opened")
        site.settle()
        return {"modes": _modes(site.directory), "existing": existing, "daemon": []}

    mask = os.umask(0o027)
    try:
        seen = assert_same(scenario, tmp_path)
    finally:
        os.umask(mask)
    assert seen["modes"]["logs"] == "drwxr-x---"
    assert seen["existing"].startswith(b"kept\n\r\n<ConMan> Console [e] log opened at")


def _modes(directory: Path) -> Dict[str, str]:
    """The modes of all that is below; the current year is YEAR."""
    year = str(time.localtime().tm_year)
    return {
        str(path.relative_to(directory)).replace(year, "YEAR"): stat.filemode(path.lstat().st_mode)
        for path in sorted(directory.rglob("*"))
        if path.name != "conman.conf"
    }


def test_hangup_reopens_renamed_logs(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = node(site, 'server logdir="DIR"\nglobal log="%N.log" logopts="timestamp"\n')
        reader = site.session(MONITOR)
        peer.send(b"before\r\nhalf")
        reader.receive_until(b"half")
        site.read_with("c.log", b"half")
        site.path("c.log").rename(site.path("c.log.1"))
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("Performing reconfig on signal=1")
        site.read_with("c.log", b"log opened")
        peer.send(b" a line\r\n")
        reader.receive_until(b" a line\r\n")
        reader.send(b"\xffL")
        replay = reader.receive_until(b"End log replay of console [c].\r\n")
        site.leave(reader)
        return {"old": site.path("c.log.1"), "new": site.path("c.log"), "replay": replay}

    seen = assert_same(scenario, tmp_path)
    assert seen["old"].endswith(b"half") and b"before" in seen["replay"]


def test_zero_logs_truncates_once(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.path("c.log").write_text("of an earlier life\n")
        node(site, 'server logdir="DIR"\nglobal log="%N.log"\n', "-z")
        first = site.read_with("c.log", b"] connected")
        site.daemon.signal(signal.SIGHUP)
        site.read_with("c.log", b"log opened", 2)
        return {"first": first, "log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    assert b"earlier" not in seen["first"] and seen["log"].startswith(seen["first"])


def test_without_zero_logs_a_log_is_continued(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.path("c.log").write_text("of an earlier life\n")
        node(site, 'server logdir="DIR"\nglobal log="%N.log"\n')
        site.read_with("c.log", b"] connected")
        return {"log": site.path("c.log")}

    assert assert_same(scenario, tmp_path)["log"].startswith(b"of an earlier life\n\r\n<ConMan>")


def test_a_log_that_another_process_has_locked_is_not_written(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        with site.path("c.log").open("w") as owner:
            fcntl.lockf(owner, fcntl.LOCK_EX)
            node(site, 'server logdir="DIR"\nglobal log="%N.log"\n')
            reader = site.session(MONITOR)
            reader.send(b"\xffL")
            reader.receive_until(b"cannot replay.\r\n")
            site.leave(reader)
            content = site.path("c.log").read_bytes()
            complaint = site.daemon.wait_for("Unable to lock").encode()
            site.settle()
            site.daemon.stop()
        return {"log": content, "complaint": complaint, "client": reader.received, "daemon": []}

    seen = assert_same(scenario, tmp_path)
    assert seen["complaint"] == b'WARNING:   Unable to lock "DIR/c.log"' and not seen["log"]


def test_a_locked_log_is_shared_where_locks_are_off(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        with site.path("c.log").open("w") as owner:
            fcntl.lockf(owner, fcntl.LOCK_EX)
            node(site, 'server logdir="DIR"\nglobal log="%N.log" logopts="nolock"\n')
            site.read_with("c.log", b"] connected")
            return {"log": site.path("c.log")}

    assert_same(scenario, tmp_path)


def test_a_log_that_cannot_be_opened_is_complained_of(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.path("file").write_text("")
        site.path("c.log").mkdir()
        site.start(
            'server logdir="DIR"\nglobal log="%N.log"\n'
            + CONSOLE
            + 'console name="below" dev="test:" testopts="b:0" log="file/below/it"\n'
            + f'console name="long" dev="test:" testopts="b:0" log="{"%N" * 300}"\n'
        )
        complaints = [
            site.daemon.wait_for(text).replace(str(site.directory), "DIR")
            for text in ('Unable to open logfile "', "Unable to open logfile for [long]")
        ]
        site.daemon.wait_for('Cannot create directory "')
        site.settle()
        return {"complaints": complaints, "daemon": []}

    assert_same(scenario, tmp_path)


def test_a_log_on_a_full_device_is_retried_without_a_flood_of_messages(tmp_path: Path) -> None:
    """Errata C2 and C3: the original closes the log until the next SIGHUP."""
    with Site(OURS, tmp_path) as site:
        site.path("c.log").symlink_to("/dev/full")
        peer = node(site, 'server logdir="DIR"\nglobal log="%N.log" logopts="nolock"\n')
        reader = site.session(MONITOR)
        for number in range(100):
            peer.send(b"line %d\r\n" % number)
            reader.receive_until(b"line %d\r\n" % number)
        site.daemon.wait_for("Unable to write to [", "/c.log]: No space left on device")
        # What could not be written is in the next file, from its beginning.
        site.path("c.log").unlink()
        site.daemon.signal(signal.SIGHUP)
        log = site.read_with("c.log", b"line 99\r\n")
        assert all(b"line %d\r\n" % number in log for number in range(100))
        assert site.daemon.count("Unable to write to [") == 1


def test_two_consoles_may_share_a_log_by_their_patterns(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(
            'server logdir="DIR"\n'
            'console name="a" dev="test:" testopts="b:0" log="x_%Y"\n'
            'console name="b" dev="test:" testopts="b:0" log="x_%Y"\n'
        )
        name = f"x_{time.localtime().tm_year}"
        site.read_with(name, b"[b] log opened")
        return {"log": site.path(name), "daemon": []}

    assert_same(scenario, tmp_path)


def test_a_session_of_two_logs_the_same_in_both(tmp_path: Path) -> None:
    """The whole life of a console, in its log."""

    def scenario(site: Site) -> Seen:
        peer = node(site, 'server logdir="DIR"\nglobal log="%N.log" logopts="sanitize,timestamp"\n')
        client = site.session(CONNECT)
        for command in (b"ls", b"reboot"):
            client.send(command + b"\r")
            peer.receive_until(b"\r")
            peer.send(command + b"\r\nanswer\r\n# ")
            client.receive_until(b"# ")
        peer.hang_up()
        client.receive_until(b"disconnected from")
        client.receive_until(b"\r\n")
        peer.accept()
        client.receive_until(b"] connected to")
        peer.send(b"\x1b[2Jboot\x07\r\n")
        client.receive_until(b"boot\x07\r\n")
        site.leave(client)
        return {"client": client.received, "log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    assert b"DATE TIME ^[[2Jboot^G\r\n" in seen["log"]


def test_a_lost_tail_is_not_lost_when_the_daemon_stops(tmp_path: Path) -> None:
    """Errata C5: the original drops what it has queued."""
    with Site(OURS, tmp_path) as site:
        peer = node(site, 'server logdir="DIR"\nglobal log="%N.log"\n')
        reader = site.session(MONITOR)
        peer.send(b"last words")
        reader.receive_until(b"last words")
        site.daemon.stop()
        assert site.path("c.log").read_bytes().endswith(b"last words")
