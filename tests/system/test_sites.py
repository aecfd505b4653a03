"""The configurations of real sites, as their administrators wrote them, and IPMI serial-over-LAN from key to log.

The files in ``sites`` are untouched but for addresses and paths, which each test replaces by private ones.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Dict

import pytest

from tests.fakes.background import background
from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.client_terminal import Terminal
from tests.fakes.daemons import ORIGINAL, OURS, REPOSITORY
from tests.fakes.devices import write_program
from tests.fakes.files import read_with
from tests.fakes.peers import installed_program, original_script
from tests.fakes.sessions import ask, open_session
from tests.fakes.sites import Site

SITES = Path(__file__).parent / "sites"


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
def test_an_ipmitool_session_is_typed_into_and_logged(kind: str, tmp_path: Path) -> None:
    with Bmc(tmp_path) as bmc, Site(kind, tmp_path / kind) as site:
        password = site.path("password")
        password.write_text(bmc.password)
        password.chmod(0o600)
        command = f"{installed_program('ipmitool')} -e & -I lanplus -C 3 -H {bmc.host} -p {bmc.port} -U {bmc.user}"
        site.start(
            'server logdir="DIR"\nglobal log="%N.log" logopts="sanitize,timestamp"\n'
            f'console name="node" dev="{command} -f {password} sol activate"\n'
        )
        with Terminal(site.daemon.port, ["node"]) as terminal:
            terminal.expect_opened()
            bmc.node.send(b"\r\nboot messages\r\nlogin: ")  # it has one speaker and no listener until SOL is up
            terminal.type(b"\r")
            terminal.expect(b"node> ")
            terminal.type(b"uname -a")
            terminal.expect(b"uname -a")
            terminal.type(b"\r")
            terminal.expect(b"node> ")
            terminal.type(b"&B")
            terminal.type(b"t")
            bmc.node.wait_for(BREAK + b"t")
            terminal.type(b"&.")
            assert terminal.end() == 0
        log = site.read_with("node.log", b"departed by")
        assert b"uname -a\r\n" in log
        assert bmc.password not in "\n".join(site.daemon.lines)
        site.daemon.stop()
        if kind == ORIGINAL:  # does not wait for its programs
            os.waitpid(int(re.findall(rb"connected to .ipmitool. \(pid (\d+)", log)[0]), 0)
        if kind == OURS:
            # ipmitool saw the end of its input and said good-bye to the BMC, which so takes the next session at once.
            assert "already de-activated" in bmc.ipmitool("sol", "deactivate")


def private_copy(name: str, directory: Path, changes: Dict[str, str]) -> Path:
    """A site's file with private addresses and paths; ``changes`` are made first."""
    text = (SITES / name).read_text()
    for old, new in {**changes, "/var/log": f"{directory}/log", "/var/run": f"{directory}/run"}.items():
        assert old in text or old.startswith("/var"), old
        text = text.replace(old, new)
    (directory / name).write_text(text)
    return directory / name


def test_a_site_of_expect_scripts_runs_as_it_is(tmp_path: Path) -> None:
    """The scripts are the original's. Without a password in /etc/conman.pswd each says so and ends."""
    config = private_copy(
        "conman.conf",
        tmp_path,
        {"192.168.1.1": "127.0.0.1", "/usr/share/conman/exec/ipmitool.exp": str(original_script("ipmitool.exp"))},
    )
    log = tmp_path / "log"
    with background(OURS, config, logfile=log / "conman.log") as daemon:
        assert daemon.start == (0, b"", b"")
        assert (tmp_path / "run" / "conman.pid").read_text() == f"{daemon.pid}\n"
        names = b"CONSOLE='server-0' CONSOLE='server-1' CONSOLE='server-2'"
        assert ask(daemon.port, b"QUERY CONSOLE='server-*'\n") == b"OK OPTION=RESET " + names + b"\n"
        for number in range(3):
            console = read_with(log / "conman" / f"server-{number}.log", b"Error: ")
            assert b'connected to "ipmitool.exp" (pid ' in console
    assert "Stopping ConMan daemon" in (log / "conman.log").read_text()


def test_a_site_of_native_ipmi_consoles_runs_as_it_is(tmp_path: Path) -> None:
    config = private_copy("conman_192.168.1.1_7900.conf", tmp_path, {"192.168.1.1": "127.0.0.1"})
    logfile = tmp_path / "log" / "conman_7900.log"
    with background(OURS, config, logfile=logfile) as daemon:
        assert daemon.start == (0, b"", b"")
        assert ask(daemon.port, b"QUERY\n").count(b"CONSOLE=") == 4
        with open_session(daemon.port, b"MONITOR CONSOLE='server-4'\n") as session:
            session.receive_until(b"Console [server-4] is currently disconnected from <127.0.0.14>.\r\n")
        for number in range(1, 5):
            read_with(tmp_path / "log" / "conman" / f"server-{number}.log", b"log opened")
    for path in (tmp_path / "log").rglob("*.log"):
        assert b"test_pass" not in path.read_bytes()


def test_a_simple_site_runs_as_it_is(tmp_path: Path) -> None:
    """Its script, which is ours, is found by name alone; here in the directory in which the daemon starts."""
    write_program(
        tmp_path / "ipmitool_exp.py",
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from conman_exec.ipmitool_exp import main\nsys.exit(main())\n",
    )
    private_copy("conman_simple.conf", tmp_path, {"192.168.1.1": "127.0.0.1"})
    with Site(OURS, tmp_path) as site:
        site.start((tmp_path / "conman_simple.conf").read_text())
        assert site.ask(b"QUERY\n") == b"OK CONSOLE='server-1' CONSOLE='server-2'\n"
        log = site.read_with("log/conman/server-2.log", b"Error: ")
        assert b'connected to "ipmitool_exp.py".' in log  # it runs in the daemon, and has started no tool
