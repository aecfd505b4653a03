"""Much at once, in both directions: nothing is lost, nothing is out of order, and keys are heard all the same."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.scripted_daemon import ScriptedDaemon
from tests.fakes.sessions import RawClient
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command
from tests.system.client.pairs import Pair

MEGABYTE = b"".join(b"%015d\n" % number for number in range(65536))


def test_a_flood_of_100_megabytes_is_shown_complete_and_in_order() -> None:
    with (
        ScriptedDaemon() as daemon,
        OnTerminal([*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", "n1"]) as terminal,
    ):
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


LOGGED = 'server logdir="DIR"\nconsole name="u" dev="unix:DIR/u.sock" log="u.log"\n'
HOLD_SECONDS = "conmand.server.client.HOLD_SECONDS"


@pytest.mark.parametrize("client", [OURS, ORIGINAL])
def test_a_flood_of_100_megabytes_passes_through_our_daemon(client: str, tmp_path: Path) -> None:
    """The device waits for a client that reads; the original's daemon loses what exceeds 16 KiB."""
    with Site(OURS, tmp_path) as site:
        # A busy machine may keep the client from reading for longer than ours should make others wait.
        pair = Pair(client, site, LOGGED, constants={HOLD_SECONDS: PATIENCE_SECONDS})
        terminal = pair.open("u")
        sent, shown = hashlib.md5(), hashlib.md5()

        def flood() -> None:
            for _ in range(100):
                pair.node.send(MEGABYTE)
                sent.update(MEGABYTE)

        flooder = threading.Thread(target=flood)
        flooder.start()
        for _ in range(100):
            shown.update(terminal.read_count(len(MEGABYTE)))
            terminal.forget_shown()
        flooder.join()
        assert shown.hexdigest() == sent.hexdigest()
        pair.close(terminal)
        assert site.path("u.log").read_bytes().count(MEGABYTE) == 100
        assert not site.daemon.count("Overwrote")


def test_a_client_that_stalls_costs_the_others_a_moment_and_loses_only_its_own(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer()
        site.start(LOGGED)
        node.accept()
        stalled = site.use(RawClient(site.daemon.port, receive_buffer_bytes=4096))
        stalled.send(b"HELLO USER='stalled'\nMONITOR CONSOLE='u'\n")
        assert stalled.receive_until(b"OK CONSOLE='u'\n")
        reading = subprocess.Popen(  # apart, where nothing of ours keeps it from reading
            [sys.executable, "-c", READER, str(site.daemon.port), str(8 * len(MEGABYTE))],
            stdout=subprocess.PIPE,
        )
        with reading:
            assert reading.stdout is not None
            assert reading.stdout.readline() == b"attached\n"
            for _ in range(8):
                node.send(MEGABYTE)
            assert reading.stdout.read() == hashlib.md5(8 * MEGABYTE).hexdigest().encode()
        site.read_with("u.log", MEGABYTE, 8)
        assert stalled.receive_until(b"this client is too slow.\r\n")
        assert stalled.receive_until(MEGABYTE[-16:])
        assert site.daemon.count('for "stalled@') == 1


READER = """\
import hashlib, socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
stream = sock.makefile("rwb")
stream.write(b"HELLO USER='reader'\\nMONITOR CONSOLE='u'\\n")
stream.flush()
assert stream.readline() == b"OK\\n" and stream.readline() == b"OK CONSOLE='u'\\n"
print("attached", flush=True)
print(hashlib.md5(stream.read(int(sys.argv[2]))).hexdigest(), end="")
"""


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
