"""ipmiconsole_exp.py against a simulated BMC, run as the daemon runs it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fakes.addresses import own_address
from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.installed import Installed
from tests.fakes.peers import installed_program
from tests.fakes.script import Script, descendants

OPEN = b"Connection established via ipmiconsole (pid "

# What the simulator needs of FreeIPMI (it dies of one question and answers two others wrongly).
WORKAROUNDS = ["opensesspriv", "solchannelsupport", "solpayloadsize"]


@pytest.fixture(autouse=True)
def simulators_workarounds(installed: Installed) -> None:
    installed_program("ipmiconsole")
    installed.settings("ipmiconsole", workarounds=WORKAROUNDS, cipher_suite=3)


def login(installed: Installed, bmc: Bmc, *words: str) -> Script:
    return Script(*installed.argv("ipmiconsole", bmc.host, *(words or (bmc.user, bmc.password))))


def wake(script: Script) -> None:
    script.send(b"\r")
    try:
        script.read_until(b"node> ", 0.5)
    except AssertionError:
        script.send(b"\r")
        script.read_until(b"node> ")


def test_login_and_data_both_ways_with_breaks_anywhere(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        wake(script)
        bmc.node.forget()
        script.send(b"a&.b&&c\r")
        bmc.node.wait_for(b"a&.b&&c\r")
        bmc.node.forget()
        script.send(b"abc&Bx")
        bmc.node.wait_for(b"x")
        bmc.node.wait_for(BREAK)
        bmc.node.send(b"kernel: \x80\xff panic")
        script.read_until(b"kernel: \x80\xff panic")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("admin", "wrong"), b"password invalid"),
        (("nobody", "password"), b"username invalid"),
    ],
)
def test_refusal_is_told_in_the_tools_words(
    installed: Installed, bmc: Bmc, words: tuple[str, ...], reason: bytes
) -> None:
    with login(installed, bmc, *words) as script:
        assert script.read_to_end() == b"Error: " + reason + b"\r\n"
        assert script.wait() == 1


def test_kg_is_given_and_shown_to_nobody(installed: Installed, tmp_path: Path) -> None:
    with Bmc(tmp_path, kg="kgsecret") as bmc:
        installed.passwords(b":admin:password:kgsecret\n")
        with Script(*installed.argv("ipmiconsole", bmc.host)) as script:
            script.read_until(OPEN)
            for pid in descendants(script.process.pid):
                for name in ("cmdline", "environ"):
                    assert b"kgsecret" not in Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.mark.parametrize("way", ["eof", "term", "hup"])
def test_however_it_ends_sol_is_deactivated(installed: Installed, bmc: Bmc, way: str) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        assert bmc.is_active
        if way == "eof":
            script.close()
        else:
            script.signal(signal.SIGTERM if way == "term" else signal.SIGHUP)
        script.wait(5)
        assert not bmc.is_active


def test_absent_bmc_is_told_in_the_tools_words(installed: Installed) -> None:
    installed.settings("ipmiconsole", session_timeout=20)
    with Script(*installed.argv("ipmiconsole", own_address(), "admin", "password")) as script:
        assert script.read_to_end() == b"Error: connection timeout\r\n"


def test_lost_bmc_ends_the_program_within_a_minute(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        bmc.stop()
        script.read_to_end(60)
        bmc.cont()
    with login(installed, bmc) as script:  # and it comes back
        script.read_until(OPEN)


def test_active_payload_is_no_obstacle(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as first, login(installed, bmc) as second:
        first.read_until(OPEN)
        second.read_until(OPEN)
