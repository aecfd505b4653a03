"""The wall clock jumps: by hours, to and fro. Time stamps follow it, and nothing else takes notice."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.fakes.daemons import OURS
from tests.fakes.sites import Site
from tests.fakes.wrong_clock import CONSTANTS, WrongClock

HOUR = 3600
CONFIG = 'server logdir="DIR"\nconsole name="c" dev="unix:DIR/c" log="c.log" logopts="timestamp"\n'


@pytest.mark.parametrize("jump", [400 * 24 * HOUR, -400 * 24 * HOUR])
def test_stamps_follow_the_clock_and_sessions_last(jump: int, tmp_path: Path) -> None:
    clock = WrongClock(tmp_path)
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer("c")
        site.start(CONFIG, environ=clock.environ, constants=CONSTANTS)
        peer.accept()
        writer = site.session(b"CONNECT CONSOLE='c'\n")
        peer.send(b"before\r\n")
        writer.receive_until(b"before\r\n")
        clock.set(jump)
        peer.send(b"after\r\n")
        writer.receive_until(b"after\r\n")
        writer.send(b"typed\r")
        assert peer.receive_until(b"\r") == b"typed\r"
        # Idle times are by another clock.
        refusal = site.ask(b"CONNECT CONSOLE='c'\n")
        assert re.search(rb"\(idle \d{1,2}s\)", refusal), refusal
        clock.set(0)
        peer.send(b"again\r\n")
        writer.receive_until(b"again\r\n")
        log = site.read_with("c.log", b"again").decode()
    stamps = dict((text, stamp) for stamp, text in re.findall(r"([\d-]{10} [\d:]{8}) (before|after|again)", log))
    now = time.time()
    for text, offset in (("before", 0), ("after", jump), ("again", 0)):
        logged = datetime.strptime(stamps[text], "%Y-%m-%d %H:%M:%S").timestamp()
        assert abs(logged - (now + offset)) < 120 + HOUR, f"{text}: {log}"  # an hour for where summer time is kept


@pytest.mark.parametrize("jump", [30 * 24 * HOUR, -30 * 24 * HOUR])
def test_a_jump_neither_hastens_nor_stops_a_reconnection(jump: int, tmp_path: Path) -> None:
    clock = WrongClock(tmp_path)
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer("c")
        site.start(CONFIG, environ=clock.environ, constants=CONSTANTS)
        peer.accept()
        site.daemon.wait_for("Console [c] connected")
        clock.set(jump)
        peer.hang_up()
        site.daemon.wait_for("Console [c] disconnected")
        peer.accept()  # by the device's own retry, which is some seconds away
        site.daemon.wait_for("Console [c] connected", count=2)
