"""Device scripts inside our daemon, against simulated BMCs: one process for each console, and else as the program."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.daemons import OURS
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.installed import Installed
from tests.fakes.peers import installed_program
from tests.fakes.script import descendants
from tests.fakes.sites import Seen, Site, run_on_both
from tests.system.exec.test_ipmiconsole import WORKAROUNDS

OPEN = b"Connection established via ipmitool (pid "

# Takes what ipmitool would, and is up at once.
FAKE_TOOL = """\
#!/bin/sh
echo "[SOL Session operational.  Use &? for help]"
exec cat
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(OURS, tmp_path / "site") as ours:
        yield ours


def line(installed: Installed, name: str, script: str, *words: str) -> str:
    return f'console name="{name}" dev="{" ".join(installed.argv(script, *words))}" log="DIR/%N.log"\n'


def up(site: Site, installed: Installed, bmc: Bmc) -> None:
    """A daemon with a console of the BMC, whose session is open."""
    site.start(line(installed, "c", "ipmitool", bmc.host, bmc.user, bmc.password))
    site.read_with("c.log", OPEN)


def programs(pid: int) -> List[str]:
    """The names of all processes below ``pid``, without the daemon's own workers."""
    below = [child for child in descendants(pid) if child != pid]
    below = [child for child in below if b"workers" not in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in below]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


def test_console_costs_one_process_and_its_sol_is_deactivated(site: Site, installed: Installed, bmc: Bmc) -> None:
    up(site, installed, bmc)
    until(lambda: programs(site.daemon.pid) == ["ipmitool"])
    assert bmc.is_active
    tools = [pid for pid in descendants(site.daemon.pid) if pid != site.daemon.pid]
    site.daemon.stop()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in tools)
    assert not bmc.is_active


@pytest.mark.parametrize("given", ["in the configuration", "in the password file"])
def test_password_is_in_no_log_status_or_list_of_processes(
    site: Site, installed: Installed, given: str, tmp_path: Path
) -> None:
    with Bmc(tmp_path, password="Unguessable9") as bmc:
        words = [bmc.host, bmc.user, *([bmc.password] if given == "in the configuration" else [])]
        installed.passwords(f"{bmc.host}:{bmc.user}:{bmc.password}\n".encode())
        site.start('server logfile="DIR/conmand.log,debug"\n' + line(installed, "c", "ipmitool", *words))
        site.read_with("c.log", OPEN)
        shown = [site.path("c.log").read_bytes()]
        shown += [site.ask(b"QUERY OPTION=STATUS CONSOLE='c'\n"), "\n".join(site.daemon.lines).encode()]
        for pid in [site.daemon.pid, *descendants(site.daemon.pid)]:
            shown += [Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ")]
        assert b"ipmitool" in b"".join(shown)
        assert not [text for text in shown if b"Unguessable9" in text]
        site.daemon.stop()


def test_bytes_pass_unchanged_and_a_break_works_anywhere_in_a_line(site: Site, installed: Installed, bmc: Bmc) -> None:
    up(site, installed, bmc)
    bmc.node.send(b"kernel: \x80\xff panic")
    site.read_with("c.log", b"kernel: \x80\xff panic")
    client = site.session(b"CONNECT CONSOLE='c'\n")
    client.send(b"\r")
    bmc.node.wait_for(b"\r")
    client.receive_until(b"node> ")
    # ff is the protocol's own escape and is sent twice; "&B" is two keys, "&." would end the tool if it got through.
    client.send(b"echo \xe9\xff\xff\0&. && &B\r&.\r&B\r")
    client.receive_until(b"&B\r\nnode> ")
    bmc.node.wait_for(b"echo \xe9\xff\0&. && &B\r&.\r&B\r")
    assert BREAK not in bmc.node.received
    for typed in (b"abc\xffBx", b"\xffBx", b"\r\xffB\xffBx"):
        bmc.node.forget()
        client.send(typed)
        bmc.node.wait_for(b"x")
        bmc.node.wait_for(BREAK)
    site.leave(client)


@pytest.mark.parametrize("case", ["session", "wrong password", "no password", "no tool"])
def test_log_and_notices_are_those_of_the_program_under_the_original(tmp_path: Path, case: str) -> None:
    """The same script: inside our daemon, and run by the original. Numbers of processes are masked."""

    def scenario(site: Site) -> Seen:
        prefix = site.path("prefix")
        prefix.mkdir()
        installed = Installed(prefix)
        if case == "no tool":
            installed.settings("ipmitool", command="no-such-tool")
        bmc = site.use(Bmc(site.directory))
        passwords = {"wrong password": b":admin:wrong\n", "no password": b""}.get(case, b":admin:password\n")
        installed.passwords(passwords)
        site.start(line(installed, "c", "ipmitool", bmc.host, bmc.user))
        if case != "session":
            site.daemon.wait_for('Console [c] disconnected from "ipmitool_exp.py"')
            return {"log": site.path("c.log")}
        site.read_with("c.log", OPEN)
        bmc.node.send(b"the node speaks\r\n")
        site.read_with("c.log", b"the node speaks\r\n")
        client = site.session(b"CONNECT CONSOLE='c'\n")
        client.send(b"\r")
        seen = client.receive_until(b"node> ")
        assert bmc.ipmitool("sol", "deactivate") == ""
        client.send(b"x")  # else it is noticed when ipmitool asks for the next time
        seen += client.receive_until(b"disconnected from")
        return {"log": site.path("c.log"), "client": seen + site.leave(client)}

    original, ours = run_on_both(scenario, tmp_path)
    if case.startswith("no "):  # without a tool there is no process, and no number
        original = {name: str(value).replace(" (pid N)", "") for name, value in original.items()}
        ours = {name: str(value) for name, value in ours.items()}
    assert ours == original


def test_session_that_was_lost_is_opened_again(site: Site, installed: Installed, bmc: Bmc) -> None:
    up(site, installed, bmc)
    client = site.session(b"CONNECT CONSOLE='c'\n")
    client.send(b"\r")
    client.receive_until(b"node> ")
    bmc.power_off()
    client.send(b"x")
    client.receive_until(b'disconnected from "ipmitool_exp.py"')
    site.leave(client)
    # It may be off for long: the next attempt is in a minute, or when somebody comes.
    bmc.power_on()
    client = site.session(b"CONNECT CONSOLE='c'\n")
    client.receive_until(OPEN)
    bmc.node.send(b"back again")
    client.receive_until(b"back again")
    site.leave(client)


def test_short_silence_of_the_bmc_is_survived(site: Site, installed: Installed, bmc: Bmc) -> None:
    up(site, installed, bmc)
    bmc.stop()
    bmc.node.send(b"while silent")
    bmc.cont()
    site.read_with("c.log", b"while silent")
    assert site.daemon.count("disconnected from") == 0


def test_ipmiconsole_ends_its_session_when_the_daemon_stops(site: Site, installed: Installed, bmc: Bmc) -> None:
    installed_program("ipmiconsole")
    installed.settings("ipmiconsole", workarounds=WORKAROUNDS, cipher_suite=3)
    site.start(line(installed, "c", "ipmiconsole", bmc.host, bmc.user, bmc.password))
    site.read_with("c.log", b"Connection established via ipmiconsole (pid ")
    assert bmc.is_active
    site.daemon.stop()
    assert not bmc.is_active


def test_changed_copy_runs_as_a_program(site: Site, installed: Installed, bmc: Bmc) -> None:
    launcher = (installed.prefix / "bin" / "ipmitool_exp.py").read_text()
    copy = site.program("ipmitool_exp.py", launcher.replace("import sys\n", "import sys\nprint('mine', flush=True)\n"))
    words = " ".join([str(copy), *installed.argv("ipmitool", bmc.host, bmc.user, bmc.password)[1:]])
    site.start(f'console name="c" dev="{words}" log="DIR/%N.log"\n')
    assert b"mine" in site.read_with("c.log", OPEN)
    until(lambda: len(programs(site.daemon.pid)) == 2)


def test_many_consoles_log_in_and_leave_nothing(site: Site, installed: Installed) -> None:
    tool = site.program("tool", FAKE_TOOL)
    installed.settings("ipmitool", command=str(tool))
    count = 120
    site.start("".join(line(installed, f"c{number:03}", "ipmitool", "h", "u", "p") for number in range(count)))
    for number in range(count):
        site.read_with(f"c{number:03}.log", OPEN)
    assert programs(site.daemon.pid) == ["cat"] * count
    client = site.session(b"CONNECT CONSOLE='c*' OPTION=BROADCAST\n")
    client.send(b"hello all\r")
    site.leave(client)
    for number in range(count):
        site.read_with(f"c{number:03}.log", b"hello all")
    tools = [pid for pid in descendants(site.daemon.pid) if pid != site.daemon.pid]
    site.daemon.stop()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in tools)
