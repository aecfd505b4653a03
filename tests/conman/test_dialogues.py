"""Dialogues held by hand: what they type, given what they hear."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.dialogues import (
    Await,
    CommandResult,
    Dialogue,
    Login,
    State,
    Type,
    await_replay,
    clean,
    detect_state,
    log_in,
    run_command,
    sysrq_answer,
    without_echo,
)
from conman.errors import DialogueError
from conman.expect import EOF, Expecter


def hold(dialogue: Dialogue[Any], *hears: Optional[str]) -> Tuple[List[str], Any]:
    """Perform ``dialogue``; for each wait that the unread text does not satisfy it hears the next of ``hears``.

    ``None`` is silence until the time is over. When all is said the session ends.
    """
    said: List[str] = []
    unread = Expecter()
    left = list(hears)
    reply: Any = None
    try:
        step = next(dialogue)
        while True:
            if isinstance(step, Type):
                said.append(step.text)
                step = dialogue.send(None)
                continue
            assert isinstance(step, Await)
            try:
                reply = unread.find(step.patterns)
                while reply is None and left:
                    heard = left.pop(0)
                    if heard is None:
                        break
                    unread.feed(heard)
                    reply = unread.find(step.patterns)
                else:
                    if reply is None:
                        unread.feed_eof()
                        reply = unread.find(step.patterns)
            except EOF as end:
                step = dialogue.throw(end)
            else:
                step = dialogue.send(reply)
    except StopIteration as end:
        return said, end.value


@pytest.mark.parametrize(
    ("heard", "state"),
    [
        (["noise"], State.ACTIVE),
        ([None, "\r\nn1 login: "], State.LOGIN),
        ([None, "\r\nPassword: "], State.LOGIN),
        ([None, "\r\n[root@n1 ~]# "], State.SHELL),
        ([None, "\r\n\x1b[?2004h\x1b[01;32mroot@n1\x1b[00m:~$ "], State.SHELL),
        ([None, "\r\nn1> "], State.SHELL),
        ([None, "\r\nP00>>>"], State.SRM),
        ([None, "\r\nSROM> "], State.SROM),
        ([None, "\r\nRMC>"], State.RMC),
        ([None, "\r\ngrub> "], State.FIRMWARE),
        ([None, "\r\nShell> "], State.FIRMWARE),
        ([None, "\r\n", None, None], State.INACTIVE),
        ([None, None, None], State.INACTIVE),
        ([None, "Last login: Sun\r\n", None, None], State.ACTIVE),
        (["\r\n<ConMan> Console [n1] connected to x.\r\n", None, "n1 login: "], State.LOGIN),
        ([], State.ERROR),
        ([None], State.ERROR),
    ],
)
def test_states(heard: List[Optional[str]], state: State) -> None:
    assert hold(detect_state(), *heard)[1] is state


def test_a_login() -> None:
    heard = ["\r\nn1 login: ", "root\r\nPassword: ", "\r\nLast login: x\r\n", "n1# "]
    said, login = hold(log_in("root", "secret"), None, *heard)
    assert said == ["\r", "root\r", "secret\r"]
    assert login == Login("n1# ", fresh=True)


def test_half_a_login_is_ended_first() -> None:
    heard = ["\r\nPassword: ", "\r\nLogin incorrect\r\n\r\n", "n1 login: ", "root\r\nPassword: ", "\r\n$ "]
    said, login = hold(log_in("root", "s"), None, *heard)
    assert said == ["\r", "\r", "root\r", "s\r"]
    assert login.prompt == "$ "


@pytest.mark.parametrize("answer", ["\r\nLogin incorrect\r\n", "\r\nn1 login: "])
def test_a_refused_login_does_not_try_again(answer: str) -> None:
    with pytest.raises(DialogueError, match="login as root refused"):
        hold(log_in("root", "secret"), None, "n1 login: ", "Password: ", answer)


def test_a_silent_console_has_no_prompt() -> None:
    with pytest.raises(DialogueError, match="no prompt within 5 s"):
        hold(log_in("root", seconds=5), None, None)


def test_a_password_is_not_in_what_is_shown() -> None:
    assert "secret" not in repr(Type("secret"))


def test_a_command_and_its_status() -> None:
    said, result = hold(run_command("ls"), None, "\r\nn1# ", None, "ls\r\na\r\n", "b\r\nn1# ", "echo $?\r\n3\r\nn1# ")
    assert said == ["\r", "ls\r", "echo $?\r"]
    assert result == CommandResult("a\nb", 3)


def test_prompts_that_answer_earlier_typing_do_not_end_a_command() -> None:
    heard = ["date\r\nMon\r\nn1# ", None, "\r\nn1# ", "\r\nn1# ", None, "ls\r\na\r\nn1# ", "echo $?\r\n0\r\nn1# "]
    said, result = hold(run_command("ls"), *heard)
    assert said == ["\r", "ls\r", "echo $?\r"]
    assert result == CommandResult("a", 0)


def test_an_old_login_prompt_is_not_answered() -> None:
    said, login = hold(log_in("root", "s"), "n1 login: ", None, "\r\nn1 login: ", "root\r\nPassword: ", "\r\n$ ")
    assert said == ["\r", "root\r", "s\r"]
    assert login == Login("$ ", fresh=True)


def test_output_without_a_line_end_and_a_status_that_is_none() -> None:
    heard = [None, "root@n1:~# ", None, "x\r\nhalf", "root@n1:~# ", "echo $?\r\n$?\r\nroot@n1:~# "]
    assert hold(run_command("x"), *heard)[1] == CommandResult("half", None)


def test_no_shell_and_no_return() -> None:
    with pytest.raises(DialogueError, match="No shell prompt$"):
        hold(run_command("ls"), None, None, None)
    with pytest.raises(DialogueError, match="No shell prompt: a login is asked for"):
        hold(run_command("ls"), None, None, "\r\nn1 login: ")
    with pytest.raises(DialogueError, match="Timed-out"):
        hold(run_command("ls"), None, "n1# ", None, "ls\r\n", None)


@pytest.mark.parametrize(
    ("text", "command", "rest"),
    [
        ("ls\r\nout", "ls", "out"),
        ("other\r\nout", "ls", "other\r\nout"),
        ("0123456789 \r0123456789 abc\r\nout", "0123456789 0123456789 abc", "out"),
        ("echo 0123456\r<56789 0123456789 tail\r\nout", "echo 0123456789 0123456789 tail", "out"),
        ("ls", "ls", ""),
        ("", "ls", ""),
    ],
)
def test_echoes(text: str, command: str, rest: str) -> None:
    assert without_echo(text, command) == rest


@given(st.text(max_size=50), st.text(max_size=10))
def test_any_output_has_some_rest(text: str, command: str) -> None:
    assert without_echo(text, command) in text


def test_clean_text_has_neither_colours_nor_messages() -> None:
    said = "\x1b[1ma\x1b[0m\r\r\nb\r\n<ConMan> Console [n1] joined by <u@h> at 01-02 03:04.\r\nc\r\n"
    assert clean(said) == "a\nb\nc"


def test_the_answer_to_a_sysrq_key_ends_though_the_console_talks_on() -> None:
    heard = [part for number in range(100) for part in (None, f"line {number}\r\n")]
    assert hold(sysrq_answer(seconds=3.0), *heard)[1] == "line 0\nline 1\nline 2"
    assert hold(sysrq_answer(), None, None, None, "SysRq", None, " : HELP", None, None)[1] == "SysRq : HELP"


def test_replays() -> None:
    block = "\r\n<ConMan> Begin log replay of console [n1].\r\nold\r\n<ConMan> End log replay of console [n1].\r\n"
    assert hold(await_replay(), "live", block)[1] == "old"
    none = "\r\n<ConMan> Console [n1] is not being logged -- cannot replay.\r\n"
    assert hold(await_replay(), none)[1] is None
