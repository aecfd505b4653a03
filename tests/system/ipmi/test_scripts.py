"""``engine = freeipmi``: consoles of ipmitool scripts without the scripts."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.bmc import Bmc
from tests.fakes.daemons import OURS, WORKERS
from tests.fakes.peers import installed_library
from tests.fakes.sites import Site

SETTINGS = """\
[ipmitool]
engine = freeipmi
workarounds = opensesspriv, solchannelsupport, solpayloadsize
password_file = {directory}/conman.pswd
port = {port}
"""


def test_a_script_is_not_run_but_its_console_is_up(tmp_path: Path) -> None:
    installed_library("libipmiconsole.so.2")
    with Site(OURS, tmp_path) as site:
        bmc = site.use(Bmc(tmp_path))
        site.path("exec.conf").write_text(SETTINGS.format(directory=tmp_path, port=bmc.port))
        site.path("conman.pswd").write_text(f"{bmc.host}:admin:password\n")
        site.path("conman.pswd").chmod(0o600)
        for name in ("ipmitool.exp", "ipmitool_exp.py"):
            site.program(name, "#!/bin/sh\necho started >>DIR/started\n".replace("DIR", str(tmp_path)))
        site.start(
            'server logdir="DIR"\n'
            f'console name="n1" dev="DIR/ipmitool.exp -c DIR/exec.conf {bmc.host} admin" log="%N.log"\n'
            f'console name="n2" dev="DIR/ipmitool_exp.py -c DIR/exec.conf {bmc.host} admin wrong" log="%N.log"\n'
        )
        site.daemon.wait_for("IPMI SOL engine started with 1 thread for" + ("" if WORKERS else " 2 consoles"))
        site.daemon.wait_for(f"Console [n1] connected to <{bmc.host}>")
        site.daemon.wait_for(f"Unable to connect to <{bmc.host}> via IPMI for [n2]: password invalid")
        client = site.session(b"CONNECT CONSOLE='n1'\n")
        client.send(b"\r")
        bmc.node.wait_for(b"\r")
        client.receive_until(b"node> ")
        site.leave(client)
        site.read_with("n1.log", b"node> ")
        assert not site.path("started").exists()
