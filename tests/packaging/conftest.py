"""The packages are built once for all tests, and installed once for each worker."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.fakes.peers import installed_program
from tests.fakes.rpm_root import RpmRoot

REPOSITORY = Path(__file__).resolve().parents[2]

BUILD_SECONDS = 600
"""For a test that has to wait until packages are built, or an environment is filled, while others use the machine."""


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))


RHEL = """\
Name: rhel
Version: 9
Release: 1
Summary: What RHEL and EPEL have of what our packages require, and nothing else
License: none
BuildArch: noarch
Provides: /bin/sh /usr/bin/python3 shadow-utils
Provides: python3-configobj = 5.0.6 python3-pexpect = 4.8.0 python3-pyserial = 3.4
%description
%files
"""

ORIGINAL = """\
Name: conman
Version: 0.3.1
Release: 1
Summary: Stands in for the original's package, with its files' names
License: none
BuildArch: noarch
%description
%install
for file in bin/conman bin/conmen sbin/conmand share/man/man5/conman.conf.5 share/conman/exec/ipmitool.exp \\
    lib/systemd/system/conman.service; do
    mkdir -p $(dirname %{buildroot}/usr/$file)
    echo original >%{buildroot}/usr/$file
done
mkdir -p %{buildroot}/etc %{buildroot}/var/log/conman
echo '# example' >%{buildroot}/etc/conman.conf
%files
%attr(0644,root,root) %config(noreplace) /etc/conman.conf
/usr/bin/*
/usr/sbin/*
/usr/share/man/man5/*
/usr/share/conman
/usr/lib/systemd/system/conman.service
%dir /var/log/conman
"""


class Packages:
    """Built packages, by name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def source(self) -> Path:
        return self._only("SRPMS/*.src.rpm")

    def __getitem__(self, name: str) -> Path:
        return self._only(f"RPMS/noarch/{name}-[0-9]*.rpm")

    def _only(self, pattern: str) -> Path:
        (found,) = self._directory.glob(pattern)
        return found


OURS = ("python3-conman", "conman-py", "conman-py-daemon", "conman-py-client", "conman-py-scripts")
COMPAT = "conman-py-compat"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    installed_program("rpmbuild")
    return Packages(built_once(tmp_path_factory, "rpms", _build_packages))


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A directory that ``build`` has filled, in this worker of the test run or in another."""
    directory = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # all workers'
    directory /= name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "built").exists():
            build(directory)
            (directory / "built").touch()
    return directory


def _build_packages(directory: Path) -> None:
    # The tests of the modules run anyway; that they can be collected shows that the spec's modules are enough for them.
    options = ["--define", "check_args --collect-only"]
    subprocess.run([REPOSITORY / "packaging" / "make-rpm", directory, *options], check=True, timeout=BUILD_SECONDS)
    for name, text in (("rhel", RHEL), ("conman", ORIGINAL)):
        spec = directory / f"{name}.spec"
        spec.write_text(text)
        command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {directory}", "--define", "_build_id_links none"]
        subprocess.run(
            [*command, "--define", f"_rpmdir {directory}/RPMS", spec],
            check=True,
            capture_output=True,
            timeout=BUILD_SECONDS,
        )


@pytest.fixture(scope="module")
def fresh(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpmRoot]:
    """All of ours on a machine that has not had the original. Tests of a module share it."""
    with RpmRoot(tmp_path_factory.mktemp("fresh")) as root:
        root.install(packages["rhel"], *(packages[name] for name in (*OURS, COMPAT)))
        yield root


@pytest.fixture
def machine(packages: Packages, tmp_path: Path) -> Iterator[RpmRoot]:
    """A machine with nothing of ours yet."""
    with RpmRoot(tmp_path / "machine") as root:
        root.install(packages["rhel"])
        yield root
