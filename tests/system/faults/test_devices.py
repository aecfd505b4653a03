"""A device's program stops, in the middle: its console waits, and nobody else does."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from tests.fakes.daemons import OURS
from tests.fakes.files import PATIENCE_SECONDS, read_with
from tests.fakes.sites import Site

CONFIG = 'server logdir="DIR"\nglobal log="%N.log"\n'


def test_a_stopped_program_holds_only_its_own_console(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        program = site.program("echoer", f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec cat\n")
        peer = site.unix_peer("c")
        site.start(CONFIG + f'console name="p" dev="{program}"\nconsole name="c" dev="unix:DIR/c"\n')
        peer.accept()
        pid = int(read_with(tmp_path / "pid", b"\n"))
        writer = site.session(b"CONNECT CONSOLE='p'\n")
        writer.send(b"first.")
        writer.receive_until(b"first.")
        os.kill(pid, signal.SIGSTOP)
        writer.send(b"x" * 300_000 + b"end.")  # more than the program's input and the daemon's buffer hold
        other = site.session(b"CONNECT CONSOLE='c'\n")
        other.send(b"to c.")
        assert peer.receive_until(b".") == b"to c."
        peer.send(b"from c.")
        other.receive_until(b"from c.")
        assert site.ask(b"QUERY\n") == b"OK CONSOLE='c' CONSOLE='p'\n"
        os.kill(pid, signal.SIGCONT)
        writer.receive_until(b"end.")
        assert writer.received.count(b"x") == 300_000


def test_a_stopped_program_does_not_hold_the_daemons_end(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        program = site.program("sleeper", "#!/bin/sh\necho here $$!\nexec cat\n")
        site.start(
            CONFIG + f'console name="p" dev="{program}"\n', constants={"conmand.server.site.CHILDREN_SECONDS": 0.3}
        )
        pid = int(site.read_with("p.log", b"!").split(b"here ")[1].split(b"!")[0])
        process = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGSTOP)
            assert site.daemon.stop() == 0
            assert select.select([process], [], [], PATIENCE_SECONDS)[0], "the program is still there"
        finally:
            os.close(process)
