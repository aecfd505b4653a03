from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.errors import ConmanError
from conman.options import Answer, UsageError, first_name, parse, read_patterns
from conman.protocol import Request, RequestCommand


def request(*arguments: str) -> Request:
    return parse(arguments, {}).request()


def test_names_are_split_at_commas() -> None:
    assert parse(["a,,b", "-q", "c"], {}).patterns == ["a", "b", "c"]


def test_options_may_follow_names_until_two_dashes() -> None:
    options = parse(["a", "-Q", "--", "-q", "--tail"], {})
    assert (options.patterns, options.quiet, options.tail) == (["a", "-q", "--tail"], True, False)


def test_the_last_of_force_and_join_wins_and_of_monitor_and_query() -> None:
    assert request("-f", "-j", "a") == Request(RequestCommand.CONNECT, ("a",), join=True)
    assert request("-jf", "a") == Request(RequestCommand.CONNECT, ("a",), force=True)
    assert request("-qm", "-bfj", "a") == Request(RequestCommand.MONITOR, ("a",))
    assert request("-mq", "a").command is RequestCommand.QUERY


def test_escapes() -> None:
    assert parse(["a"], {}).escape == ord("&")
    assert parse(["a"], {"CONMAN_ESCAPE": "\x03x"}).escape == 3
    assert parse(["-e", "", "a"], {"CONMAN_ESCAPE": "x"}).escape == 0
    assert parse(["-eé", "a"], {}).escape == 0xC3


@pytest.mark.parametrize(
    ("arguments", "option"), [(["-x"], "x"), (["-e"], "e"), (["--foo"], "-"), (["-qd"], "d"), (["-h", "-:"], ":")]
)
def test_mistakes(arguments: List[str], option: str) -> None:
    with pytest.raises(UsageError, match=f'^invalid option "{option}"$'):
        parse(arguments, {})


def test_answers_come_in_their_turn() -> None:
    assert parse([], {}).answer is Answer.HELP
    assert parse([","], {}).answer is Answer.HELP
    assert parse(["-V", "-x"], {}).answer is Answer.VERSION
    assert parse(["-L", "-F", "/nonexistent"], {}).answer is Answer.LICENSE
    with pytest.raises(UsageError):
        parse(["-h", "-x"], {})


def test_json_is_for_status() -> None:
    assert parse(["--status", "--json"], {}).answer is None
    with pytest.raises(UsageError, match="--json needs --status"):
        parse(["--json"], {})


def test_a_bad_port_in_the_environment_is_named() -> None:
    with pytest.raises(UsageError, match='invalid port "70000" in CONMAN_HOST or CONMAN_PORT'):
        parse(["a"], {"CONMAN_PORT": "70000"})


def test_console_files(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"# c\n\n  n1 \t\nb # x\r\n#u\n" + b"x" * 1030 + b"\nlast")
    assert read_patterns(str(path)) == ["n1", "b # x", "x" * 1023, "x" * 7, "last"]
    with pytest.raises(ConmanError, match="Unable to open .*: Is a directory"):
        read_patterns(str(tmp_path))


@given(st.lists(st.text(alphabet="-abdefhjlmqQrvVL=:,x", max_size=6)))
def test_any_command_line_is_understood_or_refused(arguments: List[str]) -> None:
    try:
        parse(arguments, {})
    except ConmanError as error:
        assert str(error)


def test_the_first_name_is_found_behind_options_and_their_values() -> None:
    for options in ([], ["-d", "h"], ["-dh"], ["-Qd", "h"], ["-Qrdh", "--status"], ["-e", "-d", "-F", "x"]):
        assert first_name([*options, "run", "x"]) == len(options)
    for none in ([], ["-q"], ["-d"], ["-d", "h"], ["--", "run"], ["-q", "--", "run"]):
        assert first_name(none) is None
    assert first_name(["-"]) == 0
