from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman_exec.sessions import (
    BREAK,
    BREAK_HOLD_SECONDS,
    KINDS,
    PACED_BURST_BYTES,
    PACED_BYTES_PER_SECOND,
    PROMPT_HOLD_SECONDS,
    PROMPT_QUIET_SECONDS,
    STOLEN,
    Guarded,
    GuardedSsh,
    HpIlo,
    HpLo100,
    IbmBc,
    Ipmiconsole,
    Line,
    Session,
    SunElom,
    SunIlom,
    SunV20z,
    Unguarded,
    UnguardedIpmiconsole,
)


def typed(session: Session, *bursts: bytes) -> bytes:
    """What the tool gets; a break on the line shows as <BREAK>."""
    for burst in bursts:
        session.keys(burst, 0.0)
    session.expire(BREAK_HOLD_SECONDS)
    return b"".join(b"<BREAK>" if piece is BREAK else piece for piece in session.for_tool())


def shown(session: Session, *chunks: bytes, now: float = 0.0) -> bytes:
    for chunk in chunks:
        session.output(chunk, now)
    return session.for_daemon()


def sent(session: Session) -> bytes:
    return b"".join(piece or b"<BREAK>" for piece in session.for_tool())


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (b"abc", b"abc"),
        (b"&B", b"&B"),
        (b"abc&B", b"abc\r&B"),
        (b"abc\r&B", b"abc\r&B"),
        (b"abc\n&Bx", b"abc\n&Bx"),
        (b"&B&B", b"&B&B"),
        (b"abc&B&Bd", b"abc\r&B&Bd"),
        (b"&.", b"&&."),
        (b"a&.\r&.\n&?", b"a&.\r&&.\n&&?"),
        (b"&", b"&&"),
        (b"&&", b"&&&"),
        (b"\r&\r&", b"\r&&\r&&"),
        (b"\r&\x1a", b"\r&&\x1a"),
        (b"&B&.", b"&B&&."),
    ],
)
def test_tool_escapes_are_guarded_and_breaks_work_anywhere_in_a_line(keys: bytes, expected: bytes) -> None:
    assert typed(Guarded(), keys) == expected


def test_ssh_is_guarded_by_another_escape_as_a_doubled_ampersand_backgrounds_it() -> None:
    assert typed(GuardedSsh(), b"&.&&\r&.\r\x1e.&Bx") == b"&.&&\r&.\r\x1e\x1e.\r\x1eBx"


def ipmitool(stream: bytes) -> tuple[bytes, int]:
    """What ipmitool and ssh make of their input (observed): the node's bytes, and how many breaks."""
    node, breaks, start, at = b"", 0, True, 0
    while at < len(stream):
        byte = stream[at : at + 1]
        if start and byte == b"&":
            following = stream[at + 1 : at + 2]
            assert following in (b"&", b"B"), "an escape of the tool got through"
            at += 2
            if following == b"B":
                breaks += 1
            else:
                node, start = node + b"&", False
            continue
        node, start, at = node + byte, byte in (b"\r", b"\n"), at + 1
    return node, breaks


@given(st.lists(st.sampled_from([b"&", b"B", b"\r", b"\n", b"x", b".", b"&B"]).map(bytes), max_size=12))
def test_node_gets_what_was_typed_whatever_it_was(bursts: list[bytes]) -> None:
    session = Guarded()
    for burst in bursts:
        session.keys(burst, 0.0)
        session.expire(BREAK_HOLD_SECONDS)  # each burst is typed by itself
    node, breaks = ipmitool(b"".join(piece or b"" for piece in session.for_tool()))
    assert breaks == bursts.count(b"&B")
    plain = b"".join(burst for burst in bursts if burst != b"&B")
    # The only byte ever invented is a CR before a break.
    assert node.replace(b"\r", b"") == plain.replace(b"\r", b"")
    assert node.count(b"\r") - plain.count(b"\r") <= breaks


def test_keys_without_the_daemons_break_mark_need_no_guessing() -> None:
    session = Guarded()
    session.type(b"x&B\r&")
    session.send_break()
    assert sent(session) == b"x&B\r&&\r&B"


def test_large_paste_may_be_typed_and_dropped() -> None:
    session = Ipmiconsole()
    session.type(b"a" * 5000)
    session.release(100.0)
    assert len(sent(session)) == 4096
    assert session.waiting() == 904
    session.forget_waiting(900)
    session.send_break()
    session.release(101.0)
    assert sent(session) == b"aaaa&B"
    assert Session().waiting() == 0


def test_ampersand_and_b_typed_apart_are_no_break() -> None:
    session = Line()
    session.keys(b"x&", 0.0)
    assert sent(session) == b"x"
    assert session.deadline() == BREAK_HOLD_SECONDS
    session.expire(BREAK_HOLD_SECONDS)
    session.keys(b"B", 1.0)
    assert sent(session) == b"&B"


def test_break_that_arrives_in_two_reads_is_one() -> None:
    assert typed(Line(), b"a&", b"Bc") == b"a<BREAK>c"
    assert typed(Line(), b"a&", b"c") == b"a&c"


def test_unguarded_leaves_escapes_to_the_user() -> None:
    assert typed(Unguarded(), b"\r&.x&B") == b"\r&.x\r&B"


def test_ipmiconsole_guards_every_ampersand() -> None:
    assert typed(Ipmiconsole(), b"a&.b&Bc&&") == b"a&&.b&Bc&&&&"
    assert Ipmiconsole.farewell == UnguardedIpmiconsole.farewell == b"&."
    assert typed(UnguardedIpmiconsole(), b"a&.b&Bc&&") == b"a&.b&Bc&&"


def test_ipmiconsole_gets_a_large_paste_in_pieces_and_all_of_it() -> None:
    session, now, got = Ipmiconsole(), 1000.0, b""
    paste = bytes(range(256)).replace(b"&", b"") * 100
    session.keys(paste[:20_000], now)
    session.keys(paste[20_000:] + b"&B", now)
    while session.deadline() is not None:
        got += sent(session)
        assert len(got) <= PACED_BURST_BYTES + (now - 1000.0) * PACED_BYTES_PER_SECOND
        assert session.waiting() == len(paste + b"&B") - len(got)
        now = session.deadline() or now
        session.expire(now)
    assert got + sent(session) == paste + b"&B"


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Line(), b"a<BREAK>b"),
        (HpIlo(), b"a\x1b\x02b"),
        (HpLo100(), b"a\x1b\x02b"),
        (IbmBc("console"), b"a<BREAK>b"),
        (SunIlom(), b"a\x1bBb"),
        (SunV20z(), b"a\x05cl0\rb"),
    ],
)
def test_break_is_the_devices_own(session: Session, expected: bytes) -> None:
    assert typed(session, b"a&Bb") == expected


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(chunks=st.lists(st.binary(max_size=40), max_size=8))
def test_output_passes_unchanged(kind: str, chunks: list[bytes]) -> None:
    session = KINDS[kind](*(["console"] if kind == "IbmBc" else []))
    out = b""
    now = 0.0
    for chunk in chunks:
        now += 0.01
        session.output(chunk, now)
        out += session.for_daemon()
    while session.ended is None and session.deadline() is not None:
        now = session.deadline() or now
        session.expire(now)
        out += session.for_daemon()
    # A prompt by accident is answered and hidden, or taken for the end of the session.
    if session.ended is None and not any(piece for piece in session.for_tool()):
        assert out == b"".join(chunks)


@pytest.mark.parametrize(
    ("session", "prompt"),
    [
        (HpIlo(), b"</>hpiLO-> "),
        (HpLo100(), b"/3/-> "),
        (IbmBc("console"), b"\r\nsystem> "),
        (SunIlom("override"), b"\r\n-> "),
    ],
)
def test_what_may_become_a_prompt_is_kept_back_for_a_moment_only(session: Session, prompt: bytes) -> None:
    session.output(b"hello" + prompt[:2], 10.0)
    assert session.for_daemon() == b"hello"
    assert session.deadline() == 10.0 + PROMPT_HOLD_SECONDS
    session.expire(10.0 + PROMPT_HOLD_SECONDS)
    assert session.for_daemon() == prompt[:2]
    # And it is recognised although its beginning was shown.
    session.output(prompt[2:], 11.0)
    assert session.for_daemon() == b""
    session.expire(11.0 + PROMPT_QUIET_SECONDS)
    assert sent(session) != b""


def test_ilo_prompt_is_answered_and_hidden() -> None:
    session = HpIlo()
    assert shown(session, b"text</>hpiLO-> ") == b"text"
    session.expire(1.0)
    assert sent(session) == b"vsp\r"
    assert shown(session, b"vsp\r\nVirtual Serial Port active: COM2\r\n", b"\r\nmore", now=1.1) in (
        b"\r\nmore",
        b"more",
    )
    assert session.deadline() is None


def test_unanswered_command_gives_the_output_back() -> None:
    session = HpIlo()
    shown(session, b"</>hpiLO-> ")
    session.expire(1.0)
    assert shown(session, b"something else\r\n", now=2.0) == b""
    session.expire(6.0)
    assert session.for_daemon() == b"something else\r\n"


def test_lo100_prompt_with_any_byte_is_answered() -> None:
    session = HpLo100()
    assert shown(session, b"a/x/-> ") == b"a"
    session.expire(1.0)
    assert sent(session) == b"\x1bQ\r"


def test_prompt_that_goes_on_is_the_nodes() -> None:
    session = SunIlom("override")
    shown(session, b"\r\n-> ")
    assert shown(session, b"printf", now=0.1) == b"\r\n-> printf"
    session.expire(10.0)
    assert sent(session) == b""


def test_ilom_console_that_the_user_left_is_started_again() -> None:
    session = SunIlom()
    assert shown(session, b"x\r\nSerial console stopped.\r\n\r\n-> ") == b"x\r\nSerial console stopped.\r\n"
    session.expire(1.0)
    assert sent(session) == b"start -script /SP/console\r"
    assert shown(session, b"start\r\nSerial console started.  To stop, type ESC (\r\nnode", now=1.1) == b"node"
    assert session.ended is None


@pytest.mark.parametrize(
    ("session", "start", "in_use"),
    [
        (SunIlom("override"), b"start -script /SP/console\r", b"Serial console is in use."),
        (SunElom("override"), b"start /SP/AgentInfo/console\r", b"console already active on another session"),
    ],
)
def test_stolen_console_is_taken_back_or_ends_the_session(session: Session, start: bytes, in_use: bytes) -> None:
    shown(session, b"\r\n-> ")
    session.expire(1.0)
    assert sent(session) == start
    assert shown(session, in_use, now=1.1) == STOLEN
    assert session.ended == 1


@pytest.mark.parametrize("session", [SunIlom(), SunElom()])
def test_stolen_console_ends_the_session_without_override(session: Session) -> None:
    shown(session, b"\r\n-> ")
    session.expire(1.0)
    assert (session.for_daemon(), session.ended) == (STOLEN, 1)


def test_blade_console_is_asked_for_again() -> None:
    session = IbmBc("console -T system:blade[3] -o")
    shown(session, b"\r\nsystem> ")
    session.expire(1.0)
    assert sent(session) == b"console -T system:blade[3] -o\r"
    assert shown(session, b"console...\r\n\x1b[2Jnode", now=1.1) == b"node"
    shown(session, b"\r\nsystem> ", now=2.0)
    session.expire(3.0)
    assert shown(session, b"\r\nSOL session is already active\r\nsystem> ", now=3.1) == STOLEN
    assert session.ended == 1


def test_idle_blade_console_gets_a_key() -> None:
    session = IbmBc("console", "60")
    shown(session, b"x", now=100.0)
    assert session.deadline() == 160.0
    session.expire(160.0)
    assert sent(session) == b" \x7f"
    assert session.deadline() == 220.0


def test_v20z_spectator_takes_the_console_back() -> None:
    session = SunV20z("override")
    text = b"[forced to `spy' mode by root@host]\r\n"
    assert shown(session, text[:10], text[10:]) == text
    assert sent(session) == b"\x05cf\r"
    assert shown(SunV20z(), text) == text
