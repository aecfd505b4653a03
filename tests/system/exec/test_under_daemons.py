"""The device scripts as consoles of both daemons, ours and the original's: login, data, break, log, end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Tuple

import pytest

from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.files import PATIENCE_SECONDS, read_with
from tests.fakes.installed import Installed
from tests.fakes.peers import installed_program
from tests.fakes.sites import Site
from tests.fakes.sshd import PASSWORD, SshDevice
from tests.fakes.telnet_device import TelnetDevice
from tests.system.exec.test_ipmiconsole import WORKAROUNDS
from tests.system.exec.test_serial import Rfc2217Server
from tests.system.exec.test_telnet import blade, ilo, lo100, server

# What a console's device string is, how the node says something, and how a test waits for what the device got.
Place = Tuple[str, Callable[[bytes], None], Callable[[bytes], None], bytes]


def words(installed: Installed, script: str, *arguments: str) -> str:
    return " ".join(installed.argv(script, *arguments))


def ipmitool(installed: Installed, stack: ExitStack, directory: Path) -> Place:
    bmc = stack.enter_context(Bmc(directory))
    installed.passwords(b"127.*:admin:password\n")
    return words(installed, "ipmitool", bmc.host), bmc.node.send, bmc.node.wait_for, BREAK


def bare_ipmitool(installed: Installed, stack: ExitStack, directory: Path) -> Place:
    installed.settings("ipmitool", relay="no")
    return ipmitool(installed, stack, directory)


def ipmiconsole(installed: Installed, stack: ExitStack, directory: Path) -> Place:
    installed_program("ipmiconsole")
    installed.settings("ipmiconsole", workarounds=WORKAROUNDS, cipher_suite=3)
    bmc = stack.enter_context(Bmc(directory))
    return words(installed, "ipmiconsole", bmc.host, "admin", "password"), bmc.node.send, bmc.node.wait_for, BREAK


def ssh(installed: Installed, stack: ExitStack, directory: Path) -> Place:
    installed.settings("ssh", known_hosts=str(directory / "known_hosts"))
    device = stack.enter_context(SshDevice(lambda line: b"\r\nnode> ", b"hello\r\n"))
    return words(installed, "ssh", device.host, "22", "any", PASSWORD), device.send, device.wait_for, b"<BREAK>"


def telnet(script: str, greeting: bytes, user: str, break_bytes: bytes) -> Callable[..., Place]:
    answer = {"cyclades_telnet": server, "hp_ilo": ilo, "hp_lo100": lo100, "ibm_bc": blade}[script]

    def place(installed: Installed, stack: ExitStack, directory: Path) -> Place:
        device = stack.enter_context(TelnetDevice(answer, greeting))
        port = str(device.port)
        if script == "ibm_bc":
            installed.settings(script, port=port)
            port = "3"
        return words(installed, script, device.host, port, user, PASSWORD), device.send, device.wait_for, break_bytes

    return place


def serial(installed: Installed, stack: ExitStack, directory: Path) -> Place:
    line = stack.enter_context(Rfc2217Server())

    def got(data: bytes) -> None:
        if data == b"<BREAK>":
            with line.port.changed:
                assert line.port.changed.wait_for(lambda: True in line.port.breaks, 30)

    return words(installed, "serial", line.url), line.write, got, b"<BREAK>"


PLACES = {
    "ipmitool": ipmitool,
    "ipmitool without a relay": bare_ipmitool,
    "ipmiconsole": ipmiconsole,
    "ssh": ssh,
    "cyclades_telnet": telnet("cyclades_telnet", b"\r\nlogin: ", "admin", b"<BREAK>"),
    "hp_ilo": telnet("hp_ilo", b"Login Name: ", "admin", b"\x1b\x02"),
    "hp_lo100": telnet("hp_lo100", b"login: ", "admin", b"\x1b\x02"),
    "ibm_bc": telnet("ibm_bc", b"username: ", "USERID", b"<BREAK>"),
    "serial": serial,
}


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
@pytest.mark.parametrize("name", sorted(PLACES))
def test_console_through_a_script(installed: Installed, tmp_path: Path, name: str, kind: str) -> None:
    with ExitStack() as stack:
        device, say, wait_for, break_bytes = PLACES[name](installed, stack, tmp_path)
        site = stack.enter_context(Site(kind, tmp_path / "site"))
        site.start(f'console name="c" dev="{device}" log="{tmp_path}/c.log"\n')
        log = tmp_path / "c.log"
        # Ours needs no process for a relay, and so does not do without its services.
        bare = "without" in name and kind == ORIGINAL
        opened = b"SOL Session operational" if bare else b"Connection established via "
        read_with(log, opened)
        client = site.session(b"CONNECT CONSOLE='c'\n")
        say(b"the node speaks")
        read_with(log, b"the node speaks")
        client.receive_until(b"the node speaks")
        client.send(b"\r")  # ipmitool by itself knows a break only at a line's start
        client.send(b"\xffBx")
        wait_for(break_bytes)
        site.leave(client)


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
def test_sol_is_deactivated_when_the_daemon_stops(installed: Installed, bmc: Bmc, tmp_path: Path, kind: str) -> None:
    with Site(kind, tmp_path / "site") as site:
        device = words(installed, "ipmitool", bmc.host, "admin", "password")
        site.start(f'console name="c" dev="{device}" log="{tmp_path}/c.log"\n')
        read_with(tmp_path / "c.log", b"Connection established via ")
        assert bmc.is_active
        site.daemon.stop()
        # The relay closes ipmitool's side, or was killed by the daemon, which closes it too; ipmitool takes some ms.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while bmc.is_active:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
def test_failure_is_in_the_log(installed: Installed, tmp_path: Path, kind: str) -> None:
    with Site(kind, tmp_path / "site") as site:
        site.start(f'console name="c" dev="{words(installed, "ssh", "h")}" log="{tmp_path}/c.log"\n')
        read_with(tmp_path / "c.log", b"Error: Unspecified port number.\r\n")
