from __future__ import annotations

from conman_exec.arguments import Target
from conman_exec.dialogue import Become, Run
from conman_exec.ipmitool_exp import COMPLAINT_SECONDS, IpmitoolDialogue
from conman_exec.secret import Secret
from tests.fakes.conversation import Conversation

BANNER = b"[SOL Session operational.  Use &? for help]\n"
COMPLAINT = b"tcgetattr: Inappropriate ioctl for device\n"
REFUSED = b"Error: Unable to establish IPMI v2 / RMCP+ session\n"
BAD_SUITE = b"Error in open session response message : invalid authentication algorithm\n\n"
TARGET = Target("bmc1", "", "", "admin", Secret(b"t0psecret"))


def converse(kg: bytes | None = None, **settings: object) -> Conversation:
    target = TARGET._replace(kg=None if kg is None else Secret(kg))
    return Conversation("ipmitool", IpmitoolDialogue, target, **settings)


def words(talk: Conversation, index: int = -1) -> list[str]:
    run = talk.started[index]
    assert isinstance(run, Run)
    return list(run.argv)


def test_payload_is_activated_at_once_with_the_strongest_suite() -> None:
    talk = converse()
    line = " ".join(words(talk))
    assert line == (
        "ipmitool -e & -I lanplus -C 17 -N 1 -R 2 -H bmc1 -U admin -f /dev/fd/3 sol activate usesolkeepalive"
    )


def test_no_secret_is_in_the_arguments() -> None:
    talk = converse(kg=b"kgsecret")
    assert "secret" not in " ".join(words(talk))
    assert "secret'" not in repr(talk.started)
    run = talk.started[0]
    assert isinstance(run, Run) and run.secret == b"t0psecret\n"


def test_session_is_open_after_the_banner_without_the_tools_complaint() -> None:
    talk = converse()
    assert talk.hears_bytewise(b"x\n" + BANNER + COMPLAINT) == b""
    assert (talk.opened.tool, talk.opened.output, talk.opened.kind) == ("ipmitool", b"", "Guarded")


def test_output_that_comes_with_the_banner_is_the_users() -> None:
    talk = converse()
    talk.hears(BANNER + b"login: ")
    assert talk.opened.output == b"login: "
    talk = converse()
    talk.hears(BANNER + COMPLAINT + b"t\r\nlogin: ")
    assert talk.opened.output == b"t\r\nlogin: "


def test_session_of_a_tool_that_does_not_complain_opens_all_the_same() -> None:
    talk = converse()
    talk.hears(BANNER)
    assert talk.end is None
    talk.waits(COMPLAINT_SECONDS)
    assert talk.opened.output == b""


def test_refused_suite_is_followed_by_the_next() -> None:
    talk = converse()
    talk.hears(BAD_SUITE + REFUSED)
    assert words(talk)[words(talk).index("-C") + 1] == "3"
    talk.hears(BAD_SUITE + REFUSED)
    assert talk.failure == "Unable to establish IPMI v2 / RMCP+ session"


def test_wrong_password_is_not_tried_again_with_another_suite() -> None:
    talk = converse()
    talk.hears(REFUSED)
    assert talk.failure == "Unable to establish IPMI v2 / RMCP+ session"
    assert len(talk.started) == 1


def test_silent_bmc_gets_the_next_suite() -> None:
    talk = converse()
    talk.hears(REFUSED, after=6.0)
    assert len(talk.started) == 2
    talk.hears(REFUSED, after=6.0)
    assert talk.failure == "Unable to establish IPMI v2 / RMCP+ session"


def test_suite_may_be_left_to_the_tool() -> None:
    assert "-C" not in words(converse(cipher_suites=()))


def test_active_payload_is_deactivated_once_and_activated_again() -> None:
    talk = converse(cipher_suites=(3,))
    taken = b"Info: SOL payload already active on another session\n"
    talk.hears(taken)
    assert words(talk)[-2:] == ["sol", "deactivate"]
    talk.hears(b"whatever\n")
    talk.ends()
    assert words(talk)[-3:] == ["sol", "activate", "usesolkeepalive"]
    talk.hears(taken)
    assert talk.failure == "Console session already in use."


def test_active_payload_is_left_alone_without_override() -> None:
    talk = converse(session_override=False)
    talk.hears(b"Info: SOL payload already active on another session\n")
    assert talk.failure == "Console session already in use."


def test_key_is_given_at_its_prompt_and_once() -> None:
    talk = converse(kg=b"kgsecret")
    assert "-Y" in words(talk)
    assert talk.hears(b"Key: ") == b"kgsecret\n"
    assert talk.hears(b"Key: ") == b""


def test_without_a_relay_the_payloads_are_asked_first() -> None:
    talk = converse(relay=False)
    assert words(talk)[-4:] == ["raw", "0x06", "0x4a", "0x01"]
    talk.hears(BAD_SUITE + REFUSED)
    talk.hears(b" 01 00 00\n")
    assert isinstance(talk.end, Become)
    assert talk.end.run.argv[-3:] == ("sol", "activate", "usesolkeepalive")
    assert "3" in talk.end.run.argv


def test_without_a_relay_an_active_payload_is_deactivated_first() -> None:
    talk = converse(relay=False)
    talk.hears(b" 01 01 00\n")
    assert words(talk)[-2:] == ["sol", "deactivate"]
    talk.ends()
    assert isinstance(talk.end, Become)
    talk = converse(relay=False, session_override=False)
    talk.hears(b" 01 01 00\n")
    assert talk.failure == "Console session already in use."


def test_key_keeps_the_relay_as_it_can_be_given_by_prompt_only() -> None:
    assert words(converse(kg=b"k", relay=False))[-3:] == ["sol", "activate", "usesolkeepalive"]


def test_escapes_are_left_to_users_who_want_them() -> None:
    talk = converse(escapes=True)
    talk.hears(BANNER + COMPLAINT)
    assert talk.opened.kind == "Unguarded"


def test_end_and_time_out_are_told() -> None:
    talk = converse()
    talk.ends()
    assert talk.failure == "Connection closed by remote host."
    talk = converse(timeout=7.0)
    talk.waits(7)
    assert talk.failure == "Timed-out."
