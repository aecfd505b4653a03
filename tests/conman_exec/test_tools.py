from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from conman_exec import tools
from conman_exec.dialogue import Connect, Run
from conman_exec.secret import Secret
from conman_exec.tools import ToolError, connect, find, secret_descriptor, start

PATH = "/usr/bin:/bin"


def output(run: Run, path: str = PATH) -> bytes:
    """All that a tool says until its end."""
    tool = start(run, path)
    os.set_blocking(tool.descriptor, True)
    data = b""
    while True:
        try:
            more = os.read(tool.descriptor, 4096)
        except OSError:
            more = b""
        if not more:
            break
        data += more
    os.close(tool.descriptor)
    os.waitpid(tool.pid, 0)
    return data


def test_program_is_found_in_the_path_and_nowhere_else(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.touch()
    with pytest.raises(ToolError, match='couldn\'t execute "tool": no such file or directory'):
        find("tool", f"/nowhere:{tmp_path}")
    program.chmod(0o755)
    assert find("tool", f"/nowhere:{tmp_path}") == str(program)
    assert find(str(program), "/nowhere") == str(program)
    with pytest.raises(ToolError):
        find(str(tmp_path), "/nowhere")


@pytest.mark.parametrize("terminal", [False, True])
def test_argument_that_no_program_can_be_given_is_told(terminal: bool) -> None:
    with pytest.raises(ToolError, match='couldn\'t execute "printf": embedded null byte'):
        start(Run(("printf", "ad\0min"), terminal), PATH)


@pytest.mark.parametrize("terminal", [False, True])
def test_arguments_are_never_evaluated(terminal: bool) -> None:
    argv = ("printf", "%s|", "$(id)", "[exec id]", "a b", "", "caf\udce9", "*")
    assert output(Run(argv, terminal)) == b"$(id)|[exec id]|a b||caf\xe9|*|"


@pytest.mark.parametrize("terminal", [False, True])
def test_environment_has_no_locale_and_no_secret(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.setenv("KEPT", "yes")
    run = Run(("sh", "-c", "env; tr '\\0' '\\n' </proc/self/cmdline"), terminal, Secret(b"t0psecret\n"), "/some/home")
    lines = output(run).replace(b"\r", b"").split(b"\n")
    assert {b"LC_ALL=C", b"KEPT=yes", b"HOME=/some/home", b"PATH=/usr/bin:/bin"} <= set(lines)
    assert not [line for line in lines if line.startswith((b"LANG", b"LC_CTYPE")) or b"t0psecret" in line]


def test_tool_has_a_session_of_its_own_and_its_terminal() -> None:
    script = "ps -o pid=,sid= -p $$ | tr -s ' '; tty"
    pid, sid, *_ = output(Run(("sh", "-c", script), False)).split()
    assert pid == sid
    assert b"/dev/pts/" in output(Run(("sh", "-c", "tty; : </dev/tty"), True))


def test_socket_of_the_tool_blocks_and_its_output_comes_by_lines() -> None:
    tool = start(Run(("python3", "-c", "print('hello'); import os; print(os.get_blocking(1)); input()"), False), PATH)
    os.set_blocking(tool.descriptor, True)
    data = b""
    while data.count(b"\n") < 2:
        data += os.read(tool.descriptor, 100)
    assert data == b"hello\nTrue\n"
    os.close(tool.descriptor)
    os.waitpid(tool.pid, 0)


def test_secret_can_be_read_once_and_stays_out_of_the_way() -> None:
    descriptor = secret_descriptor(Secret(b"t0psecret"))
    assert descriptor > 3
    assert os.read(descriptor, 100) == b"t0psecret"
    assert os.read(descriptor, 100) == b""
    os.close(descriptor)
    assert secret_descriptor(None) == -1


def test_descriptors_are_closed_when_a_tool_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x7fELF no program")
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(ToolError, match='couldn\'t execute "tool": '):
        start(Run(("tool",), True, Secret(b"x")), str(tmp_path))


def test_connection_is_told_in_the_words_of_a_telnet_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tool, words = connect(Connect("127.0.0.1", str(server.getsockname()[1])), 5)
    assert words == b"Connected to 127.0.0.1.\r\n"
    assert tool is not None and tool.codec is not None and not os.get_blocking(tool.descriptor)
    os.close(tool.descriptor)
    tool, words = connect(Connect("127.0.0.1", "9"), 5)
    assert (tool, words) == (None, b"telnet: Unable to connect to remote host: Connection refused\r\n")
    assert connect(Connect("127.0.0.1", "99999999"), 5)[0] is None


def test_unknown_host_and_time_out_are_told() -> None:
    unknown = socket.gaierror(-2, "Name or service not known")
    assert tools.telnet_words("h", unknown, "23") == b"telnet: could not resolve h/23: Name or service not known\r\n"
    assert tools.telnet_words("h", socket.timeout()).endswith(b"remote host: Connection timed out\r\n")
