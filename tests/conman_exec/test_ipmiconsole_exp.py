from __future__ import annotations

import pytest

from conman_exec.arguments import Target
from conman_exec.dialogue import Run
from conman_exec.ipmiconsole_exp import IpmiconsoleDialogue
from conman_exec.secret import Secret
from tests.fakes.conversation import Conversation


def converse(kg: bytes | None = None, **settings: object) -> Conversation:
    target = Target("bmc1", "", "", "admin", Secret(b"t0psecret"), None if kg is None else Secret(kg))
    return Conversation("ipmiconsole", IpmiconsoleDialogue, target, **settings)


def words(talk: Conversation) -> str:
    run = talk.started[0]
    assert isinstance(run, Run) and run.terminal
    return " ".join(run.argv)


def test_command_line_asks_for_prompts() -> None:
    assert words(converse()) == "ipmiconsole -h bmc1 -u admin -e & -P --session-timeout=25000"
    talk = converse(kg=b"k", workarounds=("a", "b"), cipher_suite=3, extra_arguments=("-l", "operator"))
    assert words(talk) == "ipmiconsole -h bmc1 -u admin -e & -P --session-timeout=25000 -K -I 3 -W a,b -l operator"


def test_session_of_others_may_be_respected() -> None:
    assert "--dont-steal" in words(converse(session_override=False))


def test_login_with_key() -> None:
    talk = converse(kg=b"kgsecret")
    assert talk.hears(b"Password: ") == b"t0psecret\r"
    assert talk.hears(b"\r\nK_g: ") == b"kgsecret\r"
    talk.hears(b"\r\n[SOL established]\r\nnode")
    assert (talk.opened.kind, talk.opened.output) == ("Ipmiconsole", b"node")


def test_secrets_are_given_once() -> None:
    talk = converse()
    assert talk.hears(b"Password: ") == b"t0psecret\r"
    assert talk.hears(b"\r\nPassword: ") == b""
    assert talk.hears(b"\r\nK_g: ") == b""


@pytest.mark.parametrize("reason", ["password invalid", "username invalid", "BMC Implementation"])
def test_reason_is_the_tools(reason: str) -> None:
    talk = converse()
    talk.hears(b"[error received]: " + reason.encode() + b"\r\n")
    assert talk.failure == reason
