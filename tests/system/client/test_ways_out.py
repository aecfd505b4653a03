"""The terminal is as it was on every way out of a session, and what the user is told then."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import pytest

from tests.fakes.daemons import ORIGINAL, OURS, environment
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.scripted_daemon import ScriptedDaemon
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command
from tests.system.client.pairs import Pair

OPENED = b"\r\n<ConMan> Connection to console [n1] opened.\r\n"


def client(daemon: ScriptedDaemon, *arguments: str) -> OnTerminal:
    return OnTerminal([*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", *arguments])


@contextlib.contextmanager
def session(*arguments: str):  # type: ignore[no-untyped-def]
    """An open session: the daemon, the terminal, and the terminal's settings before."""
    with ScriptedDaemon() as daemon, client(daemon, *(arguments or ("n1",))) as terminal:
        before = terminal.settings
        daemon.grant()
        terminal.read_until(b"opened.\r\n")
        assert terminal.is_raw
        yield daemon, terminal, before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_session_and_says_so(number: int) -> None:
    with session() as (_daemon, terminal, before):
        terminal.signal(number)
        assert terminal.wait() == 0
        assert terminal.settings == before
        assert b"[n1] terminated by signal.\r\n" in terminal.shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_do_not(number: int) -> None:
    with session() as (daemon, terminal, before):
        terminal.signal(number)
        terminal.type(b"x&.")
        assert daemon.connection.recv(1) == b"x"
        daemon.connection.close()
        assert terminal.wait() == 0
        assert terminal.settings == before


def test_a_lost_server_is_an_error() -> None:
    """Errata B9: the original's client leaves the terminal raw."""
    with session() as (daemon, terminal, before):
        daemon.reset()
        assert terminal.wait() == 1
        assert terminal.settings == before
        expected = f"ERROR:     Unable to read from <localhost:{daemon.port}>: Connection reset by peer\n"
        assert terminal.errors == expected.encode()


def test_a_server_that_closes_while_keys_are_typed_is_shown_to_its_last_word() -> None:
    with session() as (daemon, terminal, before):
        daemon.connection.sendall(b"last word")
        daemon.connection.shutdown(socket.SHUT_WR)
        terminal.type(b"typed")
        assert terminal.wait() == 0
        assert terminal.settings == before
        assert b"last word\r\n<ConMan> Connection to console [n1] terminated by server.\r\n" in terminal.shown


def test_a_server_that_does_not_close_keeps_nobody() -> None:
    impatient = "import conman.session, conman.cli; conman.session.LINGER_SECONDS = 0.01; exit(conman.cli.main())"
    with ScriptedDaemon() as daemon:
        argv = [sys.executable, "-c", impatient, "-d", f"127.0.0.1:{daemon.port}", "n1"]
        with OnTerminal(argv) as terminal:
            before = terminal.settings
            daemon.grant()
            terminal.read_until(b"opened.\r\n")
            terminal.type(b"&.")
            assert terminal.wait() == 0
            assert terminal.settings == before
            assert terminal.shown.endswith(b"&.\r\n<ConMan> Connection to console [n1] closed.\r\n")


def test_a_log_that_cannot_be_written_is_an_error() -> None:
    with ScriptedDaemon() as daemon, client(daemon, "-l", "/dev/full", "n1") as terminal:
        assert terminal.wait() == 1
        assert terminal.errors == b'ERROR:     Unable to write to "/dev/full": No space left on device\n'


def test_a_log_that_fails_in_a_session_leaves_the_terminal_sane(tmp_path: Path) -> None:
    """A limit on the size of files takes the full disk's place."""
    limited = ["/bin/sh", "-c", 'ulimit -f 1; exec "$@"', "sh"]
    with ScriptedDaemon() as daemon:
        argv = [*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", "-l", str(tmp_path / "log"), "n1"]
        with OnTerminal([*limited, *argv]) as terminal:
            before = terminal.settings
            daemon.grant()
            terminal.read_until(b"opened.\r\n")
            daemon.connection.sendall(b"x" * 4096)
            assert terminal.wait() == 1
            assert terminal.settings == before
            assert terminal.errors == f'ERROR:     Unable to write to "{tmp_path}/log": File too large\n'.encode()


def test_what_is_typed_behind_an_echo_command_is_kept() -> None:
    with session() as (daemon, terminal, _before):
        terminal.type(b"a&Eb&Ec&.")
        received = b""
        while len(received) < 3:
            received += daemon.connection.recv(100)
        assert received == b"abc"
        daemon.connection.close()
        assert terminal.wait() == 0


@pytest.mark.parametrize("kind", [ORIGINAL, OURS])
def test_the_end_of_the_input_is_worded_as_by_the_original(kind: str) -> None:
    keyboard, theirs = os.openpty()
    with ScriptedDaemon() as daemon:
        argv = [*client_command(kind), "-d", f"127.0.0.1:{daemon.port}", "n1"]
        with OnTerminal(["/bin/sh", "-c", 'exec "$@" <"$0"', os.ttyname(theirs), *argv]) as terminal:
            daemon.grant()
            terminal.read_until(b"opened.")
            os.close(theirs)
            os.close(keyboard)
            assert terminal.wait() == 0
            assert b"Connection to console [n1] terminated by server." in terminal.shown


def test_a_closed_window_ends_the_client() -> None:
    with session() as (daemon, terminal, _before):
        terminal.hang_up()
        while daemon.connection.recv(100):
            pass


def test_echo_outlives_a_suspension(tmp_path: Path) -> None:
    """Errata B11: in the original the terminal echoes no more, and the next &E does the opposite of what it says."""
    with Site(OURS, tmp_path) as site:
        terminal = Pair(OURS, site).open("u", shell=True)
        terminal.type(b"&E")
        terminal.await_echo(True)
        terminal.type(b"&Z")
        terminal.read_until(b"Stopped")
        terminal.read_until(b"$ " if os.getuid() else b"# ")
        terminal.type(b"fg\n")
        terminal.read_until(b"resumed.\r\n")
        assert terminal.is_raw
        assert terminal.echoes
        terminal.type(b"&E")
        terminal.await_echo(False)
        terminal.type(b"&.")
        terminal.read_until(b"closed.\r\n")


def test_a_stop_from_outside_does_not_leave_the_session_cooked(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        pair = Pair(OURS, site)
        terminal = pair.open("-e", "!", "u", shell=True)
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == terminal.pid]
        os.kill(pids[0], signal.SIGTSTP)
        terminal.read_until(b"Stopped")
        terminal.await_echo(True)
        terminal.type(b"fg\n")
        terminal.await_echo(False)
        assert terminal.is_raw
        terminal.type(b"!.")
        terminal.read_until(b"closed.\r\n")


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("daemon", [OURS, ORIGINAL])
def test_without_a_terminal_nobody_is_disturbed(daemon: str, tmp_path: Path) -> None:
    """Errata B8: the original opens the session first."""
    with Site(daemon, tmp_path) as site:
        pair = Pair(OURS, site)
        assert pair.run("-f", "u") == {
            "status": 1,
            "output": b"",
            "error": b"ERROR:     Standard Input is not a terminal device\n",
        }
        assert pair.run("zz")["status"] == 2
        site.settle()
        assert not site.daemon.count("joined by")
        assert b"joined" not in site.path("u.log").read_bytes()


ANSWERS: List[object] = [
    pytest.param(lambda daemon: (daemon.read_line(), daemon.reset()), id="reset"),
    pytest.param(lambda daemon: (daemon.read_line(), daemon.connection.close()), id="closed"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"BOO\n"), id="no answer"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"ERROR MESSAGE='hi'\n"), id="no code"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"ERROR CODE=9\nmore\nlines"), id="no message"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"ERROR CODE=1 MESSAGE='hi.'\nmore"), id="code 1"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"ERROR CODE=6 MESSAGE='caf\xa7'\nx\ny\n"), id="details"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"OK\n"), id="no request answered"),
    pytest.param(lambda daemon: _after_greeting(daemon, b"OK"), id="no line end"),
]


def _after_greeting(daemon: ScriptedDaemon, answer: bytes) -> None:
    daemon.read_line()
    daemon.connection.sendall(answer)
    if answer == b"OK\n":
        daemon.read_line()
    with contextlib.suppress(OSError):  # the client may have heard enough
        daemon.connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("answer", ANSWERS)
def test_complaints_about_servers_are_the_originals(answer: Callable[[ScriptedDaemon], None]) -> None:
    said = []
    for kind in (ORIGINAL, OURS):
        with ScriptedDaemon() as daemon:
            argv = [*client_command(kind), "-d", f"127.0.0.1:{daemon.port}", "-q"]
            with subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE) as process:
                daemon.accept()
                answer(daemon)
                assert process.stderr is not None
                error = process.stderr.read().replace(str(daemon.port).encode(), b"PORT")
                said.append((process.wait(PATIENCE_SECONDS), error))
    assert said[1] == said[0]
    assert said[0][0] == 2


@pytest.mark.parametrize("host", ["nosuch.invalid", "127.0.0.1:1", "127.9.9.9:1", ","])
def test_complaints_about_addresses_are_the_originals(host: str) -> None:
    original, ours = (
        subprocess.run([*client_command(kind), "-d", host, "n1"], env=environment(), capture_output=True)
        for kind in (ORIGINAL, OURS)
    )
    assert (ours.returncode, ours.stderr) == (original.returncode, original.stderr)


def test_a_session_by_ipv6_names_its_server_in_brackets() -> None:
    with ScriptedDaemon(socket.AF_INET6) as daemon:
        argv = [*client_command(OURS), "-d", f"[::1]:{daemon.port}", "n1"]
        with OnTerminal(argv) as terminal:
            assert daemon.grant() == b"CONNECT CONSOLE='n1'\n"
            terminal.read_until(b"opened.\r\n")
            terminal.type(b"&I")
            server = re.search(rb"Connected R/W to console \[n1\] on <(.*)>", terminal.read_until(b">.\r\n"))
            assert server is not None
            assert server[1] in (
                b"[::1]:%d" % daemon.port,
                b"localhost:%d" % daemon.port,
                b"ip6-localhost:%d" % daemon.port,
            )
            daemon.reset()
            assert terminal.wait() == 1
            assert terminal.errors == b"ERROR:     Unable to read from <%b>: Connection reset by peer\n" % server[1]


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_ipv6_addresses(host: str) -> None:
    try:
        daemon = ScriptedDaemon(socket.AF_INET6)
    except OSError:
        pytest.skip("the system has no IPv6")
    with daemon:
        environ = {**environment(), "CONMAN_PORT": str(daemon.port)}
        argv = [*client_command(OURS), "-d", host if host == "::1" else f"{host}:{daemon.port}", "-q"]
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE) as process:
            assert daemon.grant(b"OK CONSOLE='n1' CONSOLE='caf\xc3\xa9'\n") == b"QUERY\n"
            daemon.connection.close()
            assert process.stdout is not None
            assert process.stdout.read() == b"n1\ncaf\xc3\xa9\n"


def test_a_port_that_is_none_is_refused() -> None:
    result = subprocess.run([*client_command(OURS), "-d", "h:70000", "-q"], env=environment(), capture_output=True)
    assert (result.returncode, result.stderr) == (1, b'ERROR:     CMDLINE: invalid port "70000"\n')


def test_a_reply_may_be_longer_than_the_originals_limit() -> None:
    names = b"".join(b"console-%06d\n" % number for number in range(20000))
    with ScriptedDaemon() as daemon:
        argv = [*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", "-q"]
        with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE) as process:
            daemon.grant(b"OK " + b" ".join(b"CONSOLE='%b'" % name for name in names.split()) + b"\n")
            daemon.connection.close()
            assert process.stdout is not None
            assert process.stdout.read() == names


def test_output_that_nobody_reads_is_no_crash() -> None:
    with ScriptedDaemon() as daemon:
        argv = [*client_command(OURS), "-d", f"127.0.0.1:{daemon.port}", "-q"]
        with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            daemon.grant()
            daemon.connection.close()
            assert process.stderr.read() == b"ERROR:     Unable to write to stdout: Broken pipe\n"
            assert process.wait(PATIENCE_SECONDS) == 1
