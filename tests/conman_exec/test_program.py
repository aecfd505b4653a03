from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.fakes.script import Script, descendants

REPOSITORY = Path(__file__).resolve().parents[2]

# A script whose tool is a shell script, given as the host.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from conman_exec.arguments import Arguments
from conman_exec.dialogue import Dialogue, Rules
from conman_exec.program import run
class Shell(Dialogue):
    tool = "sh"
    rules = Rules((rb"name\\? \\Z", "give_name"), (rb"open\\n", "go"))
    def start(self):
        self.run("sh", "-c", self.target.host, terminal=False)
    def give_name(self, match):
        self.say(b"me\\n")
    def go(self, match):
        self.notice = "a notice" * bool(self.target.port == "2")
        self.open("Guarded")
sys.exit(run("ipmitool", Arguments(("host", "port", "user", "pswd")), Shell, ["prog", *sys.argv[1:]]))
"""


def script(*words: str, blocking: bool = False) -> Script:
    return Script(sys.executable, "-c", SCRIPT, str(REPOSITORY), *words, blocking=blocking)


@pytest.mark.parametrize("blocking", [False, True])
def test_login_is_followed_by_the_relay_in_the_same_process(blocking: bool) -> None:
    tool = 'printf "name? "; read name; echo "open"; echo "hello $name"; cat; echo bye'
    with script(tool, "1", "u", "p", blocking=blocking) as running:
        running.read_until(b"Connection established via sh (pid ")
        pid = int(running.read_until(b").\r\n")[:-4])
        assert descendants(running.process.pid)[:2] == [running.process.pid, pid]
        running.read_until(b"hello me\n")
        running.send(b"echoed")
        running.read_until(b"echoed")
        running.socket.shutdown(socket.SHUT_WR)
        assert running.wait() == 0


def test_notice_comes_first() -> None:
    with script("echo open; cat", "2", "u", "p") as running:
        assert running.read_until(b"\r\n") == b"a notice\r\n"
        running.read_until(b"Connection established")


def test_end_of_the_tool_is_the_programs() -> None:
    with script("echo open; echo last words; exit 3", "1", "u", "p") as running:
        assert running.read_to_end().endswith(b"last words\n")
        assert running.wait() == 0


def test_failure_is_an_error_line_and_status_1() -> None:
    with script("true", "1", "u", "p") as running:
        assert running.read_to_end() == b"Error: Connection closed by remote host.\r\n"
        assert running.wait() == 1


def test_usage_is_a_line_and_status_1() -> None:
    with script() as running:
        assert running.read_to_end() == b"Usage: prog <host> <port> <user> <pswd>\r\n"
        assert running.wait() == 1


def test_warning_of_the_password_file_is_shown(tmp_path: Path) -> None:
    (tmp_path / "pswd").write_bytes(b"(:u:p\nh:u:p\n")
    (tmp_path / "pswd").chmod(0o600)
    (tmp_path / "conf").write_text(f"[ipmitool]\npassword_file = {tmp_path}/pswd\n")
    with script("-c", str(tmp_path / "conf"), "h", "1", "u") as running:
        assert running.read_to_end().startswith(
            f"Warning: {tmp_path}/pswd line 1 ignored: invalid host expression: ".encode()
        )


def test_daemon_that_goes_during_the_login_ends_program_and_tool() -> None:
    with script("cat", "1", "u", "p") as running:
        while len(descendants(running.process.pid)) < 2:
            pass
        running.close()
        running.wait()


def test_password_is_in_no_arguments_once_the_session_is_open() -> None:
    with script("echo open; cat", "1", "u", "t0psecret") as running:
        running.read_until(b"established")
        while b"t0psecret" in Path(f"/proc/{running.process.pid}/cmdline").read_bytes():
            pass  # until the process has become the relay
