"""Nobody answers: clients that say nothing, by the thousand, and a name server that is not there."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.addresses import own_address
from tests.fakes.daemons import OURS
from tests.fakes.namespaces import mounted, needs_root
from tests.fakes.sessions import GREETING, RawClient
from tests.fakes.sites import Site
from tests.system.test_fuzz import descriptors, resident_kib

CONSOLES = 'console name="c" dev="unix:DIR/c.sock"\nconsole name="d" dev="test:" testopts="b:0"\n'
QUERY = b"QUERY CONSOLE='c'\n"
ANSWER = b"OK CONSOLE='c'\n"
SILENT = 5000


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Descriptors for ``count`` connections, in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(f"the hard limit of {hard} open files leaves no room for {count} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.timeout(300)
def test_five_thousand_silent_connections_keep_nobody_waiting(tmp_path: Path) -> None:
    """Errata A4: each costs the original a thread, for ever."""
    with room_for(SILENT), Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        daemon = site.start(f"server nofile={SILENT + 1000}\n" + CONSOLES)
        node.accept()
        session = site.session(b"CONNECT CONSOLE='c'\n")
        before, memory = descriptors(daemon.pid), resident_kib(daemon.pid)
        with ExitStack() as silent:
            for _count in range(SILENT):
                silent.enter_context(RawClient(daemon.port))
            assert site.ask(QUERY) == ANSWER
            # All of them are in by now: connections are accepted in order.
            assert descriptors(daemon.pid) >= before + SILENT
            session.send(b"x.")
            assert node.receive_until(b".") == b"x."
            assert threads(daemon.pid) < 20
            assert resident_kib(daemon.pid) - memory < 16 * SILENT
        daemon.wait_for("Connection terminated by <", count=SILENT)
        assert site.ask(QUERY) == ANSWER
        assert descriptors(daemon.pid) <= before + 1
        session.send(b"y.")
        assert node.receive_until(b".") == b"y."


@needs_root
def test_a_name_server_that_does_not_answer_stops_nothing(tmp_path: Path) -> None:
    """Errata C7: the original's main loop waits for it."""
    with Site(OURS, tmp_path) as site, socket.socket(type=socket.SOCK_DGRAM) as name_server:
        name_server.bind((own_address(), 53))
        site.path("resolv.conf").write_text(f"nameserver {name_server.getsockname()[0]}\noptions timeout:30\n")
        site.path("nsswitch.conf").write_text("hosts: files dns\npasswd: files\ngroup: files\n")
        node = site.unix_peer("c.sock")
        unresolvable = "".join(f'console name="t{number}" dev="ts{number}.example.org:2001"\n' for number in range(20))
        daemon = site.start(
            CONSOLES + unresolvable,
            constants={"conmand.server.resolver.REVERSE_SECONDS": 0.5, "conmand.server.resolver.FORWARD_SECONDS": 1.0},
            prefix=mounted(
                *(site.path("resolv.conf"), "/etc/resolv.conf", site.path("nsswitch.conf"), "/etc/nsswitch.conf")
            ),
        )
        node.accept()
        name_server.recv(1024)  # somebody is waiting for an answer
        session = site.session(b"CONNECT CONSOLE='c'\n")
        session.send(b"x.")
        assert node.receive_until(b".") == b"x."
        # A client without a name among the files waits for a moment, then its address is its name.
        stranger = site.use(RawClient(daemon.port, source=own_address()))
        stranger.send(GREETING + QUERY)
        assert stranger.receive_all() == b"OK\n" + ANSWER
        daemon.wait_for("Client <root@127.", "issued query")
        daemon.wait_for('Unable to resolve hostname "ts')
        assert threads(daemon.pid) < 20
        # Neither does it hold up the end, though threads are waiting still.
        assert daemon.stop() == 0
