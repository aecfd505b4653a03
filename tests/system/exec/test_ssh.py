"""The scripts that use ssh, against OpenSSH's server and against pretended devices, run as the daemon runs them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.addresses import own_address
from tests.fakes.installed import Installed
from tests.fakes.script import Script, descendants
from tests.fakes.sshd import PASSWORD, USER, Sshd, SshDevice

OPEN = b"Connection established via ssh (pid "


@pytest.fixture(autouse=True)
def own_host_keys(installed: Installed, tmp_path: Path) -> None:
    for script in ("ssh", "cyclades_ssh", "sun_ilom", "sun_elom", "sun_v20z_v40z"):
        installed.settings(script, known_hosts=str(tmp_path / "known_hosts"))


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if os.geteuid() != 0:
        assert not os.environ.get("CI")
        pytest.skip("takes root: sshd with an account of its own")
    with Sshd(tmp_path) as started:
        yield started


def login(installed: Installed, sshd: Sshd, *words: str) -> Script:
    return Script(*installed.argv("ssh", sshd.host, "22", *(words or (USER, PASSWORD))))


def test_login_to_a_real_sshd_and_data_both_ways(installed: Installed, sshd: Sshd) -> None:
    with login(installed, sshd) as script:
        script.read_until(OPEN)
        script.read_until(b"$ ")
        script.send(b"echo $((6*7))'-&.-&'\r")
        script.read_until(b"\n42-&.-&\r\n")
        script.send(b"exit\r")
        script.read_to_end()
        assert script.wait() == 0


def test_password_comes_from_the_password_file(installed: Installed, sshd: Sshd) -> None:
    installed.passwords(f":{USER}:{PASSWORD}\n".encode())
    with Script(*installed.argv("ssh", sshd.host, "22")) as script:
        script.read_until(OPEN)
        for pid in descendants(script.process.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that lives for a moment only
                assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
                assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_wrong_password_is_told(installed: Installed, sshd: Sshd) -> None:
    with login(installed, sshd, USER, "wrong") as script:
        assert script.read_to_end() == b"Error: Permission denied.\r\n"
        assert script.wait() == 1


def test_unreachable_host_is_told_in_the_tools_words(installed: Installed) -> None:
    host = own_address()
    with Script(*installed.argv("ssh", host, "22", "u", "p")) as script:
        assert script.read_to_end() == f"Error: connect to host {host} port 22: Connection refused.\r\n".encode()


def test_escapes_do_not_end_the_session(installed: Installed, sshd: Sshd) -> None:
    with login(installed, sshd) as script:
        script.read_until(b"$ ")
        script.send(b"cat\r")
        script.read_until(b"cat\r\n")
        script.send(b"&.")
        script.send(b"x\r")
        script.read_until(b"&.x\r\n&.x\r\n")  # echoed by the terminal, and by cat
        for typed in (b"&?\r", b"&&\r", b"&", b"\x1a"):
            script.send(typed)
        script.read_until(b"$ ")  # the shell's, as ^Z has stopped cat: ssh itself is still there
        script.send(b"echo still $((40+2))\r")
        script.read_until(b"still 42")


def test_vanished_host_ends_the_program_within_a_minute(installed: Installed, sshd: Sshd) -> None:
    installed.settings("ssh", keepalive=5)  # the default is 15, of which three make 45 s
    with login(installed, sshd) as script:
        script.read_until(b"$ ")
        sshd.stop_connections()
        script.read_to_end(60)


@pytest.mark.parametrize("way", ["eof", "term", "hup"])
def test_ssh_ends_with_the_program(installed: Installed, sshd: Sshd, way: str) -> None:
    with login(installed, sshd) as script:
        script.read_until(b"$ ")
        if way == "eof":
            script.close()
        else:
            script.signal(signal.SIGTERM if way == "term" else signal.SIGHUP)
        script.wait(5)


def test_break_reaches_the_device_at_any_point_of_a_line(installed: Installed) -> None:
    with (
        SshDevice(lambda line: b"\r\nok\r\n", b"device\r\n") as device,
        Script(*installed.argv("ssh", device.host, "22", "any", PASSWORD)) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"device\r\n")
        script.send(b"abc&Bx")
        device.wait_for(b"x")
        # Ssh sends a break at once, and the keys that it read with it afterwards, the CR before it among them.
        assert device.received.count(b"<BREAK>") == 1
        assert device.received.replace(b"<BREAK>", b"") == b"abc\rx"


def test_cyclades_line(installed: Installed) -> None:
    with (
        SshDevice(lambda line: b"\r\n", b"node login: ") as device,
        Script(*installed.argv("cyclades_ssh", device.host, "7001", "admin", PASSWORD)) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node login: ")
        assert device.users == ["admin:7001"]


def test_cyclades_line_in_use(installed: Installed) -> None:
    with (
        SshDevice(lambda line: b"", b"ttyS1 is being used by (joe)\r\n") as device,
        Script(*installed.argv("cyclades_ssh", device.host, "7001", "admin", PASSWORD)) as script,
    ):
        assert script.read_to_end() == b"Error: Console session for ttyS1 in use by joe.\r\n"


def ilom(line: bytes) -> bytes:
    if line == b"stop -script /SP/console":
        return b"\r\nstop: Command Failed\r\n\r\n-> "
    if line == b"start -script /SP/console":
        return b"\r\nSerial console started.  To stop, type ESC (\r\n\r\nnode> "
    return b"\r\nnode> "


def test_sun_ilom(installed: Installed) -> None:
    with (
        SshDevice(ilom, b"\r\nSun(TM) Integrated Lights Out Manager\r\n\r\n-> ") as device,
        Script(*installed.argv("sun_ilom", device.host, "root", PASSWORD)) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node> ")
        script.send(b"x&B")
        device.wait_for(b"x\x1bB")
        device.send(b"\r\nSerial console stopped.\r\n\r\n-> ")
        script.read_until(b"stopped.\r\n")
        script.read_until(b"node> ")
        assert device.received.count(b"start -script") == 2


def elom(line: bytes) -> bytes:
    if line == b"start /SP/AgentInfo/console":
        return b"\r\nconsole activate successful.\r\nnode> "
    return b"\r\n-> "


def test_sun_elom(installed: Installed) -> None:
    with (
        SshDevice(elom, b"-> ") as device,
        Script(*installed.argv("sun_elom", device.host, "root", PASSWORD)) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node> ")


def test_sun_v20z(installed: Installed) -> None:
    with (
        SshDevice(lambda line: b"\r\n", b"[Enter `^Ec?' for help]\r\nnode> ") as device,
        Script(*installed.argv("sun_v20z_v40z", device.host, "root", PASSWORD)) as script,
    ):
        script.read_until(OPEN)
        script.read_until(b"node> ")
        script.send(b"a")  # at once, not at the end of the line
        device.wait_for(b"a")
        script.send(b"&B")
        device.wait_for(b"\x05cl0\r")
