"""docs/moving-from-conman.md: there and back again, on one configuration and one set of logs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.docs.pages import REPOSITORY
from tests.fakes.daemons import ORIGINAL, OURS, start_daemon
from tests.fakes.sessions import RawClient

CONFIGURATION = """\
server logdir="{directory}" resetcmd="/bin/true %N"
global log="%N.log" logopts="sanitize,timestamp"
console name="node1" dev="test:" testopts="b:0"
console name="node2" dev="test:" testopts="b:0" logopts="nolock"
"""


def test_switching_and_switching_back_continues_the_logs(tmp_path: Path) -> None:
    config = tmp_path / "conman.conf"
    config.write_text(CONFIGURATION.format(directory=tmp_path))
    answers, logs = [], [b""]
    for kind in (ORIGINAL, OURS, ORIGINAL, OURS):
        with start_daemon(kind, config) as daemon, RawClient(daemon.port) as client:
            client.send(b"HELLO USER='joe'\nQUERY\n")
            answers.append(client.receive_all())
        logs.append((tmp_path / "node1.log").read_bytes())
        assert logs[-1].startswith(logs[-2]), "a log is continued, not begun anew"
        opened = rb"\r\n<ConMan> Console \[node1\] log opened at [^\r\n]*\.\r\n"
        assert re.fullmatch(opened, logs[-1][len(logs[-2]) :])
    assert set(answers) == {b"OK\nOK OPTION=RESET CONSOLE='node1' CONSOLE='node2'\n"}


def test_the_copy_for_a_trial_has_nothing_of_the_original(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "moving-from-conman.md").read_text()
    command = re.search(r"(?ms)^    (sed -E .*?copy\.conf)$", page)
    assert command is not None
    site = REPOSITORY / "tests" / "system" / "sites" / "conman.conf"
    script = command[1].replace("/etc/conman.conf", str(site))
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    copy = (tmp_path / "copy.conf").read_text()
    assert len(re.findall(r'(?m)^console name="server-\d" dev="test:"$', copy)) == 3
    assert "/var/" not in copy
    assert "pidfile" not in copy
