"""Several processes behind one port: one daemon to everybody outside, also when a part of it dies."""

from __future__ import annotations

import json
import os
import re
import select
import signal
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.fakes.daemons import OURS, masked, masked_log
from tests.fakes.devices import Peer
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.sites import Site

NAMES = ("a", "b", "c", "d")
CONFIG = 'server logdir="DIR"\nglobal log="%N.log"\n' + "".join(
    f'console name="{name}" dev="unix:DIR/{name}.sock"\n' for name in NAMES
)
CATS = 'server logdir="DIR"\nglobal log="%N.log"\n' + "".join(
    f'console name="{name}" dev="/bin/cat"\n' for name in NAMES
)
ALL = b"CONSOLE='a' CONSOLE='b' CONSOLE='c' CONSOLE='d'\n"

QUICK = {"conmand.server.workers.process.PING_SECONDS": 0.2}
"""A hung worker is found after a second."""


def nodes(site: Site, workers: int, config: str = CONFIG, **options: Any) -> Dict[str, Peer]:
    peers = {name: site.unix_peer(f"{name}.sock") for name in NAMES}
    site.start(config, "--workers", str(workers), **options)
    for name, peer in peers.items():
        peer.accept()
        site.daemon.wait_for(f"[{name}] connected")
    return peers


def cats(site: Site, workers: int, *options: str, **more: Any) -> Dict[str, int]:
    """The pids of four consoles' programs."""
    site.start(CATS, "--workers", str(workers), *options, **more)
    return {name: program(site, name) for name in NAMES}


def program(site: Site, name: str, count: int = 1) -> int:
    found = re.search(r"\(pid (\d+)\)", site.daemon.wait_for(f'Console [{name}] connected to "cat"', count=count))
    assert found
    return int(found[1])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def until_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], PATIENCE_SECONDS)[0], f"process {pid} does not end"
    os.close(fd)


def workers_of(daemon_pid: int) -> List[int]:
    found = []
    for task in Path(f"/proc/{daemon_pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if b"bootstrap" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


# One daemon to the outside.


def conversation(site: Site, workers: int) -> Dict[str, bytes]:
    """A broadcast that meets, shares, steals and is robbed, and all that others see of it."""
    peers = nodes(site, workers, 'server resetcmd="true"\n' + CONFIG)
    monitor = site.session(b"MONITOR CONSOLE='b'\n", user="moni", tty="pts/1")
    writer = site.session(b"CONNECT CONSOLE='c'\n", user="wri", tty="pts/2")
    refused = site.ask(b"CONNECT OPTION=BROADCAST " + ALL)
    joined = site.session(b"CONNECT OPTION=BROADCAST OPTION=JOIN " + ALL, user="bro", tty="pts/3")
    joined.receive_until(b"joined with <wri@localhost>")
    joined.send(b"to all.")
    keys = b"".join(peers[name].receive_until(b".") for name in NAMES)
    thief = site.session(b"CONNECT OPTION=FORCE CONSOLE='d'\n", user="thi", tty="pts/4")
    thief.receive_until(b"stolen from <bro@localhost>")
    joined.receive_until(b"stolen by <thi@localhost>")
    joined.receive_until(b"\r\n")
    joined.send(b"\xffQ")
    joined.receive_until(b"Quiet-mode enabled")
    joined.send(b"still three.")
    keys += b"".join(peers[name].receive_until(b".") for name in NAMES[:3])
    stealing = site.session(b"CONNECT OPTION=BROADCAST OPTION=FORCE " + ALL, user="ste", tty="pts/5")
    end_of_joined, end_of_writer, end_of_thief = (one.receive_all() for one in (joined, writer, thief))
    assert b"stolen" in end_of_writer + end_of_thief
    stealing.send(b"mine.")
    keys += b"".join(peers[name].receive_until(b".") for name in NAMES)
    status = [json.loads(line) for line in site.ask(b"QUERY OPTION=STATUS\n").splitlines()[1:]]
    busy = [(one["console"], [(client["user"], client["mode"]) for client in one["clients"]]) for one in status]
    stealing.send(b"\xffR")
    for _name in NAMES:
        stealing.receive_until(b"reset by <ste@localhost>")  # by different processes, and so in no order
    peers["a"].close()
    stealing.receive_until(b"[a] disconnected")
    late = site.ask(b"CONNECT OPTION=BROADCAST " + ALL)
    monitor.receive_until(b"reset by <ste@localhost>")
    site.leave(stealing)
    monitor.receive_until(b"departed by")
    monitor.receive_until(b"\r\n")
    site.leave(monitor)
    seen = {
        "refused": refused,
        "joined": b"".join(sorted(joined.received.splitlines())) + end_of_joined,
        "writer": writer.received,
        "thief": thief.received,
        "stealing": b"".join(sorted(stealing.received.splitlines())),
        "stealing begins": stealing.received.partition(b"<thi@localhost>")[0],
        "monitor": monitor.received,
        "late": late,
        "keys": keys,
        "busy": repr(busy).encode(),
    }
    site.daemon.stop()
    seen["log"] = "\n".join(sorted(masked_log(site.daemon, site.directory))).encode()
    for name in NAMES:
        seen[f"{name}.log"] = site.path(f"{name}.log").read_bytes()
    return {key: masked(value, site.directory) for key, value in seen.items()}


def test_a_broadcast_over_workers_is_as_in_one_process(tmp_path: Path) -> None:
    seen = []
    for workers in (1, 2, 4):
        with Site(OURS, tmp_path / str(workers)) as site:
            seen.append(conversation(site, workers))
    for part, bytes_of_one in seen[0].items():
        assert seen[1][part] == bytes_of_one, part
        assert seen[2][part] == bytes_of_one, part


def test_the_front_is_the_daemon_and_the_workers_tell_no_secrets(tmp_path: Path) -> None:
    config = CATS + 'console name="e" dev="ipmi:127.0.0.1" ipmiopts="U:admin,P:seCret99"\n'
    with Site(OURS, tmp_path) as site:
        site.start(config, "--workers", "3", "-P", str(tmp_path / "pid"))
        for name in NAMES:
            program(site, name)
        assert (tmp_path / "pid").read_text() == f"{site.daemon.pid}\n"
        workers = workers_of(site.daemon.pid)
        assert len(workers) == 3
        for pid in workers:
            for file in ("cmdline", "environ"):
                assert b"seCret99" not in Path(f"/proc/{pid}/{file}").read_bytes()
        assert site.ask(b"QUERY\n") == b"OK CONSOLE='a' CONSOLE='b' CONSOLE='c' CONSOLE='d' CONSOLE='e'\n"


def test_a_worker_without_consoles_is_no_process(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.start('console name="a" dev="/bin/cat"\n', "--workers", "4")
        program(site, "a")
        assert len(workers_of(site.daemon.pid)) == 1


def test_one_process_has_no_others(tmp_path: Path) -> None:
    for number, options in enumerate((("--workers", "1"), ("--workers", "auto"))):
        with Site(OURS, tmp_path / str(number)) as site:
            site.start('console name="a" dev="/bin/cat"\n', *options)
            assert parent(program(site, "a")) == site.daemon.pid
            assert workers_of(site.daemon.pid) == []


def test_a_hangup_reopens_the_logs_of_all_workers(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peers = nodes(site, 4)
        for name, peer in peers.items():
            peer.send(b"before")
            site.read_with(f"{name}.log", b"before")
            site.path(f"{name}.log").rename(site.path(f"{name}.old"))
        site.daemon.signal(signal.SIGHUP)
        for name, peer in peers.items():
            site.read_with(f"{name}.log", b"log opened")
            peer.send(b"after")
            assert b"before" not in site.read_with(f"{name}.log", b"after")
        assert site.daemon.count("Performing reconfig") == 1


def test_clients_of_all_workers_count(tmp_path: Path) -> None:
    limits = {"conmand.server.daemon.MAX_CLIENTS": 2, "conmand.server.daemon.MIN_CLIENTS": 2}
    with Site(OURS, tmp_path) as site:
        nodes(site, 4, constants=limits)
        first = site.session(b"CONNECT CONSOLE='a'\n")
        site.session(b"CONNECT CONSOLE='b'\n")
        third = site.connection()
        assert third.receive_all() == b""
        site.daemon.wait_for("2 clients are connected")
        site.leave(first)
        site.session(b"CONNECT CONSOLE='c'\n")


def test_log_files_that_consoles_share_have_one_owner(tmp_path: Path) -> None:
    config = "".join(f'console name="{name}" dev="unix:DIR/{name}.sock" log="DIR/%N.log"\n' for name in "ab")
    config += 'console name="c" dev="unix:DIR/c.sock" log="DIR/a.log"\n'
    with Site(OURS, tmp_path) as site:
        peers = {name: site.unix_peer(f"{name}.sock") for name in "abc"}
        site.start(config, "--workers", "3")
        for name, peer in peers.items():
            peer.accept()
            peer.send(f"from {name}.".encode())
        site.read_with("a.log", b"from a.")
        site.read_with("a.log", b"from c.")
        assert not site.daemon.count("Unable to lock")


# Trouble.


def test_a_killed_worker_is_replaced_and_others_notice_nothing(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 4)
        victim = parent(programs["b"])
        lost = site.session(b"CONNECT CONSOLE='b'\n", user="lost")
        other = site.session(b"CONNECT CONSOLE='a'\n", user="other")
        both = site.session(b"CONNECT OPTION=BROADCAST CONSOLE='c' CONSOLE='d'\n", user="both")
        os.kill(victim, signal.SIGKILL)
        assert lost.receive_all() == (
            b"\r\n<ConMan> Console [b] is being restarted after a failure of the daemon -- connect again.\r\n"
        )
        site.daemon.wait_for(f"Worker 2 (pid {victim}) ended on signal 9; its console is being restarted")
        until_gone(programs["b"])  # nobody else would end it
        assert program(site, "b", count=2) != programs["b"]
        again = site.session(b"CONNECT CONSOLE='b'\n", user="again")
        again.send(b"echo me\n")
        again.receive_until(b"echo me")
        other.send(b"never noticed\n")
        assert other.receive_until(b"noticed\n") == b"never noticed\n"
        both.send(b"nor we\n")
        site.read_with("c.log", b"nor we")
        site.read_with("d.log", b"nor we")
        assert b"ConMan" not in other.received + both.received
        assert {name: parent(pid) for name, pid in programs.items() if name != "b"} == {
            name: worker for name, worker in zip("acd", (parent(programs[name]) for name in "acd"))
        }


def test_a_broadcast_goes_on_without_the_worker_that_died(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 2)
        client = site.session(b"CONNECT OPTION=BROADCAST " + ALL)
        os.kill(parent(programs["a"]), signal.SIGKILL)  # of a and c
        client.receive_until(b"<ConMan> 2 consoles are being restarted after a failure of the daemon -- connect again.")
        program(site, "a", count=2)
        client.send(b"the rest\n")
        site.read_with("b.log", b"the rest")
        site.read_with("d.log", b"the rest")
        assert b"the rest" not in site.path("a.log").read_bytes()
        os.kill(parent(programs["b"]), signal.SIGKILL)
        assert b"2 consoles are being restarted" in client.receive_all()


def test_a_hung_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 2, constants=QUICK)
        victim = parent(programs["a"])
        client = site.session(b"CONNECT CONSOLE='a'\n")
        os.kill(victim, signal.SIGSTOP)
        site.daemon.wait_for(f"Worker 1 (pid {victim}) has hung; killing it")
        assert b"being restarted" in client.receive_all()
        program(site, "a", count=2)
        program(site, "c", count=2)


def test_a_daemon_that_was_stopped_as_a_whole_goes_on(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 2, constants=QUICK)
        pids = [site.daemon.pid, *workers_of(site.daemon.pid)]
        client = site.session(b"CONNECT CONSOLE='a'\n")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        client.send(b"still here\n")
        assert client.receive_until(b"here\n") == b"still here\n"
        assert parent(programs["a"]) in pids
        assert not site.daemon.count("Worker")


def test_workers_end_with_a_front_that_is_killed_and_a_new_daemon_has_their_files(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="status -9"), Site(OURS, tmp_path) as site:
        programs = cats(site, 4)
        workers = workers_of(site.daemon.pid)
        client = site.session(b"CONNECT CONSOLE='a'\n")
        site.daemon.signal(signal.SIGKILL)
        assert client.receive_all() == b""
        for pid in (*workers, *programs.values()):
            until_gone(pid)
    with Site(OURS, tmp_path) as site:
        cats(site, 4)
        client = site.session(b"CONNECT CONSOLE='a'\n")
        client.send(b"new\n")
        site.read_with("a.log", b"new")
        assert not site.daemon.count("Unable to lock")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGABRT])
def test_workers_go_with_a_front_that_dies_of_a_signal(tmp_path: Path, number: int) -> None:
    with pytest.raises(AssertionError, match=f"status -{int(number)}") as ended, Site(OURS, tmp_path) as site:
        programs = cats(site, 2)
        workers = workers_of(site.daemon.pid)
        site.daemon.signal(number)
        for pid in (*workers, *programs.values()):
            until_gone(pid)
    assert "Traceback" not in str(ended.value)


def test_signals_for_all_processes_stop_the_daemon_in_order(tmp_path: Path) -> None:
    """The service manager and a terminal signal every process of a group."""
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 2)
        for pid in (*workers_of(site.daemon.pid), site.daemon.pid):
            os.kill(pid, signal.SIGTERM)
        assert site.daemon.stop() == 0
        assert not site.daemon.count("Worker")
        for pid in programs.values():
            until_gone(pid)


def test_a_reset_command_outlives_its_worker(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.unix_peer("a.sock")
        os.mkfifo(tmp_path / "go")
        site.start(f'server resetcmd="read x <DIR/go; echo done >DIR/%N.reset"\n{CONFIG}', "--workers", "2")
        client = site.session(b"CONNECT CONSOLE='a'\n")
        client.send(b"\xffR")
        found = re.search(rb"\(pid (\d+)\)", client.receive_until(b").\r\n"))
        assert found
        victim = parent(int(found[1]))
        os.kill(victim, signal.SIGKILL)
        assert b"being restarted" in client.receive_all()
        site.session(b"MONITOR CONSOLE='a'\n")
        with open(tmp_path / "go", "w") as go:
            go.write("now\n")
        site.read_with("a.reset", b"done")


def test_status_tells_of_consoles_whose_worker_is_not_there(tmp_path: Path) -> None:
    later = {"conmand.server.workers.process.MAX_DELAY_SECONDS": 1000.0}
    with Site(OURS, tmp_path) as site:
        programs = cats(site, 2, constants=later)
        for count in range(2, 12):
            os.kill(parent(programs["a"]), signal.SIGKILL)
            if "failure" in site.daemon.wait_for("Worker 1", count=count - 1):
                break
            programs["a"] = program(site, "a", count=count)
        described = [json.loads(line) for line in site.ask(b"QUERY OPTION=STATUS\n").splitlines()[1:]]
        assert [one["console"] for one in described] == list(NAMES)
        assert [one["state"] for one in described if one["console"] in "bd"] == ["up", "up"]
