"""Twenty thousand polite sessions come and go, and leave nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest

from tests.fakes.daemons import OURS
from tests.fakes.sites import Site
from tests.fakes.swarm import Conversation, Swarm
from tests.system.test_fuzz import descriptors, resident_kib

CONNECTIONS = int(os.environ.get("CONMAN_FUZZ_CONNECTIONS", "20000"))
GREETING = b"HELLO USER='root' TTY='pts/0'\n"
SESSIONS = (
    GREETING + b"QUERY\n",
    GREETING + b"MONITOR CONSOLE='n1'\n",
    GREETING + b"CONNECT OPTION=JOIN CONSOLE='n2'\nkeys\xff?",
    GREETING + b"CONNECT OPTION=FORCE CONSOLE='n3'\n\xffL",
    GREETING + b"CONNECT OPTION=JOIN OPTION=BROADCAST CONSOLE='n4' CONSOLE='n5'\nkeys",
)


@pytest.mark.timeout(400)  # some 20 s of work, on however busy a machine
def test_sessions_that_come_and_go_cost_nothing_that_lasts(tmp_path: Path) -> None:
    consoles = "".join(
        f'console name="n{number}" dev="test:" testopts="b:0" log="n{number}.log"\n' for number in range(6)
    )
    with Site(OURS, tmp_path) as site:
        site.start('server logdir="DIR"\n' + consoles)
        pid = site.daemon.pid
        site.ask(b"QUERY\n")
        before = descriptors(pid)
        memory: List[int] = []
        swarm = Swarm(site.daemon.port, width=8)
        conversations = (Conversation((SESSIONS[number % len(SESSIONS)],)) for number in range(CONNECTIONS))
        for ended in swarm.run(conversations):
            if ended % 1000 == 0 and ended >= CONNECTIONS // 4:
                memory.append(resident_kib(pid))
        assert swarm.ended == CONNECTIONS
        while descriptors(pid) > before:
            site.ask(b"QUERY\n")
        assert memory[-1] - memory[0] <= 2048, memory
