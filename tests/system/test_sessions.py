"""Sessions byte for byte, ours beside the original's daemon: who sees what, in which order, and what the log keeps."""

from __future__ import annotations

import os
import re
import select
from pathlib import Path
from typing import Tuple

import pytest

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.devices import Peer
from tests.fakes.sessions import RawClient
from tests.fakes.sites import Seen, Site, assert_same, run_on

CONFIG = """\
server logdir="DIR"
global log="%N.log"
console name="u" dev="unix:DIR/u.sock"
console name="v" dev="unix:DIR/v.sock"
console name="unlogged" dev="test:" testopts="b:0" log=""
"""
CONNECT = b"CONNECT CONSOLE='u'\n"
MONITOR = b"MONITOR CONSOLE='u'\n"
JOIN = b"CONNECT OPTION=JOIN CONSOLE='u'\n"
FORCE = b"CONNECT OPTION=FORCE CONSOLE='u'\n"
BROADCAST = b"CONNECT OPTION=BROADCAST CONSOLE='u' CONSOLE='v'\n"


def two_nodes(site: Site, config: str = CONFIG) -> Tuple[Peer, Peer]:
    """Start the daemon with the peers of consoles ``u`` and ``v`` connected."""
    first, second = site.unix_peer("u.sock"), site.unix_peer("v.sock")
    site.start(config)
    for peer, name in ((first, "u"), (second, "v")):
        peer.accept()
        site.daemon.wait_for(f"[{name}] connected")
    return first, second


def typed(client: RawClient, peer: Peer, data: bytes) -> bytes:
    """Type ``data`` and return what of it reached the node, which is all in its last byte."""
    client.send(data)
    return peer.receive_until(data[-1:])


def see_out(site: Site, victim: RawClient, last_words: bytes) -> None:
    """Await the end of a robbed client. The original forgets to close one whose last words were sent quickly (B2)."""
    victim.receive_until(last_words)
    victim.receive_until(b"\r\n")
    if site.is_ours:
        assert victim.receive_all() == b""


def test_a_session_shows_output_passes_keys_and_ends(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        node.send(b"boot...\r\nlogin: \xff\xfe")
        client.receive_until(b"\xff\xfe")
        keys = typed(client, node, b"ro") + typed(client, node, b"ot\r") + typed(client, node, b"\0\x80\xff\xff!")
        assert keys == b"root\r\0\x80\xff!"
        site.leave(client)
        node.send(b"after")
        site.read_with("u.log", b"after")
        return {"client": client.received, "keys": keys, "log": site.path("u.log"), "other log": site.path("v.log")}

    seen = assert_same(scenario, tmp_path)
    assert seen["client"] == b"OK\nOK CONSOLE='u'\nboot...\r\nlogin: \xff\xfe"


def test_bytes_behind_the_request_belong_to_the_session(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.connection()
        client.send(b"HELLO USER='root'\nCONNECT CONSOLE='u'\ntyped early\n")
        keys = node.receive_until(b"\n")
        assert keys == b"typed early\n"
        site.leave(client)
        return {"client": client.received, "keys": keys}

    assert_same(scenario, tmp_path)


def test_a_monitor_cannot_write(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        monitor = site.session(MONITOR)
        monitor.send(b"lost\xffB\xffD\xff\xff\xffR")
        writer = site.session(CONNECT, tty="pts/8")
        keys = typed(writer, node, b"heard.")
        assert keys == b"heard."
        node.send(b"output")
        monitor.receive_until(b"output")
        writer.receive_until(b"output")
        site.leave(monitor)
        site.leave(writer)
        return {"monitor": monitor.received, "writer": writer.received, "log": site.path("u.log")}

    assert_same(scenario, tmp_path)


def test_writers_share_steal_and_step_back_as_in_the_specification(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        first = site.session(CONNECT, user="root", tty="pts/0")
        other = site.session(MONITOR, user="bin", tty="pts/1")
        other.send(b"\xffJ")
        other.receive_until(b"joined with <root@localhost> on pts/0")
        first.receive_until(b"joined by <bin@localhost> on pts/1")
        assert typed(other, node, b"j.") + typed(first, node, b"f.") == b"j.f."
        other.send(b"\xffM")
        first.receive_until(b"departed by <bin@localhost>")
        other.receive_until(b"departed by <bin@localhost>")
        other.send(b"\xffF")
        see_out(site, first, b"stolen by <bin@localhost>")
        other.receive_until(b"departed by <root@localhost>")
        joiner = site.session(JOIN, user="daemon", tty="pts/2")
        joiner.receive_until(b"joined with <bin@localhost>")
        other.receive_until(b"joined by <daemon@localhost>")
        watcher = site.session(MONITOR, user="mail", tty="")
        thief = site.session(FORCE, user="sys", tty="pts/3")
        see_out(site, other, b"stolen by <sys@localhost>")
        see_out(site, joiner, b"departed by <bin@localhost>")
        thief.receive_until(b"stolen from <daemon@localhost>")
        assert typed(thief, node, b"t.") == b"t."
        site.leave(thief)
        watcher.receive_until(b"departed by <sys@localhost>")
        site.leave(watcher)
        clients = {"first": first, "other": other, "joiner": joiner, "watcher": watcher, "thief": thief}
        site.read_with("u.log", b"departed by <sys@localhost>")
        received = {name: client.received for name, client in clients.items()}
        return {**received, "log": site.path("u.log"), "daemon": []}

    seen = assert_same(scenario, tmp_path)
    assert b"stolen by <bin@localhost> on pts/1 at MM-DD HH:MM.\r\n" in seen["first"]
    assert b"joined" not in seen["watcher"]


def test_a_busy_console_is_refused_with_its_writers(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        two_nodes(site)
        first = site.session(CONNECT, user="root", tty="pts/0")
        second = site.session(JOIN, user="bin", tty="")
        broadcaster = site.session(
            b"CONNECT OPTION=BROADCAST OPTION=JOIN CONSOLE='u' CONSOLE='v'\n", user="sys", tty="pts/2"
        )
        seen: Seen = {
            "one": site.ask(CONNECT),
            "two": site.ask(BROADCAST),
            "free": site.ask(b"QUERY\n"),
        }
        assert seen["one"].startswith(b"ERROR CODE=7 MESSAGE='Found console already in use'\n")
        assert seen["two"].startswith(b"ERROR CODE=7 MESSAGE='Found 2 consoles already in use'\n")
        monitor = site.session(MONITOR, user="mail", tty="pts/3")
        for client in (monitor, broadcaster, second, first):
            site.leave(client)
        return {**seen, "first": first.received, "second": second.received, "broadcaster": broadcaster.received}

    assert_same(scenario, tmp_path)


def test_a_broadcast_reaches_all_its_consoles_and_hears_none(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        first_node, second_node = two_nodes(site)
        watcher = site.session(MONITOR, user="mail", tty="")
        client = site.session(BROADCAST)
        client.send(b"Z\xff\xff1.")
        keys = [first_node.receive_until(b"."), second_node.receive_until(b".")]
        client.send(b"\xffD")
        keys += [first_node.receive_until(b"\x7f"), second_node.receive_until(b"\x7f")]
        client.send(b"\xffL\xffF\xffJ\xffM")
        first_node.send(b"unheard")
        watcher.receive_until(b"unheard")
        client.send(b"\xffQ")
        client.receive_until(b"suppressed.\r\n")
        site.leave(client)
        watcher.receive_until(b"departed by")
        site.leave(watcher)
        return {"client": client.received, "watcher": watcher.received, "keys": keys}

    seen = assert_same(scenario, tmp_path)
    assert b"unheard" not in seen["client"]


def test_a_broadcast_to_one_console_is_an_ordinary_session(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(b"CONNECT OPTION=BROADCAST CONSOLE='u'\n")
        node.send(b"heard")
        client.receive_until(b"heard")
        site.leave(client)
        return {"client": client.received, "log": site.path("u.log")}

    assert_same(scenario, tmp_path)


def test_a_quiet_client_gets_output_and_answers_only(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(b"CONNECT OPTION=QUIET CONSOLE='u'\n")
        other = site.session(JOIN, user="bin", tty="")
        site.leave(other)
        node.send(b"output.")
        client.receive_until(b"output.")
        client.send(b"\xffQ")
        client.receive_until(b"displayed.\r\n")
        other = site.session(JOIN, user="bin", tty="")
        client.receive_until(b"joined by")
        client.send(b"\xffQ")
        client.receive_until(b"suppressed.\r\n")
        site.leave(other)
        client.send(b"\xffL")
        client.receive_until(b"End log replay of console [u].\r\n")
        site.leave(client)
        return {"client": client.received, "log": site.path("u.log")}

    seen = assert_same(scenario, tmp_path)
    assert seen["client"].startswith(b"OK\nOK CONSOLE='u'\noutput.\r\n<ConMan> Quiet-mode disabled")


def test_a_suspended_client_gets_later_what_came_meanwhile(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        watcher = site.session(MONITOR, tty="")
        client.send(b"\xffZ")
        site.daemon.wait_for("suspended")
        node.send(b"while suspended")
        watcher.receive_until(b"while suspended")
        assert typed(client, node, b"still typing.") == b"still typing."
        assert client.receive_pending() == b""
        client.send(b"\xffZ")
        site.daemon.wait_for("resumed")
        client.receive_until(b"while suspended")
        node.send(b"; and after")
        client.receive_until(b"; and after")
        site.leave(watcher)
        site.leave(client)
        return {"client": client.received}

    assert_same(scenario, tmp_path)


def test_replay_returns_the_tail_of_the_log(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site, 'global logopts="sanitize"\n' + CONFIG)
        client = site.session(MONITOR)
        client.send(b"\xffL")
        first = client.receive_until(b"End log replay of console [u].\r\n")
        node.send(b"boot...\r\nlogin\x07: ")
        client.receive_until(b": ")
        client.send(b"\xffL")
        second = client.receive_until(b"End log replay of console [u].\r\n")
        for number in range(200):
            node.send(b"a line that is %04d, of several\r\n" % number)
        client.receive_until(b"0199, of several\r\n")
        client.send(b"\xffL")
        block = client.receive_until(b"\r\n<ConMan> End log replay of console [u].\r\n")
        unlogged = site.session(b"CONNECT CONSOLE='unlogged'\n", tty="")
        unlogged.send(b"\xffL")
        unlogged.receive_until(b"cannot replay.\r\n")
        site.leave(unlogged)
        site.leave(client)
        return {"first": first, "second": second, "long": block, "unlogged": unlogged.received}

    seen = assert_same(scenario, tmp_path)
    assert b"log opened at" not in seen["long"]


def test_breaks_and_deletes_reach_a_unix_socket_as_far_as_it_has_them(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        client.send(b"\xffB\xffD\xff\xff.")
        keys = node.receive_until(b".")
        assert keys == b"\x7f\xff." or not site.is_ours
        site.leave(client)
        return {"keys": bytes(sorted(keys))}  # the original lets commands overtake data (errata B4)

    assert_same(scenario, tmp_path)


def test_commands_and_keys_stay_in_order(tmp_path: Path) -> None:
    """Errata B4: the original runs the commands in a packet before it delivers the packet's keys."""

    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        client.send(b"x\xffDy.")
        return {"keys": node.receive_until(b"." if site.is_ours else b"y.")}

    assert run_on(OURS, scenario, tmp_path)["keys"] == b"x\x7fy."
    assert run_on(ORIGINAL, scenario, tmp_path)["keys"] == b"\x7fxy."


def test_an_unknown_command_is_dropped_and_logged(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        client.send(b"a\xffxb")
        client.send(b"c\xff")
        client.send(b"?d.")
        keys = node.receive_until(b".")
        site.daemon.wait_for("invalid escape '?'")
        site.leave(client)
        return {"keys": keys}

    seen = assert_same(scenario, tmp_path)
    assert seen["keys"] == b"abcd."
    assert "WARNING:   Received invalid escape 'x' from root@localhost:PORT" in seen["daemon"]


def test_a_monitor_sent_to_monitor_stays_one(tmp_path: Path) -> None:
    """Errata B3: to the original M, F and J are one blind toggle, and M makes a writer of a monitor."""

    def scenario(site: Site) -> Seen:
        two_nodes(site)
        client = site.session(MONITOR)
        client.send(b"\xffM\xffQ")
        client.receive_until(b"suppressed.\r\n")
        return {"client": client.received}

    assert b"joined" not in run_on(OURS, scenario, tmp_path)["client"]
    assert b"joined" in run_on(ORIGINAL, scenario, tmp_path)["client"]


def test_only_the_stolen_console_is_lost_to_a_broadcast(tmp_path: Path) -> None:
    """Errata B13: the original takes all consoles from the broadcast's client."""

    def scenario(site: Site) -> Seen:
        _, second_node = two_nodes(site)
        client = site.session(BROADCAST, user="bin")
        thief = site.session(FORCE)
        if not site.is_ours:
            client.receive_all()
            return {"client": client.received}
        client.receive_until(b"stolen by <root@localhost>")
        assert typed(client, second_node, b"still here.") == b"still here."
        site.leave(thief)
        return {"client": client.received}

    assert b"Console [u] stolen by" in run_on(OURS, scenario, tmp_path)["client"]
    assert b"Console [u] stolen by" in run_on(ORIGINAL, scenario, tmp_path)["client"]


@pytest.mark.parametrize("state", [b"\xffQ", b"\xffZ"], ids=["quiet", "suspended"])
def test_a_robbed_writer_is_closed_whatever_its_state(state: bytes, tmp_path: Path) -> None:
    """Errata B1, B2 and A3: the original leaves it connected to nothing, and one more key of it ends the daemon."""
    with Site(OURS, tmp_path) as site:
        two_nodes(site)
        victim = site.session(CONNECT, user="bin")
        victim.send(state)
        if state == b"\xffZ":
            site.daemon.wait_for("suspended")
        else:
            victim.receive_until(b"suppressed.\r\n")
        site.session(FORCE)
        victim.receive_all()
        site.daemon.wait_for("Client <bin@", "disconnected")
        assert b"already in use" in site.ask(CONNECT)


def test_a_client_that_suspends_and_disconnects_frees_the_console(tmp_path: Path) -> None:
    """Errata B1: under the original the console stays busy until somebody forces it."""
    with Site(OURS, tmp_path) as site:
        node, _ = two_nodes(site)
        client = site.session(CONNECT, user="bin")
        client.send(b"\xffZ")
        site.daemon.wait_for("suspended")
        watcher = site.session(MONITOR)
        node.send(b"x" * 100_000)
        watcher.receive_count(100_000)
        client.reset()
        site.daemon.wait_for("Client <bin@", "disconnected")
        site.session(CONNECT)


def test_keys_typed_while_the_console_is_down_are_not_delivered_later(tmp_path: Path) -> None:
    """Errata B5: the original delivers them with the first key after the reconnection."""

    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        node.hang_up()
        client.receive_until(b"disconnected from")
        client.send(b"stale")
        client.send(b"\xffQ")
        client.receive_until(b"suppressed.\r\n")
        site.session(MONITOR)  # makes it try again at once
        node.accept()
        site.daemon.wait_for("[u] connected", count=2)
        return {"keys": typed(client, node, b"new.")}

    assert run_on(OURS, scenario, tmp_path)["keys"] == b"new."
    assert run_on(ORIGINAL, scenario, tmp_path)["keys"] == b"stalenew."


def test_a_reset_runs_once_at_a_time(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        os.mkfifo(site.path("gate"))
        command = "echo started %N %D >>DIR/resets; cat DIR/gate; echo done >>DIR/resets"
        node, _ = two_nodes(site, f'server resetcmd="{command}"\n' + CONFIG)
        client = site.session(CONNECT)
        monitor = site.session(MONITOR, tty="")
        client.send(b"\xffR")
        client.receive_until(b".\r\n")
        site.read_with("resets", b"started")
        monitor.send(b"\xffR")
        client.send(b"\xffR")
        client.receive_until(b"still active.\r\n")
        with open(site.path("gate"), "wb"):
            pass
        site.read_with("resets", b"done")
        _wait_until_gone(_reset_pid(client))
        monitor.receive_until(b"still active.\r\n")
        site.leave(monitor)
        site.leave(client)
        return {"client": client.received, "monitor": monitor.received, "resets": site.path("resets")}

    seen = assert_same(scenario, tmp_path)
    assert seen["resets"] == b"started u u.sock\ndone\n"
    assert b"Console [u] reset by <root@localhost> (pid N).\r\n" in seen["client"]


def test_a_reset_is_possible_again_when_the_last_has_ended(tmp_path: Path) -> None:
    """Errata D12: the original refuses for the rest of a minute."""
    with Site(OURS, tmp_path) as site:
        two_nodes(site, 'server resetcmd="echo $$ >>DIR/resets"\n' + CONFIG)
        client = site.session(CONNECT)
        for count in range(1, 4):
            client.send(b"\xffR")
            client.receive_until(b"reset by <root@localhost>")
            client.receive_until(b".\r\n")
            site.read_with("resets", b"\n", count)
            _wait_until_gone(_reset_pid(client))
            site.ask(b"QUERY OPTION=STATUS\n")  # whoever answers for the console has heard of it by then


def _reset_pid(client: RawClient) -> int:
    """Of the reset that ``client`` was told of last."""
    return int(re.findall(rb"reset by .*\(pid (\d+)\)", client.received)[-1])


def _wait_until_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([fd], [], [], 30)
    os.close(fd)


def test_without_a_reset_command_a_reset_is_ignored(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        two_nodes(site)
        client = site.session(CONNECT)
        client.send(b"\xffR\xffQ")
        client.receive_until(b"suppressed.\r\n")
        site.leave(client)
        return {"client": client.received}

    assert_same(scenario, tmp_path)


def test_a_session_that_is_reset_is_cleaned_up(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT, user="bin")
        watcher = site.session(MONITOR)
        client.reset()
        watcher.receive_until(b"departed by <bin@localhost>")
        site.daemon.wait_for("Client <bin@", "disconnected")
        site.leave(watcher)
        return {"watcher": watcher.received, "log": site.path("u.log")}

    assert_same(scenario, tmp_path)


def test_a_client_that_half_closes_still_gets_what_was_queued_and_then_the_end(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        node, _ = two_nodes(site)
        client = site.session(CONNECT)
        client.send(b"last words.")
        keys = node.receive_until(b".")
        rest = site.leave(client)
        return {"keys": keys, "rest": rest}

    assert_same(scenario, tmp_path)


def test_stopping_the_daemon_closes_sessions_without_a_word(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        two_nodes(site)
        client = site.session(CONNECT)
        site.read_with("u.log", b"joined by")
        assert site.daemon.stop() == 0
        return {"rest": client.receive_all(), "log": site.path("u.log")}

    seen = assert_same(scenario, tmp_path)
    assert seen["rest"] == b"" and b"departed" not in seen["log"]
