"""The words of notices, which sites match with programs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from conmand.server import notices


@dataclass
class Person:
    user: str = "root"
    host: str = "localhost"
    tty: Optional[str] = "pts/2"
    broadcast: bool = False


NOW = time.mktime((2026, 11, 22, 10, 28, 59, 0, 0, -1))


def test_a_frame_is_cut_to_1023_bytes_but_keeps_its_end() -> None:
    assert notices.framed("hello") == b"\r\n<ConMan> hello.\r\n"
    longest = notices.framed("x" * 1009)
    assert len(longest) == 1023 and longest.endswith(b"x.\r\n")
    cut = notices.framed("x" * 1010)
    assert len(cut) == 1023 and cut.endswith(b"xx\r\n")


@given(st.binary(max_size=1500))
def test_any_name_can_be_framed(name: bytes) -> None:
    block = notices.framed(name.decode("utf-8", "surrogateescape"))
    assert block.startswith(b"\r\n<ConMan> ") and block.endswith(b"\r\n") and len(block) <= 1023


def test_movements_of_clients() -> None:
    person, broadcaster, hidden = Person(), Person(broadcast=True), Person(tty=None)
    when = "at 11-22 10:28"
    assert (
        notices.arrived("u", person, stolen=False, now=NOW) == f"Console [u] joined by <root@localhost> on pts/2 {when}"
    )
    assert (
        notices.arrived("u", person, stolen=True, now=NOW) == f"Console [u] stolen by <root@localhost> on pts/2 {when}"
    )
    assert notices.arrived("u", broadcaster, stolen=False, now=NOW) == (
        f"Console [u] joined for B/C by <root@localhost> on pts/2 {when}"
    )
    assert notices.arrived("u", broadcaster, stolen=True, now=NOW) == (
        f"Console [u] stolen for B/C by <root@localhost> on pts/2 {when}"
    )
    assert notices.met("u", hidden, stolen=False, now=NOW) == f"Console [u] joined with <root@localhost> {when}"
    assert notices.met("u", hidden, stolen=True, now=NOW) == f"Console [u] stolen from <root@localhost> {when}"
    assert notices.departed("u", person, now=NOW) == f"Console [u] departed by <root@localhost> on pts/2 {when}"


def test_lines_of_the_log() -> None:
    zone = time.strftime("%Z", time.localtime(NOW))
    assert notices.log_opened("u", NOW) == f"Console [u] log opened at 2026-11-22 10:28:59 {zone}"
    assert notices.log_stamp("u", NOW) == f"Console [u] log at 2026-11-22 10:28:59 {zone}"
    assert notices.log_lost("u", 1) == "Console [u] log lost 1 byte here"
    assert notices.log_lost("u", 2) == "Console [u] log lost 2 bytes here"


def test_answers_to_commands() -> None:
    assert notices.replay_begin("u") == "Begin log replay of console [u]"
    assert notices.replay_end("u") == "End log replay of console [u]"
    assert notices.not_logged("u") == "Console [u] is not being logged -- cannot replay"
    assert notices.QUIET_ENABLED == "Quiet-mode enabled -- info msgs will be suppressed"
    assert notices.QUIET_DISABLED == "Quiet-mode disabled -- info msgs will be displayed"
    assert notices.output_lost(1) == "Lost 1 byte of output: this client is too slow"


def test_resets() -> None:
    assert notices.reset_by("u", Person(), 26112) == "Console [u] reset by <root@localhost> (pid 26112)"
    assert notices.reset_ignored("u", 26112) == "Ignoring reset of console [u]: pid 26112 still active"
    assert notices.reset_too_long("u") == "Unable to reset console [u]: command too long"
    assert notices.reset_failed("u", "x") == "Unable to reset console [u]: fork failed: x"
    assert notices.reset_terminated("u", 60, 7) == "Console [u] reset terminated after 60s (pid 7)"
