from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from conman_exec.dialogue import MAX_KEPT_BYTES, MAX_PENDING_BYTES, Connect, Dialogue, Rules
from tests.fakes.conversation import Conversation


class Greeting(Dialogue):
    tool = "greeter"
    rules = Rules(
        (rb"\Aname: \Z", "give_name"),
        (rb"first", "say_first"),
        (rb"second", "say_second"),
        (rb"go\n", "go"),
        (rb"from here\n", "from_here"),
        (rb"Error: ([^\n]*)\n", "report"),
    )

    def start(self) -> None:
        self.do(Connect(self.target.host, self.target.port))

    def give_name(self, match: re.Match[bytes]) -> None:
        self.say(b"me\r")

    def say_first(self, match: re.Match[bytes]) -> None:
        self.say(b"1")

    def say_second(self, match: re.Match[bytes]) -> None:
        self.say(b"2")

    def go(self, match: re.Match[bytes]) -> None:
        self.open("Session")

    def from_here(self, match: re.Match[bytes]) -> None:
        self.keep()


def conversation() -> Conversation:
    return Conversation("hp_ilo", Greeting)


def test_first_rule_of_the_table_wins_and_consumes_what_came_before() -> None:
    # As with expect: pexpect would take "second", which comes first in the output.
    assert conversation().hears(b"second first") == b"1"
    assert conversation().hears(b"first second") == b"12"


def test_lines_that_no_rule_wants_are_dropped() -> None:
    talk = conversation()
    assert talk.hears(b"motd\r\nmore\r\nname: ") == b"me\r"


def test_prompt_is_recognised_bytewise_and_whole() -> None:
    assert conversation().hears_bytewise(b"motd\r\nname: ") == b"me\r"
    assert conversation().hears(b"name: not yet") == b""


def test_nothing_that_was_to_be_kept_is_lost() -> None:
    talk = conversation()
    talk.hears(b"dropped\nfrom here\nline\r\n")
    talk.hears(b"first half, go\nand more")
    assert talk.opened.output == b"line\r\n half, and more"


def test_device_words_in_a_message_have_no_control_characters() -> None:
    talk = conversation()
    talk.hears(b"Error: \x1b[1mbad\x07 \r\n")
    assert talk.failure == "[1mbad"


def test_end_of_file_and_time_out_have_the_originals_words() -> None:
    talk = conversation()
    talk.ends()
    assert talk.failure == "Connection closed by remote host."
    talk = conversation()
    talk.waits(9.9)
    assert talk.failure is None
    talk.waits(0.2)
    assert talk.failure == "Timed-out."


def test_no_rule_restarts_the_deadline() -> None:
    talk = conversation()
    talk.hears(b"first", after=9.0)
    talk.waits(1.0)
    assert talk.failure == "Timed-out."


def test_nothing_is_taken_in_once_it_is_over() -> None:
    talk = conversation()
    talk.hears(b"go\n")
    assert talk.hears(b"name: ") == b""
    assert talk.ends() == b"" and talk.waits(100) == b""
    assert talk.dialogue.deadline() is None


def test_endless_line_is_bounded() -> None:
    talk = conversation()
    for _ in range(100):
        talk.hears(b"x" * 1000)
    assert len(talk.dialogue.heard()) <= MAX_PENDING_BYTES
    assert talk.hears(b"first") == b"1"
    talk.hears(b"\nfrom here\n")
    for _ in range(100):
        talk.hears(b"x" * 999 + b"\n")
    talk.hears(b"go\n")
    assert len(talk.opened.output) == MAX_KEPT_BYTES


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_output_ends_in_a_documented_way(chunks: list[bytes]) -> None:
    talk = conversation()
    for chunk in chunks:
        talk.hears(chunk)
    talk.waits(60)
    assert talk.end is not None


def test_events_do_not_show_secrets() -> None:
    talk = conversation()
    talk.dialogue.receive(b"name: ", 0)
    assert "me" not in repr(talk.dialogue.events())
