"""The toy shell answers every line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shell import Deed, Outcome, Situation, run

KERNEL_LOG = ("[    0.000000] Linux", "[    1.0] x")
AT = Situation("node7", "root", now=1709251199.0, uptime_seconds=3723.5, kernel_log=KERNEL_LOG)


@pytest.mark.parametrize(
    "line, text",
    [
        ("", ""),
        ("# comment", ""),
        ("echo a  'b c'", "a b c\n"),
        ("hostname", "node7\n"),
        ("uname", "Linux\n"),
        ("uname -nm", "node7 x86_64\n"),
        ("whoami", "root\n"),
        ("dmesg", "[    0.000000] Linux\n[    1.0] x\n"),
        ("cat /proc/uptime", "3723.50 58831.30\n"),
        ("cat /nowhere", "cat: /nowhere: No such file or directory\n"),
        ("ls /etc", "hostname  motd  os-release\n"),
        ("ls /nowhere", "ls: cannot access '/nowhere': No such file or directory\n"),
        ("frobnicate", "-bash: frobnicate: command not found\n"),
        ("echo 'open", "-bash: syntax error: unexpected end of file\n"),
        ("echo x >", "-bash: syntax error near unexpected token `newline'\n"),
        ("echo x > /etc/hosts", "-bash: /etc/hosts: Read-only file system\n"),
        ("dmesg > /dev/null", ""),
    ],
)
def test_what_commands_print(line: str, text: str) -> None:
    assert replace(run(line, AT), status=0) == Outcome(text)


@pytest.mark.parametrize("command", ["date", "uptime", "free", "ps", "id", "help", "ls", "pwd", "cat /etc/motd"])
def test_commands_that_print_something(command: str) -> None:
    outcome = run(command, AT)
    assert outcome.text.endswith("\n") and outcome.deed is Deed.NONE


def test_uptime_counts_hours() -> None:
    assert " up 1:02," in run("uptime", AT).text


def test_deeds() -> None:
    assert run("reboot", AT).deed is Deed.REBOOT
    assert run("exit", AT) == Outcome("logout\n", Deed.LOGOUT)
    assert run("echo c > /proc/sysrq-trigger", AT) == Outcome("", Deed.SYSRQ, "c")
    assert run("echo > /proc/sysrq-trigger", AT) == Outcome()


@given(st.text())
def test_any_line_is_answered(line: str) -> None:
    assert isinstance(run(line, AT), Outcome)


def test_a_dollar_and_a_question_mark_are_the_last_status() -> None:
    assert run("echo $?", replace(AT, status=3)) == Outcome("3\n")
    statuses = {"true": 0, "frobnicate": 127, "cat /nowhere": 1, "ls /nowhere": 2, "echo x > /x": 1}
    assert {line: run(line, AT).status for line in statuses} == statuses
