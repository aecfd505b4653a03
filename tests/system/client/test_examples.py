"""The examples do on the demo's nodes what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.fakes.daemons import REPOSITORY, environment
from tests.fakes.demo_site import DemoSite
from tests.fakes.files import PATIENCE_SECONDS

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    shells = "\n".join(f'console name="sh{number}" dev="pty:/bin/bash --norc --noprofile -i"' for number in (1, 2))
    with DemoSite(tmp_path_factory.mktemp("demo"), extra=shells) as site:
        yield site


def run(site: DemoSite, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**environment(), "CONMAN_HOST": site.server},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_shell_cmd_1(site: DemoSite) -> None:
    done = run(site, "shell_cmd_1.py", "-j", "sh1", "echo", "$((6*7));", "exit_with() { return $1; }; exit_with 5")
    assert (done.stdout, done.returncode) == ("42\n", 5)
    assert run(site, "shell_cmd_1.py", "sh*", "true").stderr == "ERROR: Matched too many consoles.\n"
    assert run(site, "shell_cmd_1.py", "zz", "true").stderr == "ERROR: Found no matching consoles.\n"


def test_shell_cmd_n(site: DemoSite) -> None:
    done = run(site, "shell_cmd_n.py", "sh*", "echo $((6*7)); echo b")
    assert sorted(done.stdout.splitlines()) == ["sh1:42", "sh1:b", "sh2:42", "sh2:b"]
    assert done.returncode == 0


def test_wtf(site: DemoSite) -> None:
    assert run(site, "wtf.py", "node2", "sh1").stdout == "node2:login\nsh1:shell\n"


def test_boot(site: DemoSite) -> None:
    done = run(site, "boot.py", "node1")
    assert done.stdout.startswith("node1:up with Linux version ")


def test_sysrq(site: DemoSite) -> None:
    done = run(site, "sysrq.py", "s", "node3")
    assert "Emergency Sync complete" in done.stdout
    assert all(line.startswith("node3:") for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", ["boot.py", "shell_cmd_1.py", "shell_cmd_n.py", "sysrq.py"])
def test_a_mistaken_call_is_told_how(name: str, site: DemoSite) -> None:
    done = run(site, name)
    assert done.returncode != 0
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_match_nothing_are_no_crash(site: DemoSite) -> None:
    assert run(site, "sysrq.py", "m", "zz").stderr == "ERROR: Found no matching consoles.\n"


def test_all_examples_are_tested() -> None:
    tested = Path(__file__).read_text() + (REPOSITORY / "tests" / "docs" / "test_own_script.py").read_text()
    assert all(f'"{path.name}"' in tested for path in EXAMPLES.glob("*.py"))
