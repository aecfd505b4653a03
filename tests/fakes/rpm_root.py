"""A machine of its own to install RPMs in: this one's files under a layer to throw away, in name spaces.

Programs run there as they would where they are installed: at their own paths, with the system's Python, and with those
of its modules that the packages require and no others. It has its own network, with ``lo`` only, and its own processes,
which end with it. It takes root.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List, Optional

import pytest

from tests.fakes.peers import installed_program

PYTHON_MODULES = ("configobj", "pexpect", "ptyprocess", "serial", "six.py", "validate")
"""What Debian's python3-configobj, python3-pexpect and python3-serial bring, and what these need."""

_SETUP = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
rm -rf etc/conman* var/lib/rpm var/log/conman
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs usr/lib/python3/dist-packages
for module in $2; do
    [ ! -e "/usr/lib/python3/dist-packages/$module" ] ||
        cp -R "/usr/lib/python3/dist-packages/$module" usr/lib/python3/dist-packages
done
for directory in usr/local/lib/python3*/dist-packages; do
    [ ! -d "$directory" ] || mount -t tmpfs tmpfs "$directory"
done
ip link set lo up
echo ready
read -r _ || exit 0
"""

_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb")


class RpmRoot:
    """Use as a context manager; everything in it ends and vanishes with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._init = 0
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> RpmRoot:
        if os.geteuid() != 0:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("only root can install packages")
        self._directory.mkdir(exist_ok=True)
        name_spaces = ["--mount", "--net", "--pid", "--fork", "--kill-child=KILL"]
        setup = ["sh", "-c", _SETUP, "sh", str(self._directory), " ".join(PYTHON_MODULES)]
        self._process = subprocess.Popen(
            [str(installed_program("unshare")), *name_spaces, *setup], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline() == b"ready\n"
        self._init = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text() or "0")
        if not ready:
            self.__exit__()
            pytest.fail("cannot make a root to install packages in")
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        adopted = self._adopted() if self._init else []
        self._process.stdin.close()  # its first process ends, and all others with it
        for pid in adopted:
            os.waitpid(pid, 0)  # or the end would wait for us
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def path(self, name: str) -> Path:
        """A file in there, given its path in there."""
        return Path(f"/proc/{self._init}/root{self._directory}/root{name}")

    def command(self, *argv: str, user: Optional[str] = None) -> List[str]:
        """The command line that runs ``argv`` in there; as ``user`` with the groups that the machine gives it."""
        inside = ["chroot", f"{self._directory}/root", "env", "-i", *_ENVIRONMENT]
        if user is not None:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*self._entered(), *inside, *argv]

    def run(self, *argv: str, user: Optional[str] = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """With standard output and error together in ``stdout``."""
        return _run(self.command(*argv, user=user), check)

    def rpm(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*_rpm(), *argv, check=check)

    def swap(self, erased: str, installed: Path) -> None:
        """One transaction, as of ``dnf swap``. The package file is outside."""
        root = f"{self._directory}/root"
        _run([*self._entered(), "/usr/bin/python3", "-c", _SWAP, root, erased, str(installed)], check=True)

    def install(self, *packages: Path) -> None:
        """Package files from outside, with the dependencies checked."""
        self.rpm("--install", *(self.bring(package) for package in packages))

    def bring(self, file: Path) -> str:
        """Copy a file into it; returns its path there."""
        self.path(f"/tmp/{file.name}").write_bytes(file.read_bytes())
        return f"/tmp/{file.name}"

    def _adopted(self) -> List[int]:
        """Processes in there that are our children, because what started them from outside has been killed."""

        def name_space(pid: int) -> str:
            return os.readlink(f"/proc/{pid}/ns/pid")

        ours = {
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        }
        return [pid for pid in ours if name_space(pid) == name_space(self._init)]

    def _entered(self) -> List[str]:
        return [str(installed_program("nsenter")), f"--target={self._init}", "--mount", "--net", "--pid"]


def _rpm() -> List[str]:
    # Debian's refuses to install anything where dpkg does, until it is told twice.
    return ["rpm", "--dbpath=/var/lib/rpm", *(["--force-debian"] if os.path.exists("/etc/debian_version") else [])]


def _run(argv: List[str], check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100
    )
    assert not check or done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}"
    return done


_SWAP = """\
import os, rpm, sys

root, erased, installed = sys.argv[1:]
rpm.addMacro("_dbpath", "/var/lib/rpm")
transaction = rpm.TransactionSet(root)
transaction.setVSFlags(-1)
opened = {}

def progress(reason, amount, total, path, client):
    if reason == rpm.RPMCALLBACK_INST_OPEN_FILE:
        opened[path] = os.open(path, os.O_RDONLY)
        return opened[path]
    if reason == rpm.RPMCALLBACK_INST_CLOSE_FILE:
        os.close(opened.pop(path))

with open(installed, "rb") as file:
    header = transaction.hdrFromFdno(file.fileno())
transaction.addErase(erased)
transaction.addInstall(header, installed, "u")
unresolved = transaction.check()
if unresolved:
    sys.exit(str(unresolved))
transaction.order()
problems = transaction.run(progress, "")
if problems:
    sys.exit(str(problems))
"""
