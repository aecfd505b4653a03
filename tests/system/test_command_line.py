"""Options, messages and exit statuses; daemons in the background, found, reopened and stopped as by the original."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from tests.fakes.background import Outcome, background, run
from tests.fakes.daemons import ORIGINAL, OURS, masked
from tests.fakes.files import read_with
from tests.fakes.sessions import ask

CONFIG = 'console name="c" dev="test:" testopts="b:0"\n'


def outcomes(arguments: List[str], directory: Path) -> Tuple[Outcome, Outcome]:
    return run(OURS, arguments, directory), run(ORIGINAL, arguments, directory)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-x"],
        ["-p"],
        ["-Fqx"],
        ["-c"],
        ["-p", "-1"],
        ["-c", "missing.conf"],
        ["-F", "-c", "missing.conf"],
        ["-c", "directory"],
        ["-q", "-c", "missing.conf"],
        ["-k", "-c", "missing.conf"],
        ["-c", "empty.conf"],
        ["-F", "-c", "empty.conf", "ignored"],
        ["-c", "broken.conf"],
        ["-c", "good.conf", "-q"],
        ["-qc", "good.conf"],
        ["-c", "good.conf", "-k"],
        ["-c", "good.conf", "-rv"],
        ["-c", "good.conf", "-k", "-q", "-P", "no.pid"],
        ["-c", "good.conf", "-q", "-P", "junk.pid"],
        ["-c", "good.conf", "-q", "-P", "empty.pid"],
        ["-c", "good.conf", "-q", "-P", "gone.pid"],
        ["--", "-x", "-c", "nothing"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_told_in_the_originals_words(arguments: List[str], tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty.conf").write_text("# nothing\n")
    (tmp_path / "broken.conf").write_text('console name="c"\nserver port=x\nzork\n')
    (tmp_path / "good.conf").write_text(CONFIG)
    (tmp_path / "junk.pid").write_text("junk\n")
    (tmp_path / "empty.pid").write_text("")
    (tmp_path / "gone.pid").write_text(f"{_a_pid_that_was()}\n")
    ours, original = outcomes(arguments, tmp_path)
    assert ours == original
    assert ours[0] == 1 and ours[2].startswith((b"ERROR:     ", b"WARNING:   "))


def _a_pid_that_was() -> int:
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


@pytest.mark.parametrize("arguments", [["-h"], ["-h", "-x"], ["-V"], ["-L"], ["-Vx"], ["-vLc"], ["-V", "-p"]])
def test_information_comes_at_once_and_succeeds(arguments: List[str], tmp_path: Path) -> None:
    """The words are ours where they name us; the layout of the help is what programs may read."""
    ours, original = outcomes(arguments, tmp_path)
    assert (ours[0], ours[2]) == (original[0], original[2]) == (0, b"")
    if "-h" in arguments:
        our_lines, lines = ours[1].split(b"\n"), original[1].split(b"\n")
        assert our_lines[0].startswith(b"Usage: ") and our_lines[0].endswith(b" [OPTIONS]")
        options = [line[:12] for line in lines if line.startswith(b"  -")]
        assert [line[:12] for line in our_lines if re.match(rb"  -\w", line)] == options
    if any("V" in argument for argument in arguments):
        assert re.fullmatch(rb"conman-[0-9.]+( [A-Z-]+)*\n", ours[1])


def test_an_invalid_option_before_help_is_an_error(tmp_path: Path) -> None:
    ours, original = outcomes(["-x", "-h"], tmp_path)
    assert ours == original


def test_a_port_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """Errata E3: to the original it is 0, and 73448 is 7912."""
    (tmp_path / "good.conf").write_text(CONFIG)
    for port in ("abc", "73448", "7890x"):
        status, output, error = run(OURS, ["-F", "-c", "good.conf", "-p", port], tmp_path)
        assert (status, output, error) == (1, b"", b'ERROR:     CMDLINE: invalid port "%b"\n' % port.encode())


@pytest.mark.parametrize("mode", [[], ["-F"]], ids=["background", "foreground"])
def test_a_port_in_use_fails_the_start(mode: List[str], tmp_path: Path) -> None:
    (tmp_path / "good.conf").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [*mode, "-c", "good.conf", "-p", str(taken.getsockname()[1])]
        ours, original = outcomes(arguments, tmp_path)
    assert ours == original
    assert ours[0] == 1 and ours[2].endswith(b": Address already in use\n")


def test_a_failed_start_leaves_no_pid_file(tmp_path: Path) -> None:
    """Errata A6: the original leaves one."""
    (tmp_path / "good.conf").write_text('server pidfile="here.pid"\n' + CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(OURS, ["-c", "good.conf", "-p", str(taken.getsockname()[1])], tmp_path)[0] == 1
    assert not (tmp_path / "here.pid").exists()


def test_a_configuration_that_another_program_has_locked_is_not_in_use(tmp_path: Path) -> None:
    """Errata E7: to the original whoever has a lock, an editor say, is a daemon."""
    config = tmp_path / "good.conf"
    config.write_text(CONFIG)
    with config.open("r+") as owner, socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ["-c", "good.conf", "-p", str(taken.getsockname()[1])]
        fcntl.lockf(owner, fcntl.LOCK_EX)
        ours, original = outcomes(arguments, tmp_path)
        assert ours == original == (1, b"", b'ERROR:     Unable to lock configuration "good.conf"\n')
        fcntl.lockf(owner, fcntl.LOCK_SH)
        ours, original = outcomes(arguments, tmp_path)
    assert original[2] == b'ERROR:     Configuration "good.conf" in use by pid N\n'
    warning, failure = ours[2].splitlines()
    assert warning == b'WARNING:   Configuration "good.conf" is also locked by pid N, which is no ConMan daemon'
    assert b"Unable to bind" in failure


@pytest.mark.parametrize("server", ["", "keepalive=off loopback=off coredump=on timestamp=2h resetcmd=x logfile=l"])
def test_verbose_prints_a_summary(server: str, tmp_path: Path) -> None:
    """Errata H: the release has two lines more than the later sources, which ours follows."""
    (tmp_path / "good.conf").write_text(f"server {server}\n" + CONFIG)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        ours, original = outcomes(
            ["-Fvz", "-c", "good.conf", "-P", "x.pid", "-p", str(taken.getsockname()[1])], tmp_path
        )
    dropped = (b"Starting ConMan", b"Listening on")
    lines = [line for line in original[2].split(b"\n") if not line.startswith(dropped)]
    assert [line for line in lines if line] == [line for line in ours[2].split(b"\n") if line]


# In the background.


LIFE = """\
server logfile="DIR/conmand.log" pidfile="run/conmand.pid" logdir="logs"
global log="%N.log"
console name="c" dev="test:" testopts="b:0"
console name="p" dev="./waits"
zork
"""


def life(kind: str, directory: Path) -> Dict[str, Any]:
    """One life of a daemon in the background, with everything that a shell and a system can see of it."""
    directory.mkdir()
    script = directory / "waits"
    script.write_text("#!/usr/bin/env python3\nimport os, select\nos.write(1, b'here')\nselect.select([0], [], [])\n")
    script.chmod(0o755)
    (directory / "conman.conf").write_text(LIFE.replace("DIR", str(directory)))
    with background(kind, directory / "conman.conf") as daemon:
        pid = daemon.pid
        seen: Dict[str, Any] = {"start": daemon.start}
        read_with(directory / "logs" / "p.log", b"here")
        read_with(directory / "logs" / "c.log", b"log opened")
        seen["pid file"] = (directory / "run" / "conmand.pid").read_text() == f"{pid}\n"
        seen["modes"] = [
            stat.filemode((directory / name).stat().st_mode)
            for name in ("run", "run/conmand.pid", "conmand.log", "logs", "logs/c.log")
        ]
        seen["cwd"] = os.readlink(f"/proc/{pid}/cwd")
        seen["files"] = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]
        seen["environment"] = sorted(Path(f"/proc/{pid}/stat").read_text().split()[4:7])[-1] == "0"  # no terminal
        seen["query"] = ask(daemon.port, b"QUERY\n")
        seen["-q"] = run(kind, ["-qv", "-c", "conman.conf"], directory)[0]
        seen["again"] = run(kind, ["-c", "conman.conf"], directory)
        (directory / "conmand.log").rename(directory / "conmand.log.1")
        (directory / "logs" / "c.log").rename(directory / "logs" / "c.log.1")
        seen["-r"] = run(kind, ["-rvc", "conman.conf"], directory)
        read_with(directory / "logs" / "c.log", b"log opened")
        os.kill(pid, signal.SIGHUP)
        read_with(directory / "conmand.log", b"Performing reconfig")
        seen["-k"] = run(kind, ["-kvc", "conman.conf"], directory)
        seen["status"] = daemon.wait_for_end()
        seen["gone"] = run(kind, ["-kvc", "conman.conf"], directory)
        seen["pid file left"] = (directory / "run" / "conmand.pid").exists()
        seen["log"] = re.sub(rb".*(Listening|Open file).*\n", b"", (directory / "conmand.log.1").read_bytes())
        seen["log"] = re.sub(rb"daemon [0-9.]+ ", b"daemon ", masked(seen["log"], directory))
    return seen


def test_a_life_in_the_background(tmp_path: Path) -> None:
    original, ours = life(ORIGINAL, tmp_path / "original"), life(OURS, tmp_path / "ours")
    for name, theirs in original.items():
        assert ours[name] == theirs, f"{name} differs; ours comes first"
    assert ours["start"] == (0, b"", b"ERROR:     CONFIG[conman.conf:5]: unrecognized token 'zork'\n")
    assert ours["status"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(number: int, tmp_path: Path) -> None:
    config = tmp_path / "conman.conf"
    config.write_text(f'server logfile="{tmp_path}/conmand.log" pidfile="{tmp_path}/c.pid"\n' + CONFIG)
    with background(OURS, config) as daemon:
        os.kill(daemon.pid, number)
        assert daemon.wait_for_end() == 0
    assert f"Exiting on signal={int(number)}\n" in (tmp_path / "conmand.log").read_text()
    assert not (tmp_path / "c.pid").exists()


def test_the_pid_file_of_the_configuration_finds_the_daemon_whose_file_was_replaced(tmp_path: Path) -> None:
    """Errata E5: the original asks for -P then."""
    config = tmp_path / "conman.conf"
    config.write_text(f'server logfile="{tmp_path}/conmand.log" pidfile="{tmp_path}/c.pid"\n' + CONFIG)
    with background(OURS, config) as daemon:
        (tmp_path / "new.conf").write_text(config.read_text())
        (tmp_path / "new.conf").rename(config)
        assert run(OURS, ["-c", "conman.conf", "-q"], tmp_path, mask=False)[1] == b"%d\n" % daemon.pid


def test_check_touches_nothing(tmp_path: Path) -> None:
    """Ours: a configuration is judged without a daemon."""
    (tmp_path / "conman.conf").write_text('server pidfile="x.pid" logfile="x.log"\nglobal log="%N"\n' + CONFIG)
    assert run(OURS, ["--check", "conman.conf"], tmp_path)[0] == 0
    (tmp_path / "broken.conf").write_text("zork\n" + CONFIG)
    status, output, _error = run(OURS, ["--check", "broken.conf"], tmp_path)
    assert status == 1 and b"CONFIG[broken.conf:1]: unrecognized token 'zork'" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.conf", "conman.conf"]
