"""ipmitool_exp.py against a simulated BMC, run as the daemon runs it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fakes.addresses import own_address
from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.installed import Installed
from tests.fakes.script import Script, descendants

OPEN = b"Connection established via ipmitool (pid "
BANNER = b"[SOL Session operational."


def login(installed: Installed, bmc: Bmc, *words: str) -> Script:
    return Script(*installed.argv("ipmitool", bmc.host, *(words or (bmc.user, bmc.password))))


def wake(script: Script, bmc: Bmc) -> None:
    """A CR through to the node and its answer back: the simulator may swallow the first one of a session."""
    script.send(b"\r")
    try:
        script.read_until(b"node> ", 0.5)
    except AssertionError:
        script.send(b"\r")
        script.read_until(b"node> ")


def test_login_and_data_both_ways(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        script.read_until(b").\r\n")
        wake(script, bmc)
        bmc.node.forget()
        script.send(b"echo \xe9\xff\0&. &&\r&.\r&?\r")
        script.read_until(b"&?\r\nnode> ")
        bmc.node.wait_for(b"echo \xe9\xff\0&. &&\r&.\r&?\r")
        bmc.node.send(b"kernel: \x80\xff panic")
        script.read_until(b"kernel: \x80\xff panic")


def test_user_and_password_come_from_the_password_file(installed: Installed, bmc: Bmc) -> None:
    installed.passwords(b"other:root:x\n127[.].* : admin : password\n")
    with Script(*installed.argv("ipmitool", bmc.host)) as script:
        script.read_until(OPEN)


def test_break_reaches_the_node_at_any_point_of_a_line(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        wake(script, bmc)
        for typed in (b"abc&Bx", b"&Bx", b"\r&B&Bx"):
            bmc.node.forget()
            script.send(typed)
            bmc.node.wait_for(b"x")
            bmc.node.wait_for(BREAK)


@pytest.mark.parametrize("words", [("admin", "wrong"), ("nobody", "password"), ("admin", "password", "kgwrong")])
def test_refusal_is_told_in_the_tools_words(installed: Installed, bmc: Bmc, words: tuple[str, ...]) -> None:
    with login(installed, bmc, *words) as script:
        assert script.read_to_end() == b"Error: Unable to establish IPMI v2 / RMCP+ session\r\n"
        assert script.wait() == 1


def test_absent_bmc_is_told_in_the_tools_words(installed: Installed) -> None:
    installed.settings("ipmitool", retries=1)
    with Script(*installed.argv("ipmitool", own_address(), "admin", "password")) as script:
        assert script.read_to_end() == b"Error: Unable to establish IPMI v2 / RMCP+ session\r\n"


def test_missing_tool_is_told(installed: Installed) -> None:
    installed.settings("ipmitool", command="no-such-tool")
    with Script(*installed.argv("ipmitool", "h", "u", "p")) as script:
        end = script.read_to_end()
    assert end == b'Error: couldn\'t execute "no-such-tool": no such file or directory.\r\n'


def test_kg_is_given_and_shown_to_nobody(installed: Installed, tmp_path: Path) -> None:
    with Bmc(tmp_path, kg="kgsecret") as bmc:
        installed.passwords(b":admin:password:kgsecret\n")
        with Script(*installed.argv("ipmitool", bmc.host, "admin")) as script:
            script.read_until(OPEN)
            for pid in descendants(script.process.pid):
                for name in ("cmdline", "environ"):
                    shown = Path(f"/proc/{pid}/{name}").read_bytes()
                    assert b"kgsecret" not in shown and b"password\0" not in shown


@pytest.mark.parametrize("relay", ["yes", "no"])
def test_active_payload_is_taken_over(installed: Installed, bmc: Bmc, relay: str) -> None:
    with login(installed, bmc) as first:
        first.read_until(OPEN)
        installed.settings("ipmitool", relay=relay)
        with login(installed, bmc) as second:
            second.read_until(OPEN if relay == "yes" else BANNER)
        # The first notices by its keep-alive.
        assert b"SOL" in first.read_to_end(60) or first.process.wait(5) is not None


def test_active_payload_is_respected_without_override(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as first:
        first.read_until(OPEN)
        installed.settings("ipmitool", session_override="no")
        with login(installed, bmc) as second:
            assert second.read_to_end() == b"Error: Console session already in use.\r\n"


@pytest.mark.parametrize("relay", ["yes", "no"])
@pytest.mark.parametrize("way", ["eof", "term", "hup", "term and eof"])
def test_however_it_ends_sol_is_deactivated(installed: Installed, bmc: Bmc, way: str, relay: str) -> None:
    installed.settings("ipmitool", relay=relay)
    with login(installed, bmc) as script:
        script.read_until(OPEN if relay == "yes" else BANNER)
        assert bmc.is_active
        bmc.node.send(b"x" * 200)
        if way in ("eof", "term and eof"):
            script.close()
        if way != "eof":
            script.signal(signal.SIGHUP if way == "hup" else signal.SIGTERM)
        if relay == "no":
            script.close()  # ipmitool ignores signals, which would leave SOL active, and ends with the daemon's side
        script.wait(5)
        assert not bmc.is_active


def test_killed_relay_leaves_sol_deactivated(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        (tool,) = set(descendants(script.process.pid)) - {script.process.pid}
        script.process.kill()
        script.read_to_end()
        script.wait()  # its end of file comes before its end, and only that makes an orphan
        os.waitpid(tool, 0)  # an orphan is the test's child
        assert not bmc.is_active


def test_lost_bmc_ends_the_program_within_a_minute(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        wake(script, bmc)
        bmc.stop()
        script.read_to_end(60)
        assert script.wait() == 0
        bmc.cont()
    with login(installed, bmc) as script:  # and it comes back
        script.read_until(OPEN)


def test_short_silence_of_the_bmc_is_survived(installed: Installed, bmc: Bmc) -> None:
    with login(installed, bmc) as script:
        script.read_until(OPEN)
        wake(script, bmc)
        bmc.stop()
        bmc.node.send(b"while silent")
        bmc.cont()
        script.read_until(b"while silent")


def test_without_a_relay_the_program_becomes_ipmitool(installed: Installed, bmc: Bmc) -> None:
    installed.settings("ipmitool", relay="no")
    with login(installed, bmc) as script:
        script.read_until(BANNER)
        assert descendants(script.process.pid) == [script.process.pid]
        assert os.readlink(f"/proc/{script.process.pid}/exe").endswith("/ipmitool")
        script.read_until(b"\n")
        wake(script, bmc)
        bmc.node.forget()
        script.send(b"&Bx")
        bmc.node.wait_for(BREAK + b"x")


def test_daemon_that_goes_during_the_login_ends_the_program(installed: Installed) -> None:
    with Script(*installed.argv("ipmitool", own_address(), "admin", "password")) as script:
        while len(descendants(script.process.pid)) < 2:
            pass
        tool = next(pid for pid in descendants(script.process.pid) if pid != script.process.pid)
        script.close()
        script.wait(5)
        os.kill(tool, signal.SIGKILL)  # it would ask its absent BMC for 6 s
        os.waitpid(tool, 0)


def test_originals_name_starts_our_script(installed: Installed, bmc: Bmc) -> None:
    with Script(str(installed.directory / "ipmitool.exp"), bmc.host, "admin", "password") as script:
        script.read_until(OPEN)
