"""What would end, block or slow down a lesser daemon: storms, silence, floods, exhaustion, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.devices import Peer
from tests.fakes.sessions import GREETING, RawClient
from tests.fakes.sites import Site
from tests.fakes.swarm import Conversation, Swarm

CONSOLES = 'console name="c" dev="unix:DIR/c.sock"\nconsole name="d" dev="unix:DIR/d.sock"\n'
CONNECT = b"CONNECT CONSOLE='c'\n"
QUERY = b"QUERY CONSOLE='c'\n"
ANSWER = b"OK CONSOLE='c'\n"


def node(site: Site, name: str) -> Peer:
    return site.unix_peer(f"{name}.sock")


def up(site: Site, *peers: Peer) -> None:
    for peer in peers:
        peer.accept()
    site.daemon.wait_for("] connected", count=len(peers))


def test_connecting_and_resetting_at_once_ends_only_the_original(tmp_path: Path) -> None:
    """Errata A1."""
    storm = [Conversation((), resets=True)] * 1000
    for kind in (OURS, ORIGINAL):
        site = Site(kind, tmp_path / kind)
        site.start(CONSOLES)
        daemon = site.daemon
        try:
            for _ended in Swarm(daemon.port, 50).run(storm):
                pass
        except ConnectionRefusedError:
            assert kind == ORIGINAL
        if kind == OURS:
            assert site.ask(QUERY) == ANSWER
            assert daemon.stop() == 0
        else:
            assert daemon.stop() == 1
            assert "Unable to get address of remote peer" in "\n".join(daemon.lines)


def test_a_silent_client_is_dropped_and_a_slow_one_is_not_served_for_ever(tmp_path: Path) -> None:
    """Errata A4. The limit is on the whole handshake: a byte now and then does not lengthen it."""
    with Site(OURS, tmp_path) as site:
        site.start(CONSOLES, constants={"conmand.server.handshake.HANDSHAKE_SECONDS": 0.3})
        silent = site.connection()
        greeted = site.connection()
        greeted.send(GREETING + b"QUE")
        assert silent.receive_all() == b""
        assert greeted.receive_all() == b"OK\n"
        site.daemon.wait_for("Unable to read greeting from <localhost:", "Connection timed out")
        site.daemon.wait_for("Unable to read request from <localhost:", "Connection timed out")


def test_a_session_that_began_in_time_lasts(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start(CONSOLES, constants={"conmand.server.handshake.HANDSHAKE_SECONDS": 0.3})
        up(site, peer)
        session = site.session(CONNECT)
        site.connection().receive_all()  # longer than the limit
        session.send(b"still here.")
        assert peer.receive_until(b".") == b"still here."


def test_three_hundred_idle_clients_leave_room_for_others(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start(CONSOLES)
        up(site, peer)
        threads = len(os.listdir(f"/proc/{site.daemon.pid}/task"))
        for _count in range(300):
            site.connection()
        assert site.ask(QUERY) == ANSWER
        session = site.session(CONNECT)
        session.send(b"x.")
        assert peer.receive_until(b".") == b"x."
        assert len(os.listdir(f"/proc/{site.daemon.pid}/task")) <= threads + 4  # names are looked up in threads


def test_descriptors_that_run_out_come_back(tmp_path: Path) -> None:
    """Errata A2: the original exits."""
    idle: List[RawClient] = []
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start(
            "server nofile=64\n" + CONSOLES,
            constants={
                "conmand.server.daemon.RESERVED_DESCRIPTORS": -1000,
                "conmand.server.listener.PAUSE_SECONDS": 0.05,
            },
        )
        up(site, peer)
        idle += [site.connection() for _count in range(80)]
        site.daemon.wait_for("Unable to accept new connection: Too many open files")
        # Who is connected is still served,
        idle[0].send(GREETING + b"MONITOR CONSOLE='c'\n")
        idle[0].receive_until(b"OK CONSOLE='c'\n")
        peer.send(b"heard")
        idle[0].receive_until(b"heard")
        # and when others leave, the next are.
        for client in idle[1:]:
            client.close()
        assert site.ask(QUERY) == ANSWER
        assert site.daemon.count("Unable to accept new connection") == 1


def test_too_many_clients_are_refused_so_that_consoles_keep_their_descriptors(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        first, second = node(site, "c"), node(site, "d")
        site.start("server nofile=64\n" + CONSOLES)
        up(site, first, second)
        sessions = [site.session(b"MONITOR CONSOLE='c'\n") for _count in range(16)]
        assert site.connection().receive_all() == b""
        site.daemon.wait_for("Refused connection from <127.0.0.1:", ": 16 clients are connected")
        second.hang_up()
        second.accept()  # the console finds a descriptor to come back with
        site.daemon.wait_for("[d] connected", count=2)
        site.leave(sessions[0])
        assert site.ask(QUERY) == ANSWER


def test_clients_that_say_nothing_make_room_for_those_who_do(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start("server nofile=64\n" + CONSOLES)
        up(site, peer)
        silent = [site.connection() for _count in range(40)]
        assert silent[0].receive_all() == b""
        assert site.ask(QUERY) == ANSWER


def test_a_client_that_stops_reading_slows_nobody_and_is_told_what_it_lost(tmp_path: Path) -> None:
    """Errata C1: the original tells the daemon's log only."""
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start('server logdir="DIR"\nglobal log="%N.log"\n' + CONSOLES)
        up(site, peer)
        stuck = site.use(RawClient(site.daemon.port, receive_buffer_bytes=4096))
        stuck.send(GREETING + b"MONITOR CONSOLE='c'\n")
        stuck.receive_until(b"OK CONSOLE='c'\n")
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        block = b"".join(b"%08d " % number + b"." * 89 + b"\r\n" for number in range(1000))
        flood = 100
        for _count in range(flood):  # 10 MB, far more than the kernel holds for it
            peer.send(block)
            assert reader.receive_count(len(block)) == block
        assert site.ask(QUERY) == ANSWER
        log = site.read_when("c.log", lambda content: content.count(block[-20:]) >= flood)
        assert log.endswith(block * flood)
        # Now it reads on: what it got is a beginning, a mark, and the newest.
        stuck.half_close()
        received = stuck.receive_all()
        before, mark, after = received.partition(b"\r\n<ConMan> Lost ")
        assert (
            mark and (block * flood).startswith(before) and b" bytes of output: this client is too slow.\r\n" in after
        )
        lost = int(after.split(b" ", 1)[0])
        newest = after.partition(b"\r\n")[2]
        assert (block * flood).endswith(newest) and len(before) + lost + len(newest) == flood * len(block)


def test_a_large_paste_to_a_slow_console_arrives_whole(tmp_path: Path) -> None:
    """Errata B6: the original overwrites most of it."""
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start(CONSOLES)
        up(site, peer)
        session = site.session(CONNECT)
        paste = b"".join(b"%07d\n" % number for number in range(131072)) + b"END"
        writer = threading.Thread(target=session.send, args=(paste,))
        writer.start()
        assert peer.receive_until(b"END") == paste
        writer.join()


@pytest.mark.parametrize(
    "request_line",
    [
        b"QUERY OPTION=REGEX CONSOLE='" + b"(x*)*" * 30 + b"(.*)\\1\\1\\1y'\n",
        b"QUERY OPTION=REGEX CONSOLE='((((((((((x{1,99}){1,99}){1,99}))))))))'\n",
        b"QUERY CONSOLE='" + b"*x" * 300 + b"'\n",
    ],
    ids=["back references", "repetitions", "stars"],
)
def test_a_hostile_pattern_keeps_nobody_waiting(request_line: bytes, tmp_path: Path) -> None:
    names = "".join(f'console name="{"x" * 900}{number}" dev="test:" testopts="b:0"\n' for number in range(20))
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start(CONSOLES + names)
        up(site, peer)
        session = site.session(CONNECT)
        hostile = [site.connection() for _count in range(8)]
        for client in hostile:
            client.send(GREETING + request_line)
        for number in range(50):
            session.send(b"%d." % number)
            peer.receive_until(b"%d." % number)
        assert site.ask(QUERY) == ANSWER
        for client in hostile:
            assert client.receive_all().startswith((b"OK\nERROR CODE=", b"OK\nOK"))


@contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own size. Needs root, which continuous integration has."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a small file system needs root")
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_survived_and_what_it_cost_is_marked(tmp_path: Path) -> None:
    """Errata C2: the original closes the log until the next SIGHUP."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", 256))
        site = stack.enter_context(Site(OURS, tmp_path / "site"))
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 128 * 1024)
        peer = node(site, "c")
        site.start(f'server logdir="{disk}"\nglobal log="%N.log"\n' + CONSOLES)
        up(site, peer)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        line = b"%07d" + b"." * 91 + b"\r\n"
        lines = [line % number for number in range(8000)]
        for start in range(0, len(lines), 100):
            peer.send(b"".join(lines[start : start + 100]))
            reader.receive_until(lines[start + 99])
        site.daemon.wait_for("Unable to write to [", "No space left on device")
        site.daemon.wait_for("Console [c] log cannot be written: losing what exceeds")
        disk_log = disk / "c.log"
        grown = disk_log.read_bytes()
        assert b"".join(lines).startswith(grown.partition(b'c.sock".\r\n')[2].rpartition(b"\r\n")[0])
        # Room again, for the backlog too: by itself, without a signal.
        subprocess.run(["mount", "-o", "remount,size=4096k", str(disk)], check=True)
        site.daemon.wait_for("Console [c] log is written again")
        log = disk_log.read_bytes()
        before, mark, after = log.partition(b"\r\n<ConMan> Console [c] log lost ")
        lost = int(after.split(b" ", 1)[0])
        assert mark and lost > 0
        text = before.partition(b'c.sock".\r\n')[2]
        assert b"".join(lines).startswith(text) and len(text) + lost == len(b"".join(lines))
        peer.send(b"and on it goes\r\n")
        reader.receive_until(b"goes\r\n")
        assert disk_log.read_bytes().endswith(b" bytes here.\r\nand on it goes\r\n")


def test_hangups_in_a_row_lose_nothing(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = node(site, "c")
        site.start('server logdir="DIR"\nglobal log="%N.log"\n' + CONSOLES)
        up(site, peer)
        reader = site.session(b"MONITOR CONSOLE='c'\n")
        sent = [b"line %d\r\n" % number for number in range(200)]
        for number, line in enumerate(sent):
            if number % 10 == 0:
                site.daemon.signal(signal.SIGHUP)
            peer.send(line)
            reader.receive_until(line)
        log = site.read_with("c.log", sent[-1])
        assert [line for line in log.splitlines(keepends=True) if line.startswith(b"line")] == sent


def test_connections_that_end_before_they_ask_are_no_matter(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.start(CONSOLES)
        swarm = Swarm(site.daemon.port, 100)
        for _ended in swarm.run([Conversation(()), Conversation((b"HELLO",)), Conversation((GREETING,))] * 300):
            pass
        assert swarm.ended == 900
        assert site.ask(QUERY) == ANSWER


def test_a_query_is_answered_while_a_reply_waits_for_a_reader(tmp_path: Path) -> None:
    names = "".join(f'console name="{number:0500}" dev="test:" testopts="b:0"\n' for number in range(3000))
    with Site(OURS, tmp_path) as site:
        site.start(CONSOLES + names)
        stuck = site.use(RawClient(site.daemon.port, receive_buffer_bytes=4096))
        stuck.send(GREETING + b"QUERY\n")
        stuck.receive_until(b"OK\nOK ")
        assert site.ask(QUERY) == ANSWER
        assert stuck.receive_all().count(b"CONSOLE=") == 3002
