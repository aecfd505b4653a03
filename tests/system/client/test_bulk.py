"""Much at once, in both directions: nothing is lost, nothing is out of order, and keys are heard all the same."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.fakes.daemons import OURS
from tests.fakes.scripted_daemon import ScriptedDaemon
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command
from tests.system.client.pairs import Pair

MEGABYTE = b"".join(b"%015d\n" % number for number in range(65536))


def test_a_flood_of_100_megabytes_is_shown_complete_and_in_order() -> None:
    with ScriptedDaemon() as daemon, OnTerminal(
        [*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", "n1"]
    ) as terminal:
        daemon.grant()
        terminal.read_until(b"opened.\r\n")

        def flood() -> None:
            for _ in range(100):
                daemon.connection.sendall(MEGABYTE)

        flooder = threading.Thread(target=flood)
        flooder.start()
        for _ in range(100):
            assert terminal.read_count(len(MEGABYTE)) == MEGABYTE
            terminal.forget_shown()
        flooder.join()


def test_a_flood_passes_through_our_daemon(tmp_path: Path) -> None:
    """In portions that its buffer for a slow client holds: beyond that the oldest bytes go, and the client is told."""
    portion = MEGABYTE[: 160 * 1024]
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site, 'console name="u" dev="unix:DIR/u.sock"\n')
        terminal = pair.open("u")
        for number in range(100):
            pair.node.send(b"%09d\n" % number + portion)
            assert terminal.read_until(b"%09d\n" % number) is not None
            assert terminal.read_count(len(portion)) == portion
        pair.close(terminal)


def test_a_paste_arrives_whole_though_the_device_is_slow(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site, 'console name="u" dev="unix:DIR/u.sock"\n')
        terminal = pair.open("u")
        paste = MEGABYTE + b"&&\xff&x."
        typist = threading.Thread(target=terminal.type, args=(paste,))
        typist.start()
        assert pair.node.receive_until(b".") == MEGABYTE + b"&\xff&x."
        typist.join()
        pair.close(terminal)


def test_a_user_can_leave_a_flood(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site, 'console name="u" dev="unix:DIR/u.sock"\n')
        terminal = pair.open("u")
        stopped = threading.Event()

        def flood() -> None:
            while not stopped.is_set():
                pair.node.send(MEGABYTE)

        flooder = threading.Thread(target=flood)
        flooder.start()
        terminal.read_until(b"000000000001000\n")
        assert pair.close(terminal)["status"] == 0
        stopped.set()
        flooder.join()
        assert b"Connection to console [u] closed.\r\n" in terminal.shown
