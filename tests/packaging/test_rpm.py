"""What is in the packages: every path with its mode, owner and purpose; what they require; what rpmlint says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Dict, List, Set

import pytest

from conman import __version__
from conman_exec import PROGRAMS
from tests.fakes.peers import installed_program
from tests.fakes.rpm_root import RpmRoot
from tests.packaging.conftest import COMPAT, OURS, REPOSITORY, Packages

PACKAGING = REPOSITORY / "packaging"
SCRIPTS = sorted([*PROGRAMS.values(), "serial_exp.py"])

# As "rpm -qp" prints them: mode owner:group, flags of the file (c: configuration, n: not replaced, g: not installed,
# d: documentation, l: licence), path. Those of Python's site-packages are looked at apart.
FILES: Dict[str, List[str]] = {
    "conman-py": [
        "drwxr-xr-x root:root  DOC",
        "-rw-r--r-- root:root d DOC/BEHAVIOUR.md",
        "-rw-r--r-- root:root d DOC/CHANGELOG.md",
        "-rw-r--r-- root:root d DOC/README.md",
        "drwxr-xr-x root:root  DOC/docs",
    ],
    "python3-conman": [
        "drwxr-xr-x root:root  DOC",
        "drwxr-xr-x root:root  DOC/examples",
        "drwxr-xr-x root:root  LICENSE",
        "-rw-r--r-- root:root l LICENSE/LICENSE",
    ],
    "conman-py-daemon": [
        "drwxr-x--- root:conman  /etc/conman",
        "-rw-r----- root:conman cng /etc/conman.conf",
        "-rw-r----- root:conman cng /etc/conman.pswd",
        "-rw-r--r-- root:root cn /etc/conmand-py.conf",
        "-rw-r--r-- root:root cn /etc/logrotate.d/conman-py-daemon",
        "-rw-r--r-- root:root cn /etc/sysconfig/conmand-py",
        "-rwxr-xr-x root:root  /usr/bin/conmand-py",
        "-rw-r--r-- root:root  /usr/lib/systemd/system/conmand-py.service",
        "-rw-r--r-- root:root  /usr/lib/systemd/system/conmand-py.socket",
        "-rw-r--r-- root:root  /usr/lib/systemd/system/conmand-py.target",
        "-rw-r--r-- root:root  /usr/lib/systemd/system/conmand-py@.service",
        "-rw-r--r-- root:root  /usr/lib/sysusers.d/conman-py.conf",
        "-rw-r--r-- root:root  /usr/lib/tmpfiles.d/conman-py.conf",
        "drwxr-xr-x root:root  /usr/share/conman-py",
        "-rw-r--r-- root:root  /usr/share/conman-py/conman.conf",
        "-rw-r--r-- root:root d /usr/share/man/man5/conman.conf.5py.gz",
        "-rw-r--r-- root:root d /usr/share/man/man5/conmand-py.conf.5.gz",
        "-rw-r--r-- root:root d /usr/share/man/man8/conmand-py.8.gz",
    ],
    "conman-py-client": [
        "-rwxr-xr-x root:root  /usr/bin/conman-py",
        "-rwxr-xr-x root:root  /usr/bin/conmen-py",
        "-rw-r--r-- root:root  /usr/share/bash-completion/completions/conman-py",
        "lrwxrwxrwx root:root  /usr/share/bash-completion/completions/conmen-py",
        "drwxr-xr-x root:root  /usr/share/fish",
        "drwxr-xr-x root:root  /usr/share/fish/vendor_completions.d",
        "-rw-r--r-- root:root  /usr/share/fish/vendor_completions.d/conman-py.fish",
        "lrwxrwxrwx root:root  /usr/share/fish/vendor_completions.d/conmen-py.fish",
        "-rw-r--r-- root:root d /usr/share/man/man1/conman-py.1.gz",
        "-rw-r--r-- root:root d /usr/share/man/man1/conmen-py.1.gz",
        "drwxr-xr-x root:root  /usr/share/zsh",
        "drwxr-xr-x root:root  /usr/share/zsh/site-functions",
        "-rw-r--r-- root:root  /usr/share/zsh/site-functions/_conman-py",
    ],
    "conman-py-scripts": [
        "-rw-r--r-- root:root cn /etc/conman-exec.conf",
        *(f"-rwxr-xr-x root:root  /usr/bin/{script}" for script in SCRIPTS),
        "drwxr-xr-x root:root  /usr/share/conman",
        "drwxr-xr-x root:root  /usr/share/conman/exec",
        *(f"-rwxr-xr-x root:root  /usr/share/conman/exec/{script}" for script in SCRIPTS),
        "-rw-r--r-- root:root d /usr/share/man/man5/conman-exec.conf.5.gz",
        "-rw-r--r-- root:root d /usr/share/man/man5/conman.pswd.5.gz",
        "-rw-r--r-- root:root d /usr/share/man/man8/conman-exec.8.gz",
    ],
    "conman-py-compat": [
        "lrwxrwxrwx root:root  /usr/bin/conman",
        "lrwxrwxrwx root:root  /usr/bin/conmen",
        "-rw-r--r-- root:root  /usr/lib/systemd/system/conman.service",
        "-rw-r--r-- root:root  /usr/lib/tmpfiles.d/conman-py-compat.conf",
        "-rwxr-xr-x root:root  /usr/sbin/conmand",
        *(f"-rwxr-xr-x root:root  /usr/share/conman/exec/{script}" for script in sorted(PROGRAMS)),
        "-rw-r--r-- root:root d /usr/share/man/man1/conman.1.gz",
        "-rw-r--r-- root:root d /usr/share/man/man1/conmen.1.gz",
        "-rw-r--r-- root:root d /usr/share/man/man5/conman.conf.5.gz",
        "-rw-r--r-- root:root d /usr/share/man/man8/conmand.8.gz",
    ],
}
MODULES = {
    "conman-py": None,
    "python3-conman": "conman",
    "conman-py-daemon": "conmand",
    "conman-py-client": None,
    "conman-py-scripts": "conman_exec",
    "conman-py-compat": None,
}
RELEASE = f"{__version__}-1"
REQUIRES = {
    "conman-py": {f"conman-py-{part} = {RELEASE}" for part in ("client", "daemon", "scripts")},
    "python3-conman": {"python3-configobj >= 5.0.6", "python3-pexpect >= 4.8", "python3-pyserial >= 3.4"},
    "conman-py-daemon": {
        "/bin/sh",
        "/usr/bin/python3",
        f"config(conman-py-daemon) = {RELEASE}",
        f"python3-conman = {RELEASE}",
        "shadow-utils",
    },
    "conman-py-client": {"/usr/bin/python3", f"python3-conman = {RELEASE}"},
    "conman-py-scripts": {
        "/bin/sh",
        "/usr/bin/python3",
        f"config(conman-py-scripts) = {RELEASE}",
        f"python3-conman = {RELEASE}",
    },
    "conman-py-compat": {
        "/bin/sh",
        "/usr/bin/python3",
        *(f"conman-py-{part} = {RELEASE}" for part in ("client", "daemon", "scripts")),
    },
}


def query(package: Path, *options: str) -> List[str]:
    done = subprocess.run(
        ["rpm", "--query", "--package", *options, package], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return done.stdout.splitlines()


def files(package: Path) -> List[str]:
    return query(
        package,
        "--queryformat",
        r"[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]",
    )


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_its_place_mode_and_owner(packages: Packages, name: str) -> None:
    lines = []
    for line in files(packages[name]):
        line = re.sub(r"/usr/share/doc/[^/]+-[0-9.]+", "DOC", line)
        line = re.sub(r"/usr/share/licenses/[^/]+-[0-9.]+", "LICENSE", line)
        if re.search("-packages/", line):
            continue
        if re.search("DOC/(docs|examples)/", line):
            assert line.startswith("-rw-r--r-- root:root d "), line
            continue
        lines.append(line)
    assert lines == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_every_module_is_in_the_package_that_needs_it(packages: Packages, name: str) -> None:
    found: Set[str] = set()
    for line in files(packages[name]):
        mode, owner = line.split(" ")[:2]
        _, inside, module = line.partition("-packages/")
        if not inside or "__pycache__" in module:
            continue
        assert owner == "root:root" and mode in ("-rw-r--r--", "drwxr-xr-x")
        if mode.startswith("-"):
            found.add(module)
    package = MODULES[name]
    expected = set() if package is None else {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix in (".py", ".typed", ".txt", ".configspec")
    }  # fmt: skip
    if name == "python3-conman":
        information = {module for module in found if ".dist-info/" in module}
        assert f"conman_py-{__version__}.dist-info/METADATA" in information
        found -= information
    assert found == expected


@pytest.mark.parametrize("name", REQUIRES)
def test_only_packages_of_rhel_and_epel_are_required(packages: Packages, name: str) -> None:
    assert {line for line in query(packages[name], "--requires") if not line.startswith("rpmlib(")} == REQUIRES[name]


def test_the_original_is_replaced_by_one_package_and_only_when_asked(packages: Packages) -> None:
    for name in OURS:
        assert query(packages[name], "--conflicts") == query(packages[name], "--obsoletes") == []
    assert query(packages[COMPAT], "--conflicts") == ["conman"]
    assert query(packages[COMPAT], "--obsoletes") == []  # or an upgrade would replace the daemon of every site
    assert "conman = 0.3.1" in query(packages[COMPAT], "--provides")


def test_the_packages_have_the_version_of_the_project(packages: Packages) -> None:
    assert query(packages.source, "--queryformat", "%{VERSION}") == [__version__]


def test_what_is_installed_is_what_was_packaged(fresh: RpmRoot) -> None:
    assert fresh.rpm("--verify", *OURS, COMPAT, check=False).stdout == ""


def test_rpmlint_has_nothing_to_say(packages: Packages) -> None:
    done = subprocess.run(
        [
            installed_program("rpmlint"),
            f"--config={PACKAGING}/rpmlint.toml",
            f"--rpmlintrc={PACKAGING}/conman-py.rpmlintrc",
            PACKAGING / "conman-py.spec",
            packages.source,
            *(packages[name] for name in FILES),
        ],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0 and "0 errors, 0 warnings" in done.stdout, done.stdout
