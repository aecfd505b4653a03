"""Source distribution and wheel: built, installed into an empty environment, and tried there.

With tox this is done for each supported Python. Like the set-up of the tests themselves it takes a package index.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Iterator

import pytest

from conman import __version__
from conman_exec import PROGRAMS
from tests.packaging.conftest import BUILD_SECONDS, REPOSITORY, built_once

LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")

CONFIGURATION = """\
server loopback=on logdir="DIR"
console name="n1" dev="test:" testopts="B:20,N:1" log="%N.log"
console name="n2" dev="ipmitool_exp.py"
"""


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both; the wheel is built from the source distribution."""
    return built_once(tmp_path_factory, "distributions", _build)


def _build(directory: Path) -> None:
    shutil.copytree(REPOSITORY, directory / "tree", ignore=LEFT_OUT)  # setuptools leaves files where it works
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", directory, directory / "tree"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=BUILD_SECONDS,
    )


@pytest.fixture(scope="session")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires."""

    def install(directory: Path) -> None:
        (wheel,) = distributions.glob("*.whl")
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=BUILD_SECONDS)
        subprocess.run(
            [directory / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel],
            check=True,
            timeout=BUILD_SECONDS,
        )

    return built_once(tmp_path_factory, "environment", install)


@pytest.fixture
def port(installed: Path, tmp_path: Path) -> Iterator[str]:
    """That of an installed daemon."""
    config = tmp_path / "conman.conf"
    config.write_text(CONFIGURATION.replace("DIR", str(tmp_path)))
    with subprocess.Popen(
        [installed / "bin" / "conmand-py", "-F", "-c", config, "-p", "0"], stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            listening = re.search(r"Listening on TCP port ([0-9]+)", line)
            if listening:
                yield listening[1]
                break
        daemon.terminate()
        daemon.stderr.read()
    assert daemon.returncode == 0


def test_the_source_distribution_is_the_project(distributions: Path) -> None:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {
        "LICENSE", "Makefile", "README.md", "compat/exec/ipmitool.exp", "man/conmand-py.8",
        "packaging/conman-py.spec", "packaging/systemd/conmand-py.service", "tests/install-packages",
        "tests/packaging/test_distributions.py",
    } <= names  # fmt: skip
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", ".peers"))]


def test_the_installed_daemon_serves_the_installed_client(installed: Path, port: str) -> None:
    client = installed / "bin" / "conman-py"
    done = subprocess.run([client, "-d", f"127.0.0.1:{port}", "-q"], check=True, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout.split() == [b"n1", b"n2"]  # n2 is a device script that was found without configuration


def test_device_scripts_are_installed_under_both_names(installed: Path) -> None:
    for script in [*PROGRAMS.values(), "serial_exp.py"]:
        for directory in ("bin", "share/conman/exec"):
            done = subprocess.run([installed / directory / script], stdout=subprocess.PIPE, timeout=60)
            assert done.returncode == 1 and done.stdout.startswith(b"Usage: ")


def test_the_installed_programs_are_of_this_version(installed: Path) -> None:
    for program in ("conmand-py", "conman-py"):
        done = subprocess.run([installed / "bin" / program, "-V"], check=True, stdout=subprocess.PIPE, timeout=60)
        assert done.stdout.startswith(f"conman-{__version__}".encode())


def test_a_service_is_made_of_an_environment(installed: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "conman-py"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "conmand-py").symlink_to(installed / "bin" / "conmand-py")
    (tmp_path / "etc").mkdir()
    script = REPOSITORY / "packaging" / "install-service"
    environment = {"DESTDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([script, "/opt/conman-py"], check=True, stdout=subprocess.DEVNULL, env=environment, timeout=60)
    unit = (tmp_path / "etc/systemd/system/conmand-py.service").read_text()
    assert "ExecStart=/opt/conman-py/bin/conmand-py -c ${CONFIG}" in unit and "/usr/bin/conmand-py" not in unit
    assert (prefix / "share/conman-py/conman.conf").exists()
    (tmp_path / "etc/default/conmand-py").write_text("DAEMON_ARGS=-z\n")
    subprocess.run([script, "/opt/conman-py"], check=True, stdout=subprocess.DEVNULL, env=environment, timeout=60)
    assert (tmp_path / "etc/default/conmand-py").read_text() == "DAEMON_ARGS=-z\n"


def test_a_service_is_not_made_of_nothing(tmp_path: Path) -> None:
    script = REPOSITORY / "packaging" / "install-service"
    done = subprocess.run([script, tmp_path], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith(b"usage: ")
