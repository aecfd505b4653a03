"""Requests that end in an answer: names, errors and their listings, beside the original's daemon."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from tests.fakes.daemons import ORIGINAL, OURS
from tests.fakes.sites import Scenario, Seen, Site, assert_same, run_on

CONSOLES = "".join(
    f'console name="{name}" dev="test:" testopts="b:0"\n'
    for name in ["n1", "n10", "n2", "N3", "n01", "a b", "a'b", "x10y1", "x1y10", "x1y2", "10", "[", "-", "été", "n1.x"]
)


def answers(requests: List[bytes], config: str = CONSOLES) -> Scenario:
    """What a daemon on ``config`` says to each of ``requests``, by the request's ``repr``."""

    def scenario(site: Site) -> Seen:
        site.start(config)
        return {repr(request): site.ask(request + b"\n") for request in requests}

    return scenario


def test_queries_find_the_same_names_in_the_same_order(tmp_path: Path) -> None:
    assert_same(
        answers(
            [
                b"QUERY",
                b"QUERY CONSOLE='n*'",
                b"QUERY CONSOLE='n?' CONSOLE='n1' CONSOLE='x*'",
                b"QUERY CONSOLE='[nN]?'",
                b"QUERY CONSOLE='[!n]*'",
                b"QUERY CONSOLE='['",
                b"QUERY CONSOLE='\\n1'",
                b"QUERY CONSOLE='a\xa7b' CONSOLE='a b'",
                b"QUERY CONSOLE='N1'",
                b"QUERY CONSOLE='[[:digit:]]*'",
                b"QUERY CONSOLE=n1 CONSOLE=10 CONSOLE=query CONSOLE='10'",
                b"QUERY OPTION=REGEX",
                b"QUERY OPTION=REGEX CONSOLE='N1?0?'",
                b"QUERY OPTION=REGEX CONSOLE='n1' CONSOLE='x.*'",
                b"QUERY OPTION=REGEX CONSOLE='n[[:digit:]]+'",
                b"QUERY OPTION=REGEX CONSOLE='n\\.|n1.x'",
                b"QUERY OPTION=REGEX CONSOLE='(.)1*\\1'",
                b"QUERY OPTION=FORCE OPTION=NONSENSE OPTION=REGEX CONSOLE='n1' x y=z 5",
                b"query option=regex console='N2'",
            ]
        ),
        tmp_path,
    )


def test_requests_fail_with_the_same_codes_messages_and_listings(tmp_path: Path) -> None:
    seen = assert_same(
        answers(
            [
                b"QUERY CONSOLE='zz'",
                b"QUERY OPTION=REGEX CONSOLE='(a'",
                b"QUERY OPTION=REGEX CONSOLE='[a'",
                b"QUERY OPTION=REGEX CONSOLE='a{2'",
                b"QUERY OPTION=REGEX CONSOLE='*'",
                b"QUERY OPTION=REGEX CONSOLE='a{3,1}'",
                b"QUERY OPTION=REGEX CONSOLE='[b-a]'",
                b"QUERY OPTION=REGEX CONSOLE='[[:zork:]]'",
                b"QUERY OPTION=REGEX CONSOLE='a\\'",
                b"QUERY OPTION=REGEX CONSOLE='\\2'",
                b"CONNECT CONSOLE='zz'",
                b"CONNECT",
                b"MONITOR",
                b"MONITOR CONSOLE=''",
                b"CONNECT CONSOLE='n*'",
                b"MONITOR CONSOLE='[na]*'",
                b"MONITOR OPTION=BROADCAST CONSOLE='n*'",
                b"CONNECT OPTION=REGEX CONSOLE='x.*'",
                b"",
                b"NONSENSE",
                b"HELLO USER='again'",
            ]
        ),
        tmp_path,
    )
    assert seen[repr(b"CONNECT CONSOLE='n*'")].startswith(b"ERROR CODE=6 MESSAGE='Found 5 matching consoles'\nn")
    assert seen[repr(b"")] == b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n"


@pytest.mark.parametrize(
    "greeting",
    [
        b"\n",
        b"HELLO\n",
        b"HELLO USER=''\n",
        b"HELLO USER=5\n",
        b"HELLO USER=user\n",
        b"USER='root'\n",
        b"HELLO TTY='pts/1'\n",
        b"GET / HTTP/1.0\r\n",
        b"HELLO USER='unmatched\n",
        b"\0\0\0\n",
    ],
)
def test_a_greeting_without_a_user_is_refused(greeting: bytes, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(CONSOLES)
        client = site.connection()
        client.send(greeting)
        answer = client.receive_all()
        assert answer == b"ERROR CODE=2 MESSAGE='Invalid greeting: no user specified'\n"
        return {"answer": answer}

    assert_same(scenario, tmp_path)


@pytest.mark.parametrize(
    "greeting",
    [
        b"hello user=bob\n",
        b"junk 5 = HELLO USER = 'bob' TTY = 'tty1' x\r\n",
        b"HELLO USER='al' USER='bob' TTY='a' TTY=''\n",
        b"HELLO TTY='pts/1' USER=\"bob\" # comment\n",
    ],
)
def test_a_greeting_may_be_untidy(greeting: bytes, tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(CONSOLES)
        client = site.connection()
        client.send(greeting)
        assert client.receive_until(b"\n") == b"OK\n"
        client.send(b"QUERY CONSOLE='n1'\r\n")
        answer = client.receive_all()
        assert answer == b"OK CONSOLE='n1'\n"
        return {"answer": answer}

    assert "Client <bob@localhost" in "\n".join(assert_same(scenario, tmp_path)["daemon"])


def test_lines_may_come_byte_by_byte_all_at_once_or_without_their_end(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(CONSOLES)
        slow = site.connection()
        for byte in b"HELLO USER='root'\nQUERY CONSOLE='n2'\n":
            slow.send(bytes([byte]))
        quick = site.connection()
        quick.send(b"HELLO USER='root'\nQUERY CONSOLE='n2'\n")
        ended = site.connection()
        ended.send(b"HELLO USER='root'\nQUERY CONSOLE='n2'")
        ended.half_close()
        seen: Seen = {"slow": slow.receive_all(), "quick": quick.receive_all(), "ended": ended.receive_all()}
        assert set(map(bytes, seen.values())) == {b"OK\nOK CONSOLE='n2'\n"}
        return {**seen, "daemon": b""}  # the three were logged in the order of their ends, which is nobody's

    assert_same(scenario, tmp_path)


def test_a_client_that_leaves_during_the_handshake_is_only_logged(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start(CONSOLES)
        silent = site.connection()
        silent.half_close()
        seen: Seen = {"silent": silent.receive_all()}
        site.daemon.wait_for("Connection terminated by", count=1)
        greeter = site.connection()
        greeter.send(b"HELLO USER='root'\n")
        greeter.half_close()
        seen["greeter"] = greeter.receive_all()
        site.daemon.wait_for("Connection terminated by", count=2)
        seen["valid"] = site.ask(b"QUERY\n")
        return seen

    assert_same(scenario, tmp_path)


def test_a_reset_command_is_offered_in_every_answer(tmp_path: Path) -> None:
    seen = assert_same(answers([b"QUERY CONSOLE='n1'"], 'server resetcmd="true"\n' + CONSOLES), tmp_path)
    assert seen[repr(b"QUERY CONSOLE='n1'")] == b"OK OPTION=RESET CONSOLE='n1'\n"


def test_a_reply_may_exceed_the_originals_limit(tmp_path: Path) -> None:
    """Errata F2: the original closes without an answer."""
    names = [f"console-{number:06}" for number in range(9000)]
    many = "".join(f'console name="{name}" dev="test:" testopts="b:0"\n' for name in names)
    reply = run_on(OURS, answers([b"QUERY"], many), tmp_path)[repr(b"QUERY")]
    assert reply == b"OK " + b" ".join(b"CONSOLE='%b'" % name.encode() for name in names) + b"\n"


def test_each_regular_expression_stands_for_itself(tmp_path: Path) -> None:
    """Errata F5: the original joins them by a bar, and takes two broken ones for one that is not."""
    scenario = answers([b"QUERY OPTION=REGEX CONSOLE='(n' CONSOLE='x.*)1?'"])
    assert b"ERROR CODE=3 MESSAGE='Unmatched ( or" in next(iter(run_on(OURS, scenario, tmp_path).values()))


def test_text_beyond_ascii_survives(tmp_path: Path) -> None:
    """Errata F3: the original clears the top bit of what it receives, and finds nothing."""
    scenario = answers(["QUERY CONSOLE='été'".encode()])
    request = repr("QUERY CONSOLE='été'".encode())
    assert run_on(OURS, scenario, tmp_path)[request] == "OK CONSOLE='été'\n".encode()
    assert run_on(ORIGINAL, scenario, tmp_path)[request] == b"ERROR CODE=5 MESSAGE='Found no matching consoles'\n"
