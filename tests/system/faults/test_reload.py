"""Reloads when something is going wrong already: workers that die or hang, no descriptors; and very many reloads."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import List

import pytest

from tests.system.test_fuzz import descriptors, resident_kib
from tests.system.test_reload import GLOBAL, Changing, consoles
from tests.system.test_workers import QUICK, workers_of

RELOADS = int(os.environ.get("CONMAN_RELOADS", "120"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_fails_during_a_reload_comes_back_with_the_new_configuration(number: int, tmp_path: Path) -> None:
    """Also one that only stands still, which the reload waits for until it counts as hung."""
    with Changing(tmp_path, 2) as site:
        names = ("a", "b", "c", "d")
        peers = dict(zip(names, site.nodes(*names)))
        site.begin(GLOBAL + consoles(*names), constants=QUICK)
        for name, peer in peers.items():
            site.up(name, peer)
        new = site.unix_peer("new.sock")
        site.edit(GLOBAL + consoles("a", "b", "c", "new"))
        for pid in workers_of(site.daemon.pid):
            os.kill(pid, number)
        status, lines = site.ask_to_reload()
        assert (status, lines) == (0, ["Added console [new]", "Removed console [d]"])
        site.up("new", new)
        for name in ("a", "b", "c"):
            site.up(name, peers[name], count=2)
        assert site.names == b"OK CONSOLE='a' CONSOLE='b' CONSOLE='c' CONSOLE='new'\n"
        for name in ("a", "new"):
            client = site.connect(name)
            client.send(b"key.")
            assert (new if name == "new" else peers[name]).receive_until(b".") == b"key."


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_without_a_free_descriptor_is_refused_and_succeeds_later(workers: int, tmp_path: Path) -> None:
    with Changing(tmp_path, workers) as site:
        (peer,) = site.nodes("c")
        base = "server nofile=64\n" + GLOBAL
        site.begin(base + consoles("c"))
        site.up("c", peer)
        client = site.connect("c")
        site.edit(base + consoles("c", "d"), by_rename=True)  # a file that it has not open
        limit = descriptors(site.daemon.pid)
        resource.prlimit(site.daemon.pid, resource.RLIMIT_NOFILE, (limit, 64))
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("Performing reconfig")
        client.send(b"still here.")
        assert peer.receive_until(b".") == b"still here."
        resource.prlimit(site.daemon.pid, resource.RLIMIT_NOFILE, (64, 64))
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("is reloaded: 1 console added")
        assert site.names == b"OK CONSOLE='c' CONSOLE='d'\n"


@pytest.mark.timeout(300)
def test_reloads_without_end_cost_nothing_that_lasts(tmp_path: Path) -> None:
    with Changing(tmp_path, 1) as site:
        (peer,) = site.nodes("steady")
        steady = GLOBAL + consoles("steady")
        site.begin(steady)
        site.up("steady", peer)
        client = site.connect("steady")
        memory: List[int] = []
        open_files: List[int] = []
        for number in range(RELOADS):
            kind = ('"/bin/cat"', '"test:" testopts="b:1"', '"unix:DIR/none.sock"')[number % 3]
            line = f'console name="n%d" dev={kind}\n'
            site.edit(steady + "".join((line % one).replace("none", f"none{one}") for one in range(20)))
            os.utime(site.path("conman.conf"), (number, number))  # it need not be waited for
            site.hang_up()
            client.send(b"%d." % number)
            assert peer.receive_until(b".") == b"%d." % number
            if number % 3 == 1 and number > RELOADS // 3:  # those without programs
                memory.append(resident_kib(site.daemon.pid))
                open_files.append(descriptors(site.daemon.pid))
        assert memory[-1] - memory[0] <= 2048, memory
        assert max(open_files) - min(open_files) <= 2, open_files
        assert site.daemon.count("[steady]") == 2
