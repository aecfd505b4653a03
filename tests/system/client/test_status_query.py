"""The status of a real daemon, as the wire has it and as ``conman-py --status`` shows it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.sites import Site

CONFIG = """\
server logdir="DIR"
global log="%N.log"
console name="u" dev="unix:DIR/u.sock"
console name="t" dev="test:" testopts="b:0" log=""
console name="p" dev="/bin/cat"
console name="gone" dev="unix:DIR/gone.sock"
"""


def test_the_wire_has_an_object_for_each_console(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer("u.sock")
        site.start(CONFIG)
        peer.accept()
        site.daemon.wait_for("[u] connected")
        watcher = site.session(b"MONITOR CONSOLE='u'\n", user="watch", tty="pts/9")
        peer.send(b"boot\r\nlogin: ")
        watcher.receive_until(b"login: ")
        head, *lines, rest = site.ask(b"QUERY OPTION=STATUS CONSOLE='[ug]*'\n").split(b"\n")
        gone, u = map(json.loads, lines)
        assert (head, rest) == (b"OK OPTION=STATUS", b"")
        assert (u["console"], u["state"], u["kind"], u["last_line"]) == ("u", "up", "unix", "login:")
        assert u["logged_bytes"] >= len(b"boot\r\nlogin: ")
        assert u["device_bytes"] == {"read": 13, "logged": 13, "waiting": 0, "lost": 0}
        assert u["log_complaint"] is None
        assert u["retry_seconds"] is None
        assert [client["user"] + client["mode"] for client in u["clients"]] == ["watchR/O"]
        assert (gone["state"], gone["clients"]) == ("down", [])
        assert site.ask(b"QUERY OPTION=STATUS CONSOLE='zz'\n").startswith(b"ERROR CODE=5 ")


def test_the_original_answers_with_names_alone(tmp_path: Path) -> None:
    with Site(ORIGINAL, tmp_path) as site:
        site.start('console name="t" dev="test:" testopts="b:0"\n')
        assert site.ask(b"QUERY OPTION=STATUS\n") == b"OK CONSOLE='t'\n"
