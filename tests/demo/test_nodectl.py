"""The reset button as a program."""

from __future__ import annotations

import socket
import threading
from typing import Iterator, List, Tuple

import pytest

from demo import nodectl


@pytest.fixture
def control() -> Iterator[Tuple[int, List[bytes], List[bytes]]]:
    """A control port: its number, the commands it got, and the replies it is to give."""
    commands: List[bytes] = []
    replies: List[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        listener.settimeout(30)  # a test that failed before it connected must not hang

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                commands.append(stream.readline())
                stream.write(replies.pop(0))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], commands, replies
        thread.join()


def test_a_command_is_sent_and_success_is_silent(
    control: Tuple[int, List[bytes], List[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    port, commands, replies = control
    replies.append(b"ok\n")
    assert nodectl.main([str(port), "node1", "reboot"]) == 0
    assert commands == [b"node1 reboot\n"]
    assert capsys.readouterr() == ("", "")


def test_a_refusal_is_told(
    control: Tuple[int, List[bytes], List[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    port, _, replies = control
    replies.append(b'error: no machine "node9"\n')
    assert nodectl.main([str(port), "node9", "reboot"]) == 1
    assert capsys.readouterr().err == 'nodectl: cannot reboot node9: error: no machine "node9"\n'


def test_a_missing_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = unused.getsockname()[1]
        assert nodectl.main([str(port), "node1", "crash"]) == 1
    assert f"nodectl: cannot crash node1 through port {port}: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["1", "node1"], ["x", "node1", "reboot"]])
def test_wrong_usage_is_told(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert nodectl.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")
