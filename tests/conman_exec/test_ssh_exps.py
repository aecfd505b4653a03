"""The scripts that log in with ssh; each has few lines of its own."""

from __future__ import annotations

import re

import pytest

from conman_exec.arguments import Target
from conman_exec.cyclades_ssh_exp import LineDialogue
from conman_exec.dialogue import Dialogue, Run
from conman_exec.secret import Secret
from conman_exec.ssh_exp import HostDialogue
from conman_exec.sun_elom_exp import SunElomDialogue
from conman_exec.sun_ilom_exp import SunIlomDialogue
from conman_exec.sun_v20z_v40z_exp import SunV20zDialogue
from tests.fakes.conversation import Conversation

ALL: list[tuple[str, type[Dialogue]]] = [
    ("ssh", HostDialogue),
    ("cyclades_ssh", LineDialogue),
    ("sun_ilom", SunIlomDialogue),
    ("sun_elom", SunElomDialogue),
    ("sun_v20z_v40z", SunV20zDialogue),
]
PROMPT = b"\radmin@bmc1's password: "


def words(talk: Conversation) -> str:
    run = talk.started[0]
    assert isinstance(run, Run)
    return " ".join(run.argv)


def mark(talk: Conversation) -> bytes:
    found = re.search(r"echo (session-[0-9a-f]{16})", words(talk))
    assert found
    return found[1].encode() + b"\r\n"


@pytest.mark.parametrize(("script", "make"), ALL)
class TestAll:
    def test_secret_is_given_at_the_prompt_only(self, script: str, make: type[Dialogue]) -> None:
        talk = Conversation(script, make)
        assert "t0psecret" not in words(talk)
        assert talk.hears_bytewise(PROMPT) == b"t0psecret\r"

    @pytest.mark.parametrize("prompt", [PROMPT, b"(admin@bmc1) Password: "])
    def test_second_prompt_is_a_refusal(self, script: str, make: type[Dialogue], prompt: bytes) -> None:
        talk = Conversation(script, make)
        assert talk.hears(prompt) == b"t0psecret\r"
        assert talk.hears(b"\r\n" + prompt) == b""
        assert talk.failure == "Permission denied."

    def test_refusals_are_told(self, script: str, make: type[Dialogue]) -> None:
        for said, message in [
            (b"admin@bmc1: Permission denied (publickey,password).\r\n", "Permission denied."),
            (b"ssh: connect to host b port 2: Connection refused\r\n", "connect to host b port 2: Connection refused."),
            (b"\rssh: Could not resolve hostname b: Name or service not known\r\n", None),
            (b"Host key verification failed.\r\n", "Host key verification failed."),
        ]:
            talk = Conversation(script, make)
            talk.hears(said)
            if message:
                assert talk.failure == message

    def test_present_and_former_host_key_questions_are_answered(self, script: str, make: type[Dialogue]) -> None:
        for choices in (b"yes/no", b"yes/no/[fingerprint]"):
            talk = Conversation(script, make)
            assert talk.hears(b"Are you sure you want to continue connecting (" + choices + b")? ") == b"yes\r"

    def test_host_cannot_be_an_option(self, script: str, make: type[Dialogue]) -> None:
        target = Target("-oProxyCommand=x", "22", "", "admin", Secret(b"pw"))
        assert " -- -oProxyCommand=x" in words(Conversation(script, make, target))

    def test_lost_host_is_noticed(self, script: str, make: type[Dialogue]) -> None:
        line = words(Conversation(script, make))
        assert "ServerAliveInterval=15" in line and "ServerAliveCountMax=2" in line


def test_ssh_command_line() -> None:
    line = words(Conversation("ssh", HostDialogue, extra_arguments=("-4",), known_hosts="/etc/kh"))
    assert line.startswith("ssh -a -x -e ^^ -o StrictHostKeyChecking=accept-new -o ConnectTimeout=8 ")
    assert line.endswith(" -o UserKnownHostsFile=/etc/kh -4 -l admin -p 2000 -- bmc1")


def test_session_is_open_at_the_mark_and_all_after_it_is_the_users() -> None:
    talk = Conversation("ssh", HostDialogue)
    talk.hears(b"Banner: unauthorised use is $ \r\n" + PROMPT)
    talk.hears(b"\r\n" + mark(talk) + b"Last login: yesterday\r\n$ ")
    assert talk.opened.output == b"Last login: yesterday\r\n$ "
    assert (talk.opened.tool, talk.opened.kind) == ("ssh", "GuardedSsh")


def test_ssh_has_the_originals_escape_for_users_who_want_it() -> None:
    talk = Conversation("ssh", HostDialogue, escapes=True)
    assert " -e & " in words(talk)
    talk.hears(mark(talk))
    assert talk.opened.kind == "Unguarded"


def test_prompt_before_the_mark_is_no_success() -> None:
    talk = Conversation("ssh", HostDialogue)
    talk.hears(b"Choose a shell $ ")
    talk.waits(10)
    assert talk.failure == "Timed-out."


def test_session_with_a_key_needs_no_password() -> None:
    talk = Conversation("ssh", HostDialogue)
    assert talk.hears(b"Enter passphrase for key '/root/.ssh/id_rsa': ") == b"\r"
    talk.hears(mark(talk))
    assert talk.opened.output == b""


def test_question_that_only_the_user_can_answer_is_shown() -> None:
    talk = Conversation("ssh", HostDialogue)
    talk.hears(PROMPT)
    talk.hears(b"\r\nVerification code: ")
    talk.waits(10)
    assert talk.opened.output == b"\r\nVerification code: "


def test_line_is_part_of_the_cyclades_login_name() -> None:
    talk = Conversation("cyclades_ssh", LineDialogue, Target("ts1", "7001", "", "admin", Secret(b"pw")))
    assert "-l admin:7001 -p 22 -- ts1" in words(talk)
    assert "-l :7001 " in words(Conversation("cyclades_ssh", LineDialogue, Target("ts1", "7001")))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"ttyS7 is being used by (root)\r\n", "Console session for ttyS7 in use by root."),
        (b"The line is being used by someone\r\n", "Console session already in use."),
        (b"Connection to ts1 closed by remote host.\r\n", "Connection closed by remote host."),
    ],
)
def test_cyclades_line_in_use_is_told_also_after_the_login(said: bytes, message: str) -> None:
    talk = Conversation("cyclades_ssh", LineDialogue)
    talk.hears(PROMPT)
    talk.hears(mark(talk))
    assert talk.end is None
    talk.hears(said)
    assert talk.failure == message


def test_cyclades_session_opens_a_moment_after_the_login_and_loses_nothing() -> None:
    talk = Conversation("cyclades_ssh", LineDialogue)
    talk.hears(PROMPT)
    talk.hears(mark(talk) + b"node login: ")
    talk.waits(1.0)
    assert (talk.opened.kind, talk.opened.output) == ("GuardedSsh", b"node login: ")


def test_cyclades_login_has_its_own_time_out_message() -> None:
    talk = Conversation("cyclades_ssh", LineDialogue)
    talk.waits(10)
    assert talk.failure == "Timed-out waiting to authenticate."


@pytest.mark.parametrize(
    ("script", "make", "stop", "start", "started", "kind"),
    [
        ("sun_ilom", SunIlomDialogue, "stop -script /SP/console", "start -script /SP/console",
         b"Serial console started.  To stop, type ESC (\r\n", "SunIlom"),
        ("sun_elom", SunElomDialogue, "stop /SP/AgentInfo/console", "start /SP/AgentInfo/console",
         b"console activate successful.\r\npress ESC\r\n", "SunElom"),
    ],
)  # fmt: skip
def test_sun_console_is_stopped_and_started(
    script: str, make: type[Dialogue], stop: str, start: str, started: bytes, kind: str
) -> None:
    talk = Conversation(script, make)
    talk.hears(PROMPT)
    assert talk.hears(b"\r\nSun(TM) ILOM\r\n-> ") == stop.encode() + b"\r"
    assert talk.hears(b"stop\r\nok\r\n-> ") == start.encode() + b"\r"
    talk.hears(b"start\r\n" + started + b"node")
    assert (talk.opened.kind, talk.opened.options) == (kind, ("override",))
    assert talk.opened.output.endswith(b"node")
    talk = Conversation(script, make, session_override=False)
    assert talk.hears(b"-> ") == start.encode() + b"\r"
    talk.hears(b"oops\r\n-> ")
    assert talk.failure == f"Unexpected {script[4:].upper()} response."


@pytest.mark.parametrize(
    ("script", "make", "said", "message"),
    [
        ("sun_ilom", SunIlomDialogue, b"Serial console is in use.", "Console session already in use."),
        ("sun_ilom", SunIlomDialogue, b"Invalid command 'start'\r\n", "Invalid ILOM command 'start'."),
        ("sun_elom", SunElomDialogue, b"Invalid command 'start'\r\n", "Invalid ELOM command 'start'."),
        ("sun_elom", SunElomDialogue, b"start: Permission Denied", "Permission denied."),
        ("sun_elom", SunElomDialogue, b"console already active on another session", "Console session already in use."),
    ],
)
def test_sun_errors_are_told(script: str, make: type[Dialogue], said: bytes, message: str) -> None:
    talk = Conversation(script, make)
    talk.hears(said)
    assert talk.failure == message


def test_v20z_console_has_a_terminal() -> None:
    line = words(Conversation("sun_v20z_v40z", SunV20zDialogue))
    assert " -t " in line and line.endswith("-- bmc1 platform console")


def test_v20z_session_opens_when_nobody_else_is_named() -> None:
    talk = Conversation("sun_v20z_v40z", SunV20zDialogue)
    talk.hears(PROMPT)
    talk.hears(b"[Enter `^Ec?' for help]\r\nnode")
    talk.waits(0.9)
    assert talk.end is None
    talk.waits(0.2)
    assert (talk.opened.output, talk.opened.notice) == (b"node", "")


def test_v20z_user_is_bumped_with_override() -> None:
    talk = Conversation("sun_v20z_v40z", SunV20zDialogue)
    talk.hears(b"[Enter `^Ec?' for help]\r\n")
    assert talk.hears(b"[no, root@a is attached]\r\n") == b"\x05cf\r"
    talk.hears(b"[bumped root@a]\r\n")
    talk.waits(1.0)
    assert (talk.opened.options, talk.opened.output) == (("override",), b"")


@pytest.mark.parametrize(
    ("override", "said", "notice"),
    [
        (False, b"[no, root@a is attached]\r\n", "Attaching read-only: root@a already attached."),
        (True, b"[forced to `spy' mode by root@a]\r\n", "Attaching read-only: unable to override root@a."),
    ],
)
def test_v20z_spectator_is_told_so(override: bool, said: bytes, notice: str) -> None:
    talk = Conversation("sun_v20z_v40z", SunV20zDialogue, session_override=override)
    talk.hears(b"[Enter `^Ec?' for help]\r\n" + said)
    assert talk.opened.notice == notice
