"""The scripts that speak telnet, against Debian's telnetd and pretended devices, run as the daemon runs them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Optional

import pytest

from tests.fakes.addresses import own_address
from tests.fakes.installed import Installed
from tests.fakes.script import Script, descendants
from tests.fakes.sshd import PASSWORD, USER
from tests.fakes.telnet_device import Telnetd, TelnetDevice

OPEN = b"Connection established via telnet (pid "


def login(installed: Installed, script: str, device: TelnetDevice | Telnetd, *words: str) -> Script:
    return Script(*installed.argv(script, device.host, str(device.port), *words))


def server(line: bytes) -> Optional[bytes]:
    """A terminal server with a node behind it."""
    answers = {
        b"admin": b"admin\r\npassword: ",
        b"t0psecret": b"\r\nnode login: ",
        b"wrong": b"\r\nLogin incorrect\r\n",
    }
    return answers.get(line, line + b"\r\nnode> ")


def test_login_to_a_real_telnetd(installed: Installed, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert not os.environ.get("CI")
        pytest.skip("takes root: telnetd with an account of its own")
    with Telnetd(tmp_path) as device, login(installed, "cyclades_telnet", device, USER, PASSWORD) as script:
        script.read_until(OPEN)
        script.read_until(b"$ ")
        script.send(b"echo $((6*7))\r")
        script.read_until(b"\n42\r\n")
        script.send(b"\x1d\r")  # no way to a telnet prompt
        script.send(b"echo $((7*7))\r")
        script.read_until(b"49\r\n")
        script.send(b"exit\r")
        script.read_to_end()


def test_cyclades_line_with_data_both_ways_and_breaks(installed: Installed) -> None:
    installed.passwords(b":admin:t0psecret\n")
    with TelnetDevice(server, b"\r\nlogin: ") as device, login(installed, "cyclades_telnet", device, "admin") as script:
        script.read_until(OPEN)
        script.read_until(b"node login: ")
        script.send(b"\xff\x80\x1d&.")
        device.wait_for(b"\xff\x80\x1d&.")
        script.send(b"abc&Bx")
        device.wait_for(b"abc<BREAK>x")
        device.send(b"a\xff\xffb\r\0c")
        script.read_until(b"a\xffb\rc")
        device.hang_up()
        script.read_to_end()
        assert script.wait() == 0


def test_session_is_one_process(installed: Installed) -> None:
    with TelnetDevice(server, b"hello") as device, login(installed, "cyclades_telnet", device) as script:
        script.read_until(OPEN)
        assert descendants(script.process.pid) == [script.process.pid]


def test_wrong_password_is_told(installed: Installed) -> None:
    with (
        TelnetDevice(server, b"\r\nlogin: ") as device,
        login(installed, "cyclades_telnet", device, "admin", "wrong") as script,
    ):
        assert script.read_to_end() == b"Error: Permission denied.\r\n"
        assert script.wait() == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("cyclades_telnet", b"Error: Connection refused.\r\n"),
        ("hp_ilo", b"Error: Unable to connect to remote host: Connection refused.\r\n"),
        ("hp_lo100", b"Error: Unable to connect to remote host: Connection refused.\r\n"),
    ],
)
def test_refused_connection_is_told(installed: Installed, script: str, message: bytes) -> None:
    with Script(*installed.argv(script, own_address(), "9", "u", "p")) as running:
        assert running.read_to_end() == message


@pytest.mark.parametrize("way", ["eof", "term", "hup"])
def test_program_ends_with_the_daemon(installed: Installed, way: str) -> None:
    with TelnetDevice(server, b"hello") as device, login(installed, "cyclades_telnet", device) as script:
        script.read_until(OPEN)
        if way == "eof":
            script.close()
        else:
            script.signal(signal.SIGTERM if way == "term" else signal.SIGHUP)
        script.wait(5)


def ilo(line: bytes) -> Optional[bytes]:
    answers = {
        b"admin": b"admin\r\nPassword: ",
        b"t0psecret": b"\r\nUser:admin logged-in\r\n</>hpiLO-> ",
        b"vsp": b"vsp\r\n\r\nVirtual Serial Port active: COM2\r\n\r\nnode> ",
    }
    return answers.get(line, line + b"\r\nnode> ")


def test_hp_ilo(installed: Installed) -> None:
    with (
        TelnetDevice(ilo, b"\r\nLogin Name: ") as device,
        login(installed, "hp_ilo", device, "admin", PASSWORD) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node> ")
        script.send(b"x&B")
        device.wait_for(b"x\x1b\x02")
        device.received = b""
        device.send(b"\r\n</>hpiLO-> ")
        device.wait_for(b"vsp\r")
        device.send(b"here again")
        script.read_until(b"here again")


def lo100(line: bytes) -> Optional[bytes]:
    answers = {
        b"admin": b"admin\r\nPassword: ",
        b"t0psecret": b"\r\nLights-Out 100\r\n/./-> ",
        b"\x1bQ": b"\r\nnode> ",
    }
    return answers.get(line, line + b"\r\nnode> ")


def test_hp_lo100(installed: Installed) -> None:
    with (
        TelnetDevice(lo100, b"lo100 login: ") as device,
        login(installed, "hp_lo100", device, "admin", PASSWORD) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node> ")
        device.received = b""
        device.send(b"\r\n/./-> ")
        device.wait_for(b"\x1bQ\r")
        script.read_until(b"node> ")


def blade(line: bytes) -> Optional[bytes]:
    answers = {
        b"USERID": b"USERID\r\npassword: ",
        b"t0psecret": b"\r\nHostname: mm\r\nsystem> ",
        b"telnetcfg -T system:mm[1] -t 0": b"\r\nOK\r\nsystem> ",
        b"telnetcfg -T system:mm[2] -t 0": b"\r\nThe target bay is empty.\r\nsystem> ",
        b"console -T system:blade[3] -o": b"\r\n\x1b[2Jnode> ",
    }
    return answers.get(line, line + b"\r\nnode> ")


def test_ibm_bc(installed: Installed) -> None:
    with TelnetDevice(blade, b"\r\nusername: ") as device:
        installed.settings("ibm_bc", port=device.port)
        with Script(*installed.argv("ibm_bc", device.host, "3", "USERID", PASSWORD)) as script:
            script.read_until(OPEN)
            script.read_until(b"node> ")
            script.send(b"x&B")
            device.wait_for(b"x<BREAK>")
            device.send(b"\r\nsystem> ")
            script.read_until(b"node> ")
            assert device.received.count(b"console -T") == 2
