"""Each kind of console device, ours beside the original's daemon: coming up, going down, keys, breaks, coming back."""

from __future__ import annotations

import shutil
import termios
from pathlib import Path

import pytest

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.devices import Peer
from tests.fakes.sites import Seen, Site, assert_same, run_on

LOGS = 'server logdir="DIR"\nglobal log="%N.log"\n'
CONNECT = b"CONNECT CONSOLE='c'\n"
MONITOR = b"MONITOR CONSOLE='c'\n"

# Waits before each read: under the original its descriptors are non-blocking (errata D1).
ECHO = """\
#!/usr/bin/env python3
import os, select, sys
os.write(1, b"hello\\r\\n")
while True:
    select.select([0], [], [])
    data = os.read(0, 4096)
    if not data or b"quit" in data:
        break
    os.write(1, data.upper())
"""


# Programs.


def test_a_program_gets_its_arguments_and_a_bare_environment(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.program("show", '#!/bin/sh\nenv | sort\nfor word; do echo "<$word>"; done\necho end\n')
        site.start(
            LOGS + "console name=\"a b\" dev=\"DIR/show %N '%N' 'x  y' don't '' z\" log=\"c.log\"\n",
            environ={"TZ": "UTC", "HOME": "/nowhere", "SECRET": "x"},
        )
        return {"log": site.read_with("c.log", b" after ")}

    seen = assert_same(scenario, tmp_path)
    assert b"<a b>\n<%N>\n<x  y>\n<don't>\n<>\n<z>\n" in seen["log"]
    assert b"SECRET" not in seen["log"] and b"HOME" not in seen["log"]


def test_a_program_is_talked_to_and_restarts_when_a_client_comes(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.program("echo", ECHO)
        site.start(LOGS + 'console name="c" dev="DIR/echo"\n')
        site.read_with("c.log", b"hello")
        client = site.session(CONNECT)
        client.send(b"some words")
        client.receive_until(b"SOME WORDS")
        client.send(b"\xffB")
        client.receive_until(b"&B")
        client.send(b"\xffD\xff\xff.")
        client.receive_until(b"\x7f\xff.")
        client.send(b"quit")
        client.receive_until(b"disconnected from")
        client.receive_until(b".\r\n")
        other = site.session(MONITOR)
        other.receive_until(b"hello\r\n")
        site.leave(other)
        site.leave(client)
        return {"client": client.received, "other": other.received, "log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    assert b'Console [c] is currently disconnected from "echo".\r\n' in seen["other"]
    assert b"currently" not in seen["client"] and b"currently" not in seen["log"]


@pytest.mark.parametrize("change", ["removed", "directory", "mode"])
def test_a_program_that_cannot_be_started_again_is_complained_of(change: str, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        program = site.program("echo", ECHO)
        site.start(LOGS + 'console name="c" dev="DIR/echo"\n')
        site.read_with("c.log", b"hello")
        client = site.session(CONNECT)
        if change == "mode":
            program.chmod(0o644)
        else:
            program.unlink()
        if change == "directory":
            program.mkdir()
        client.send(b"quit")
        client.receive_until(b"disconnected from")
        other = site.session(MONITOR)
        other.receive_until(b"connection failed")
        other.receive_until(b".\r\n")
        site.leave(client)
        site.leave(other)
        return {"other": other.received, "log": site.path("c.log")}

    reason = {"removed": b"stat error: No such file", "directory": b"not a regular file", "mode": b"not executable"}
    assert reason[change] in assert_same(scenario, tmp_path)["other"]


def test_an_ordinary_filter_is_a_console(tmp_path: Path) -> None:
    """Errata D1: the original gives it a non-blocking input, and cat ends at its first read."""
    config = LOGS + 'console name="c" dev="/bin/cat"\n'
    with Site(OURS, tmp_path / OURS) as site:
        site.start(config)
        client = site.session(CONNECT)
        client.send(b"returned")
        client.receive_until(b"returned")
    with Site(ORIGINAL, tmp_path / ORIGINAL) as site:
        site.start(config)
        site.daemon.wait_for('[c] disconnected from "cat"')


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    """Errata D3: the original kills the program only. The fixture that looks for orphans is the judge."""
    with Site(OURS, tmp_path) as site:
        site.program("parent", "#!/bin/sh\nsleep 1000 </dev/null >/dev/null 2>&1 &\necho $!\nread line\n")
        site.start(LOGS + 'console name="c" dev="DIR/parent"\n')
        client = site.session(CONNECT)
        site.read_with("c.log", b"\n", 5)
        client.send(b"go\n")
        client.receive_until(b"disconnected from")


def test_a_program_may_have_a_terminal(tmp_path: Path) -> None:
    """Ours, errata D2: virsh console and others insist on one."""
    with Site(OURS, tmp_path) as site:
        site.program(
            "term",
            '#!/bin/sh\nstty -echo\ntest -t 0 && test -t 1 && echo mine >/dev/tty\nread line\necho "<$line>"\n',
        )
        site.start(LOGS + 'console name="c" dev="pty:DIR/term"\n')
        site.read_with("c.log", b"mine\r\n")
        client = site.session(CONNECT)
        client.send(b"typed\r")
        client.receive_until(b"<typed>\r\n")
        client.receive_until(b'disconnected from "term"')


# Telnet.

WELCOME = b"\xff\xfd\x00\xff\xfd\x01\xff\xfd\x03\xff\xfb\x00\xff\xfb\x03"


def telnet_console(peer: Peer) -> str:
    return f'console name="c" dev="127.0.0.1:{peer.port}"\n'


def test_telnet_negotiates_and_passes_data(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = site.telnet_peer()
        site.start(LOGS + telnet_console(peer))
        peer.accept()
        welcome = peer.receive_until(WELCOME)
        site.daemon.wait_for("[c] connected")
        client = site.session(CONNECT)
        # Agreements, refusals, a question, a sub-negotiation, an unknown command, a literal FF, all of it split.
        for part in (b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x03\xff\xfd", b"\x18\xff\xfb\x22login", b": \xff\xff\xff"):
            peer.send(part)
        peer.send(b"\xfa\x18\x01\xff\xf0A\xff\xf6B\r\0C.")
        client.receive_until(b"C.")
        answers = peer.receive_until(b"\xff\xfe\x22")
        client.send(b"typed.")
        keys = peer.receive_until(b".")
        client.send(b"\xffB")
        keys += peer.receive_until(b"\xff\xf3")
        client.send(b"\xffD")
        keys += peer.receive_until(b"\x7f")
        peer.hang_up()
        client.receive_until(b"disconnected from")
        client.receive_until(b"\r\n")
        site.leave(client)
        return {
            "welcome": welcome,
            "answers": answers,
            "keys": keys,
            "client": client.received,
            "log": site.path("c.log"),
        }

    seen = assert_same(scenario, tmp_path)
    assert seen["client"].startswith(b"OK\nOK CONSOLE='c'\nlogin: \xffAB\r\0C.")
    assert seen["answers"] == b"\xff\xfc\x18\xff\xfe\x22"


def test_telnet_notices_a_refusal_of_what_it_needs(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = site.telnet_peer()
        site.start(LOGS + telnet_console(peer))
        peer.accept()
        peer.receive_until(WELCOME)
        peer.send(b"\xff\xfc\x00\xff\xfc\x01\xff\xfc\x03\xff\xf6\xff\xf9end")
        site.read_with("c.log", b"end")
        return {"log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    assert "NOTICE:    Received telnet cmd WONT SUPPRESS GO AHEAD from console [c]" in seen["daemon"]


def test_a_byte_of_all_ones_is_doubled_on_telnet(tmp_path: Path) -> None:
    """Errata D6: the original sends it as the start of a telnet command."""

    def scenario(site: Site) -> Seen:
        peer = site.telnet_peer()
        site.start(telnet_console(peer))
        peer.accept()
        peer.receive_until(WELCOME)
        client = site.session(CONNECT)
        client.send(b"a\xff\xffb.")
        return {"keys": peer.receive_until(b".")}

    assert run_on(OURS, scenario, tmp_path)["keys"] == b"a\xff\xffb."
    assert run_on(ORIGINAL, scenario, tmp_path)["keys"] == b"a\xffb."


def test_a_subnegotiation_may_contain_a_doubled_byte(tmp_path: Path) -> None:
    """Errata D7: the original ends the sub-negotiation there."""

    def scenario(site: Site) -> Seen:
        peer = site.telnet_peer()
        site.start(LOGS + 'global logopts="nosanitize"\n' + telnet_console(peer))
        peer.accept()
        peer.receive_until(WELCOME)
        peer.send(b"\xff\xfa\x18\xff\xff\x01\xff\xf0end")
        return {"log": site.read_with("c.log", b"end")}

    assert run_on(OURS, scenario, tmp_path)["log"].endswith(b".\r\nend")
    assert run_on(ORIGINAL, scenario, tmp_path)["log"].endswith(b"\xff\x01end")


def test_a_refused_telnet_console_is_tried_when_a_client_comes(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = site.telnet_peer(refusing=True)
        site.start(LOGS + telnet_console(peer))
        if site.is_ours:
            site.daemon.wait_for("Unable to connect")
        site.settle()
        peer.listen()
        client = site.session(CONNECT)
        peer.accept()
        client.receive_until(b"] connected to")
        client.receive_until(b".\r\n")
        peer.receive_until(WELCOME)
        peer.send(b"up.")
        client.receive_until(b"up.")
        site.leave(client)
        # Errata D8: ours says why it was down.
        return {"client": client.received, "log": site.path("c.log"), "daemon": []}

    assert b"currently disconnected from <127.0.0.1:PORT>.\r\n" in assert_same(scenario, tmp_path)["client"]


def test_a_failed_connection_is_logged_once(tmp_path: Path) -> None:
    """Errata D8: the original is silent."""
    with Site(OURS, tmp_path) as site:
        peer = site.telnet_peer(refusing=True)
        site.start(telnet_console(peer))
        site.daemon.wait_for(f"Unable to connect to <127.0.0.1:{peer.port}> for [c]: Connection refused")
        for _attempt in range(3):
            site.leave(site.session(MONITOR))
        assert site.daemon.count("Unable to connect to") == 1


# Unix sockets.


def test_a_unix_socket_that_appears_is_connected_to_at_once(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(LOGS + 'console name="c" dev="unix:DIR/c.sock"\n')
        client = site.session(CONNECT)
        client.receive_until(b"currently disconnected")
        peer = site.unix_peer("c.sock")
        peer.accept()
        client.receive_until(b"] connected to")
        client.receive_until(b"\r\n")
        client.send(b"typed.")
        peer.receive_until(b".")
        peer.send(b"output.")
        client.receive_until(b"output.")
        site.leave(client)
        seen: Seen = {"client": client.received, "log": site.path("c.log")}
        return {**seen, "daemon": []}  # the original's attempt may come between bind and listen

    assert_same(scenario, tmp_path)


def test_a_unix_socket_is_found_in_a_directory_that_came_later(tmp_path: Path) -> None:
    """Errata D10: the original watches only what exists when it starts."""
    with Site(OURS, tmp_path) as site:
        site.start('console name="c" dev="unix:DIR/run/vm/c.sock"\n')
        site.path("run").mkdir()
        site.path("run/vm").mkdir()
        peer = site.unix_peer("run/vm/c.sock")
        peer.accept()
        site.daemon.wait_for("[c] connected")
        # And again, after the whole directory was replaced.
        peer.close()
        site.daemon.wait_for("[c] disconnected")
        shutil.rmtree(site.path("run"))
        site.path("run").mkdir()
        site.path("run/vm").mkdir()
        site.unix_peer("run/vm/c.sock").accept()
        site.daemon.wait_for("[c] connected", count=2)


def test_a_unix_socket_moved_into_place_is_connected_to(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(LOGS + 'console name="c" dev="unix:DIR/c.sock"\n')
        site.settle()
        peer = site.unix_peer("elsewhere")
        site.path("elsewhere").rename(site.path("c.sock"))
        peer.accept()
        site.daemon.wait_for("[c] connected")
        site.read_with("c.log", b"] connected")
        return {"log": site.path("c.log")}

    assert_same(scenario, tmp_path)


def test_a_live_unix_connection_survives_a_new_socket_file(tmp_path: Path) -> None:
    """Errata D9: the original drops the connection that works."""
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer("c.sock")
        site.start('console name="c" dev="unix:DIR/c.sock"\n')
        peer.accept()
        site.daemon.wait_for("[c] connected")
        client = site.session(CONNECT)
        site.path("c.sock").unlink()
        site.unix_peer("c.sock")
        peer.send(b"still here")
        client.receive_until(b"still here")
        assert site.daemon.count("[c] disconnected") == 0


def test_a_unix_console_that_hangs_up_is_tried_again(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        peer = site.unix_peer("c.sock")
        site.start(LOGS + 'console name="c" dev="unix:DIR/c.sock"\n')
        peer.accept()
        site.daemon.wait_for("[c] connected")
        client = site.session(CONNECT)
        peer.send(b"last")
        peer.hang_up()
        client.receive_until(b"disconnected from")
        peer.accept()  # by the timer
        client.receive_until(b"] connected to")
        client.receive_until(b"\r\n")
        site.leave(client)
        return {"client": client.received, "log": site.path("c.log")}

    assert_same(scenario, tmp_path)


def test_a_path_that_is_no_socket_is_told(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.path("c.sock").write_text("")
        site.start(LOGS + 'console name="c" dev="unix:DIR/c.sock"\n')
        complaint = site.daemon.wait_for("is not a socket")
        client = site.session(MONITOR)
        client.receive_until(b"currently disconnected from")
        client.receive_until(b"\r\n")
        site.leave(client)
        # The original repeats it at every attempt.
        return {"client": client.received, "complaint": complaint.encode(), "daemon": []}

    seen = assert_same(scenario, tmp_path)
    assert seen["complaint"] == b'NOTICE:    Console [c] device "DIR/c.sock" is not a socket'


# Serial ports.


def test_a_serial_port_is_set_up_as_by_the_original_and_restored(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        line = site.serial_line()
        attributes = termios.tcgetattr(line.port_fd)
        attributes[0] |= termios.ICRNL | termios.IXON | termios.IXOFF | termios.IGNBRK | termios.ISTRIP
        attributes[1] |= termios.OPOST | termios.ONLCR
        attributes[2] |= termios.CRTSCTS
        attributes[3] |= termios.ECHO | termios.ICANON | termios.ISIG
        termios.tcsetattr(line.port_fd, termios.TCSANOW, attributes)
        before = termios.tcgetattr(line.port_fd)
        site.start(LOGS + 'console name="c" dev="DIR/ttyS0" seropts="115200,7e2"\n')
        site.daemon.wait_for("[c] connected")
        during = termios.tcgetattr(line.port_fd)
        client = site.session(CONNECT)
        client.send(b"typed\r.")
        keys = line.receive_until(b".")
        client.send(b"\xffB")
        client.send(b"\xffD")
        keys += line.receive_until(b"\x7f")
        line.send(b"\r\nlogin: ")
        client.receive_until(b": ")
        site.leave(client)
        site.settle()
        site.daemon.stop()
        assert termios.tcgetattr(line.port_fd) == before
        return {"during": during, "keys": keys, "client": client.received, "log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    assert seen["during"][4] == termios.B115200


@pytest.mark.parametrize("seropts", ["9600,8n1", "300,5o1", "38400"])
def test_serial_settings_are_the_originals(seropts: str, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        line = site.serial_line()
        site.start(f'console name="c" dev="DIR/ttyS0" seropts="{seropts}"\n')
        site.daemon.wait_for("[c] connected")
        return {"settings": termios.tcgetattr(line.port_fd)}

    assert_same(scenario, tmp_path)


def test_a_serial_port_that_went_away_is_tried_when_a_client_comes(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        line = site.serial_line()
        site.start(LOGS + 'console name="c" dev="DIR/ttyS0"\n')
        site.daemon.wait_for("[c] connected")
        line.unplug()
        site.daemon.wait_for("Unable to open [c] device")
        client = site.session(CONNECT)
        client.receive_until(b"currently disconnected from")
        client.receive_until(b"\r\n")
        line.plug_in()
        site.session(MONITOR)
        client.receive_until(b"] connected to")
        client.receive_until(b"\r\n")
        line.send(b"back")
        client.receive_until(b"back")
        site.leave(client)
        # Errata D5: only ours says that it was disconnected, and tries again by itself, perhaps before the other comes.
        return {"client": client.received, "daemon": []}

    assert_same(scenario, tmp_path)


def test_a_serial_port_that_comes_back_is_opened_without_a_client(tmp_path: Path) -> None:
    """Errata D5: the original leaves it down, and does not even say that it went."""
    with Site(OURS, tmp_path) as site:
        line = site.serial_line()
        site.start(LOGS + 'console name="c" dev="DIR/ttyS0"\n')
        site.daemon.wait_for("[c] connected")
        line.unplug()
        site.daemon.wait_for("[c] disconnected")
        line.plug_in()
        site.daemon.wait_for("[c] connected", count=2)
        line.send(b"back")
        site.read_with("c.log", b"back")


def test_a_serial_port_in_use_is_left_alone(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.serial_line()
        with Site(ORIGINAL, site.directory / "owner") as owner:
            owner.start(f'console name="c" dev="{site.path("ttyS0")}"\n')
            owner.daemon.wait_for("[c] connected")
            site.start(LOGS + 'console name="c" dev="DIR/ttyS0"\n')
            site.daemon.wait_for("Unable to lock [c] device")
            site.settle()
            site.daemon.stop()
        return {"log": site.path("c.log")}

    assert_same(scenario, tmp_path)


# Test consoles.


@pytest.mark.parametrize("testopts", ["b:200", "b:10000", "b:0", "b:94,p:0"])
def test_a_test_console_says_the_printable_characters_in_turn(testopts: str, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(LOGS + f'console name="c" dev="test:" testopts="{testopts},m:2000000000"\n')
        size = int(testopts[2:].partition(",")[0]) if "p:0" not in testopts else 0
        site.read_when("c.log", lambda log: log.partition(b"\r\n")[2].find(b".\r\n") + 3 + size == len(log) - 2)
        return {"log": site.path("c.log")}

    seen = assert_same(scenario, tmp_path)
    if testopts == "b:200":
        assert seen["log"].endswith(bytes(0x21 + number % 94 for number in range(200)))


def test_an_ipmi_console_without_its_bmc_is_down_and_keeps_its_secret(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.start(LOGS + 'console name="c" dev="ipmi:127.0.0.9" ipmiopts="U:admin,P:hush"\n')
        client = site.session(CONNECT)
        client.receive_until(b"\r\n<ConMan> Console [c] is currently disconnected from <127.0.0.9>.\r\n")
        site.leave(client)
        assert site.daemon.stop() == 0
        assert b"hush" not in site.path("c.log").read_bytes()
        assert not any("hush" in line for line in site.daemon.lines)
