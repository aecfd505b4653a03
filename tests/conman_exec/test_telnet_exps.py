"""The scripts that log in by telnet; each has few lines of its own."""

from __future__ import annotations

import pytest

from conman_exec.arguments import Target
from conman_exec.cyclades_telnet_exp import LineDialogue
from conman_exec.dialogue import Connect, Dialogue
from conman_exec.hp_ilo_exp import HpIloDialogue
from conman_exec.hp_lo100_exp import HpLo100Dialogue
from conman_exec.ibm_bc_exp import IbmBcDialogue
from tests.fakes.conversation import Conversation

CONNECTED = b"Connected to bmc1.\r\n"


def test_port_is_the_given_one_and_the_blade_centers_is_its_own() -> None:
    assert Conversation("hp_ilo", HpIloDialogue).started == [Connect("bmc1", "2000")]
    assert Conversation("ibm_bc", IbmBcDialogue).started == [Connect("bmc1", "23")]


def ilo() -> Conversation:
    talk = Conversation("hp_ilo", HpIloDialogue)
    talk.hears(CONNECTED)
    return talk


def test_ilo_login() -> None:
    talk = ilo()
    assert talk.hears_bytewise(b"\r\nLogin Name: ") == b"admin\r"
    assert talk.hears(b"admin\r\nPassword: ") == b"t0psecret\r"
    assert talk.hears(b"\r\nUser:admin logged-in\r\n</>hpiLO-> ") == b"vsp\r"
    assert talk.hears(b"vsp\r\nVirtual Serial Port active: COM2\r\n\r\nnode") == b"\r"
    assert (talk.opened.tool, talk.opened.kind, talk.opened.output) == ("telnet", "HpIlo", b"node")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([b"Invalid login\r\n"], "Permission denied."),
        ([b"CLI session stopped\r\n"], "CLI session stopped."),
        ([b"Requested service is unavailable, it is already in use\r\n"], "Console session already in use."),
        ([b"Login Name: ", b"Login Name: "], "Permission denied."),
        ([b"Password: "], "Permission denied."),
        ([b"telnet: Unable to connect to remote host: No route to host\r\n"],
         "Unable to connect to remote host: No route to host."),
    ],
)  # fmt: skip
def test_ilo_errors_are_told(said: list[bytes], message: str) -> None:
    talk = ilo()
    for words in said:
        talk.hears(words)
    assert talk.failure == message


def test_hp_end_before_the_connection_is_another_than_after_it() -> None:
    talk = Conversation("hp_lo100", HpLo100Dialogue)
    talk.ends()
    assert talk.failure == "Unable to connect to bmc1:2000."
    talk = ilo()
    talk.ends()
    assert talk.failure == "Connection closed by remote host."


def test_lo100_login_keeps_the_consoles_first_line() -> None:
    talk = Conversation("hp_lo100", HpLo100Dialogue)
    talk.hears(CONNECTED)
    assert talk.hears(b"lo100 login: ") == b"admin\r"
    assert talk.hears(b"Password: ") == b"t0psecret\r"
    assert talk.hears(b"\r\n/./-> ") == b"\x1bQ\r"
    talk.hears(b"node boots\r\nmore")
    assert (talk.opened.kind, talk.opened.output) == ("HpLo100", b"node boots\r\nmore")


def cyclades(user: bool = True) -> Conversation:
    talk = Conversation("cyclades_telnet", LineDialogue, None if user else Target("ts1", "7001"))
    talk.hears(CONNECTED)
    return talk


def logged_in() -> Conversation:
    talk = cyclades()
    assert talk.hears(b"\r\nlogin: ") == b"admin\r"
    assert talk.hears(b"admin\r\npassword: ") == b"t0psecret\r"
    return talk


def test_cyclades_login_is_over_a_moment_after_the_line_speaks() -> None:
    talk = logged_in()
    talk.hears(b"\r\n", after=1.0)
    talk.waits(2.0)
    assert talk.end is None
    talk.hears(b"node ")
    talk.waits(0.9)
    talk.hears(b"boots")
    talk.waits(0.2)
    assert (talk.opened.kind, talk.opened.output) == ("TelnetBreak", b"\r\nnode boots")


def test_cyclades_login_on_a_silent_line_is_over_at_the_time_out() -> None:
    talk = logged_in()
    talk.waits(10)
    assert talk.opened.output == b""


def test_login_prompt_after_the_login_is_the_nodes() -> None:
    talk = logged_in()
    talk.hears(b"\r\nnode1 login: ")
    talk.waits(1.0)
    assert talk.opened.output == b"\r\nnode1 login: "


def test_login_prompt_without_a_user_is_the_nodes() -> None:
    talk = cyclades(user=False)
    assert talk.hears(b"node1 login: ") == b""
    assert talk.hears(b"x\r\nPassword: ") == b""
    talk.waits(1.0)
    assert talk.opened.output == b"node1 login: x\r\nPassword: "


@pytest.mark.parametrize("said", [b"\r\nLogin incorrect\r\nlogin: ", b"Authentication failure\r\n", b"\r\npassword: "])
def test_cyclades_refusal_is_told(said: bytes) -> None:
    talk = logged_in()
    talk.hears(said)
    assert talk.failure == "Permission denied."


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"telnet: Unable to connect to remote host: Connection refused\r\n", "Connection refused."),
        (b"telnet: could not resolve ts1/7001: Unknown\r\n", "could not resolve ts1/7001: Unknown."),
        (b"ttyS1 is being used by (joe)\r\n", "Console session for ttyS1 in use by joe."),
        (b"is being used by", "Console session already in use."),
    ],
)
def test_cyclades_errors_are_told(said: bytes, message: str) -> None:
    for talk in (Conversation("cyclades_telnet", LineDialogue), cyclades()):
        talk.hears(said)
        assert talk.failure == message


def test_cyclades_login_has_its_own_time_out_message() -> None:
    talk = cyclades()
    talk.waits(10)
    assert talk.failure == "Timed-out waiting to authenticate."


def blade(**settings: object) -> Conversation:
    talk = Conversation("ibm_bc", IbmBcDialogue, **settings)
    talk.hears(CONNECTED)
    assert talk.hears(b"\r\nusername: ") == b"admin\r"
    assert talk.hears(b"password: ") == b"t0psecret\r"
    return talk


def test_modules_are_set_in_turn_until_there_is_none() -> None:
    talk = blade()
    assert talk.hears(b"system> ") == b"telnetcfg -T system:mm[1] -t 0\r"
    assert talk.hears(b"OK\r\nsystem> ") == b"telnetcfg -T system:mm[2] -t 0\r"
    assert talk.hears(b"The target bay is empty.\r\nsystem> ") == b"console -T system:blade[3] -o\r"
    talk.hears(b"console -T ...\r\n\x1b[2Jnode")
    assert talk.opened.output == b"node"
    assert (talk.opened.kind, talk.opened.options) == ("IbmBc", ("console -T system:blade[3] -o", "0"))


@pytest.mark.parametrize(
    "answer",
    [b"Command cannot be issued to this target.", b"User does not have the authority to issue this command."],
)
def test_modules_that_cannot_be_set_are_left(answer: bytes) -> None:
    talk = blade()
    talk.hears(b"system> ")
    assert talk.hears(answer + b"\r\nsystem> ") == b"console -T system:blade[3] -o\r"


def test_modules_may_be_left_alone() -> None:
    talk = blade(bcmm_timeout=-1, session_override=False)
    assert talk.hears(b"system> ") == b"console -T system:blade[3]\r"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"Invalid login", "Permission denied."),
        (b"Command not recognized", "Command not recognized."),
        (b"Invalid target path", "Invalid blade name."),
        (b"The target bay is out of range", "Invalid blade number."),
        (b"SOL session is already active", "Console session already in use."),
        (b"The target bay is empty.\r\n", "No blade in specified slot."),
        (b"?\r\nsystem> ", "Unrecognized response."),
    ],
)
def test_blade_errors_are_told(said: bytes, message: str) -> None:
    talk = blade(bcmm_timeout=-1)
    talk.hears(b"system> ")
    talk.hears(said)
    assert talk.failure == message


def test_silent_blade_is_open_at_the_time_out() -> None:
    talk = blade(bcmm_timeout=-1)
    talk.hears(b"system> ")
    talk.waits(10)
    assert talk.opened.kind == "IbmBc"


@pytest.mark.parametrize(
    ("script", "make"),
    [("hp_ilo", HpIloDialogue), ("hp_lo100", HpLo100Dialogue), ("ibm_bc", IbmBcDialogue),
     ("cyclades_telnet", LineDialogue)],
)  # fmt: skip
def test_secret_is_in_no_message(script: str, make: type[Dialogue]) -> None:
    talk = Conversation(script, make)
    for said in (CONNECTED, b"Login Name: ", b"login: ", b"username: ", b"Password: ", b"t0psecret\r\n", b"OK\r\n"):
        talk.hears(said)
    talk.waits(60)
    assert "t0psecret" not in repr(talk.end)
