"""The command line: what is printed where, and the exit status. What the options start is replaced."""

from __future__ import annotations

import getopt
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman import __version__
from conmand import cli
from conmand.errors import FatalError
from conmand.server import startup
from tests.fakes.peers import original_conmand

Calls = List[Tuple[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What would have been done."""
    made: Calls = []

    def start(options: startup.StartOptions) -> int:
        made.append(("start", options))
        return 0

    def signal_daemon(options: startup.StartOptions, number: int) -> int:
        made.append((str(int(number)), options))
        return 0

    monkeypatch.setattr(startup, "start", start)
    monkeypatch.setattr(startup, "signal_daemon", signal_daemon)
    return made


def run(*arguments: str) -> int:
    return cli.main(["/usr/sbin/conmand-py", *arguments])


def test_without_options_the_daemon_starts_in_the_background(calls: Calls) -> None:
    assert run() == 0
    assert calls == [("start", startup.StartOptions("/etc/conman.conf"))]


def test_options_arrive_bundled_or_apart_and_other_words_are_ignored(calls: Calls, tmp_path: Path) -> None:
    expected = startup.StartOptions("/c", foreground=True, port=7, pidfile="/p", verbose=True, truncate_logs=True)
    assert run("-Fvz", "-c", "/c", "word", "-p7", "-P/p", "--", "-k") == 0
    assert run("-F", "-v", "-z", "-c/c", "-p", "7", "-P", "/p") == 0
    assert [options for _name, options in calls] == [expected, expected]


def test_a_relative_pid_file_is_meant_from_here(calls: Calls) -> None:
    run("-P", "x.pid")
    assert calls[0][1].pidfile == os.path.join(os.getcwd(), "x.pid")


@pytest.mark.parametrize(
    "arguments, number",
    [("-k", signal.SIGTERM), ("-r", signal.SIGHUP), ("-q", 0), ("-kq", 0), ("-qrk", signal.SIGTERM), ("-Fr", 1)],
)
def test_the_last_of_the_signals_wins(calls: Calls, arguments: str, number: int) -> None:
    assert run(arguments) == 0
    assert [name for name, _options in calls] == [str(int(number))]


@pytest.mark.parametrize("arguments", [["-h"], ["-vh"], ["-h", "-x"], ["-hx"], ["-p", "1", "-h", "-k"]])
def test_help_is_printed_as_soon_as_it_is_reached(
    calls: Calls, arguments: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: /usr/sbin/conmand-py [OPTIONS]\n\n  -c FILE   ") and out.endswith("\n\n")
    assert err == "" and calls == []


def test_help_has_the_originals_lines() -> None:
    text = subprocess.run([original_conmand(), "-h"], stdout=subprocess.PIPE, timeout=60).stdout.decode()
    ours = cli.HELP.splitlines()
    options = [line[:12] for line in text.splitlines() if line.startswith("  -")]
    assert [line[:12] for line in ours if re.match(r"  -[a-zA-Z]", line)] == options
    assert any(line.endswith("[/etc/conman.conf]") for line in ours) and any(line.endswith("[7890]") for line in ours)


def test_version_and_licence(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-V") == 0
    assert re.fullmatch(rf"conman-{re.escape(__version__)}( [A-Z-]+)*\n", capsys.readouterr().out)
    assert run("-L") == 0
    assert "GNU General Public License" in capsys.readouterr().out
    assert calls == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-x"], 'CMDLINE: invalid option "x"'),
        (["-xh"], 'CMDLINE: invalid option "x"'),
        (["-vx"], 'CMDLINE: invalid option "x"'),
        (["-c"], 'CMDLINE: invalid option "c"'),
        (["-vp"], 'CMDLINE: invalid option "p"'),
        (["--bogus"], 'CMDLINE: invalid option "-"'),
        (["-p", "-1"], 'CMDLINE: invalid port "-1"'),
        (["-p", "abc"], 'CMDLINE: invalid port "abc"'),
        (["-p", "65536"], 'CMDLINE: invalid port "65536"'),
        (["-p", ""], 'CMDLINE: invalid port ""'),
    ],
)
def test_mistakes_are_worded_as_the_originals(
    calls: Calls, arguments: List[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    assert capsys.readouterr() == ("", f"ERROR:     {message}\n")
    assert calls == []


@pytest.mark.parametrize("arguments", [["-x"], ["-vx"], ["-c"], ["-p", "-1"]])
def test_the_original_says_the_same(calls: Calls, arguments: List[str], capfd: pytest.CaptureFixture[str]) -> None:
    theirs = subprocess.run([original_conmand(), *arguments], stderr=subprocess.PIPE, timeout=60)
    assert run(*arguments) == theirs.returncode
    assert capfd.readouterr().err == theirs.stderr.decode()


def test_a_fatal_error_of_a_signal_is_printed_and_one_of_the_start_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object) -> int:
        raise FatalError("no such daemon")

    monkeypatch.setattr(startup, "start", fail)
    monkeypatch.setattr(startup, "signal_daemon", fail)
    assert run("-k") == 1
    assert capsys.readouterr().err == "ERROR:     no such daemon\n"
    assert run("-F") == 1
    assert capsys.readouterr().err == ""


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(startup, "start", interrupt)
    assert run("-F") == 130


def test_a_configuration_can_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.conf"
    good.write_text('console name="t" dev="test:"\n')
    assert run("--check", str(good)) == 0
    assert "Consoles: 1" in capsys.readouterr().out
    bad = tmp_path / "bad.conf"
    bad.write_text("nonsense\n")
    assert run("--check", str(bad)) != 0


def test_workers_are_a_number_or_auto(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (((), None), (("--workers", "4"), 4), (("--workers=auto",), "auto")):
        run(*words)
        assert calls[-1][1].workers == expected
    assert run("--workers", "0") == 1
    assert capsys.readouterr().err == (
        'ERROR:     CMDLINE: --workers: "0" is neither "auto" nor a number from 1 to 1024\n'
    )


@given(st.lists(st.text(alphabet="cFhkLp:P qrvVzx-1", max_size=5), max_size=5))
def test_any_command_line_is_understood_or_refused(arguments: List[str]) -> None:
    try:
        parsed = cli._parse(arguments)
    except cli._UsageError as error:
        assert re.fullmatch(r'invalid option ".?"', str(error))
        with pytest.raises(getopt.GetoptError):
            getopt.gnu_getopt(arguments, cli._SHORT_OPTIONS, cli._LONG_OPTIONS)
    else:
        assert all(name in "cFhkLpPqrvVz" or name in ("--check", "--settings", "--workers") for name, _value in parsed)


def test_the_module_can_be_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "c"
        config.write_text('console name="t" dev="test:"\n')
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "conmand", "-F", "-c", str(config), "-p", port],
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == f"ERROR:     Unable to bind to port {port}: Address already in use\n"
