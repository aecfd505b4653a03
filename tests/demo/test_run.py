"""``make run``: the site starts, serves, and stops without a trace."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from demo.run import configuration
from tests.fakes.peers import original_conmand

REPOSITORY = Path(__file__).resolve().parents[2]

# Says who it is and what it was started with, then waits to be told to stop.
FAKE_DAEMON = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("fake daemon", os.getpid(), *sys.argv[1:], flush=True)
signal.pause()
"""


class Site:
    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "demo" / "run.py"), "--fast", *arguments],
            cwd=directory,
            env={**os.environ, "TMPDIR": str(directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: List[str] = []

    def until(self, words: str) -> str:
        """The first line with ``words`` from here on."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"no {words!r} in {''.join(self.lines)}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait()


@pytest.fixture
def sites() -> Iterator[List[Site]]:
    started: List[Site] = []
    yield started
    for site in started:
        if site.process.poll() is None:
            site.process.terminate()
            site.process.wait()
        assert site.process.stdout is not None
        site.process.stdout.close()


def settings(conf: Path) -> Dict[str, str]:
    """The ``key=value`` words of a configuration; later ones win, consoles are under their names."""
    found: Dict[str, str] = {}
    for line in conf.read_text().splitlines():
        words = dict(word.split("=", 1) for word in shlex.split(line, comments=True)[1:])
        found.update({words["name"]: words["dev"]} if "name" in words else words)
    return found


@pytest.fixture
def fake_daemon(tmp_path: Path) -> str:
    program = tmp_path / "fake_daemon.py"
    program.write_text(FAKE_DAEMON)
    return shlex.join([sys.executable, str(program)])


def test_the_daemon_gets_a_configuration_of_the_nodes(tmp_path: Path, fake_daemon: str, sites: List[Site]) -> None:
    site = Site(tmp_path, "--dir", str(tmp_path / "site"), "--port", "0", "--daemon", fake_daemon)
    sites.append(site)
    conf = tmp_path / "site" / "conman.conf"
    assert site.until("fake daemon").split()[3:] == ["-F", "-c", str(conf)]
    found = settings(conf)
    assert int(found["port"]) > 0
    for name in ("node1", "node2", "node3"):
        host, port = found[name].split(":")
        socket.create_connection((host, int(port))).close()
    reset = found["resetcmd"].replace("%N", "node2")
    assert subprocess.run(["/bin/sh", "-c", reset], check=False).returncode == 0


def test_interrupt_stops_the_daemon_and_removes_the_temporary_directory(
    tmp_path: Path, fake_daemon: str, sites: List[Site]
) -> None:
    site = Site(tmp_path, "--port", "0", "--daemon", fake_daemon)
    sites.append(site)
    daemon = int(site.until("fake daemon").split()[2])
    assert len(list(tmp_path.glob("demo-site-*"))) == 1
    assert site.stop() == 0
    assert list(tmp_path.glob("demo-site-*")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(daemon, 0)


def test_the_guide_tells_the_port(tmp_path: Path, fake_daemon: str, sites: List[Site]) -> None:
    site = Site(tmp_path, "--port", "12345", "--daemon", fake_daemon)
    sites.append(site)
    assert site.until("conman -d").split()[:4] == ["conman", "-d", "127.0.0.1:12345", "node1"]
    site.until("fake daemon")


def test_a_daemon_that_fails_ends_the_site_with_its_status(tmp_path: Path, sites: List[Site]) -> None:
    site = Site(tmp_path, "--port", "0", "--daemon", "/bin/sh -c 'exit 3'")
    sites.append(site)
    assert site.process.stdout is not None
    site.process.stdout.read()
    assert site.process.wait() == 3
    assert list(tmp_path.glob("demo-site-*")) == []


def test_a_percent_sign_in_the_directory_is_not_a_conversion() -> None:
    text = configuration(Path("/tmp/50%N"), 7890, {"node1": 1}, 2)
    assert 'logdir="/tmp/50%%N/logs"' in text


def test_a_directory_that_no_configuration_can_name_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot write a configuration for"):
        configuration(Path('/tmp/a"b'), 7890, {"node1": 1}, 2)


def test_the_original_daemon_runs_the_site(tmp_path: Path, sites: List[Site]) -> None:
    site = Site(tmp_path, "--dir", str(tmp_path / "site"), "--port", "0", "--daemon", str(original_conmand()))
    sites.append(site)
    for name in ("node1", "node2", "node3"):
        site.until(f"Console [{name}] connected to")
    assert site.stop() == 0
