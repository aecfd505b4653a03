"""What keys mean, at a plain prompt."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.keys import Action, Echo, Keyboard, KeyEvent, Mode, Send, Show, printable


def keyboard(escape: str = "&", names: Tuple[str, ...] = ("n1",), **options: bool) -> Keyboard:
    return Keyboard(ord(escape), names, "h:7890", **options)


def sent(events: List[KeyEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Send))


def test_typing_is_sent_in_one_piece_with_ff_doubled() -> None:
    assert keyboard().receive(b"ls\xff\r") == [Send(b"ls\xff\xff\r")]


def test_escapes_are_recognised_anywhere_and_over_reads() -> None:
    keys = keyboard()
    assert keys.receive(b"a&") == [Send(b"a")]
    assert keys.receive(b"Bb") == [Send(b"\xffBb")]


def test_unknown_escapes_are_sent_and_the_escape_itself_once() -> None:
    assert keyboard().receive(b"&a&&&z") == [Send(b"&a&&z")]


def test_a_monitor_sends_nothing_but_commands() -> None:
    keys = keyboard(read_only=True)
    assert keys.receive(b"text&x&&&B&D&E&M") == []
    assert keys.receive(b"&L") == [Send(b"\xffL")]
    assert keys.receive(b"&Jnow") == [Send(b"\xffJnow")]
    assert keys.mode is Mode.READ_WRITE


def test_reset_is_only_for_those_to_whom_it_is_offered() -> None:
    assert keyboard().receive(b"&R") == []
    assert keyboard(reset=True).receive(b"&R") == [Send(b"\xffR")]
    assert b"&R" not in keyboard().help()


@pytest.mark.parametrize(("key", "action"), [(b".", Action.CLOSE), (b"Z", Action.SUSPEND)])
def test_nothing_follows_the_end(key: bytes, action: Action) -> None:
    assert keyboard().receive(b"a&" + key + b"more") == [Send(b"a"), Show(b"&" + key), action]


def test_echo_is_toggled() -> None:
    keys = keyboard()
    assert keys.receive(b"&E") == [Echo(True)]
    assert b"Disable echoing" in keys.help()
    assert keys.receive(b"&E") == [Echo(False)]


def test_quiet_is_remembered() -> None:
    keys = keyboard(quiet=True)
    assert b"Disable quiet-mode" in keys.help()
    assert keys.receive(b"&Q") == [Send(b"\xffQ")]
    assert b"Enable quiet-mode" in keys.help()


@pytest.mark.parametrize("escape", range(256))
def test_any_byte_can_be_the_escape(escape: int) -> None:
    """Errata B10: in the original those from 80 hex on never match."""
    keys = Keyboard(escape, ("n1",), "h:1")
    assert keys.receive(bytes([escape]) + b"B") == [Send(b"\xffB")]


def test_an_escape_that_is_a_command_letter_is_the_command() -> None:
    assert keyboard("B").receive(b"BB") == [Send(b"\xffB")]


@pytest.mark.parametrize(("byte", "text"), [(0, b"^@"), (3, b"^C"), (0x7F, b"^?"), (0xC3, b"C"), (0x26, b"&")])
def test_how_the_escape_is_displayed(byte: int, text: bytes) -> None:
    assert printable(byte) == text


def test_lines_about_the_session() -> None:
    one, many = keyboard(), keyboard(names=("a", "b"))
    assert one.status("opened") == b"\r\n<ConMan> Connection to console [n1] opened.\r\n"
    assert many.status("closed") == b"\r\n<ConMan> Broadcast to 2 consoles closed.\r\n"
    assert one.receive(b"&I") == [Show(b"\r\n<ConMan> Connected R/W to console [n1] on <h:7890>.\r\n")]
    assert many.receive(b"&I") == [Show(b"\r\n<ConMan> Broadcasting to 2 consoles on <h:7890>.\r\n")]
    assert b"Reset nodes" in keyboard(names=("a", "b"), reset=True).help()


@given(st.lists(st.sampled_from([b"&", b"a", b"\xff", b"&B", b"&x", b"\r"])), st.integers(0, 40))
def test_splits_do_not_matter(pieces: List[bytes], place: int) -> None:
    data = b"".join(pieces)
    split = keyboard()
    assert sent(split.receive(data[:place]) + split.receive(data[place:])) == sent(keyboard().receive(data))


@given(st.binary(), st.integers(0, 255), st.booleans())
def test_any_typing_ends_in_known_events(data: bytes, escape: int, read_only: bool) -> None:
    for event in Keyboard(escape, ("n1",), "h:1", read_only=read_only).receive(data):
        assert isinstance(event, (Send, Show, Echo, Action))
