"""A console whose node says numbered lines, and what the daemon tells of its log."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.fakes.devices import Peer
from tests.fakes.sites import Site

NOTICE = re.compile(rb"\r\n<ConMan> [^\r]*\.\r\n")
MARK = re.compile(rb"\r\n<ConMan> Console \[c\] log lost (\d+) bytes?(?: and \d+ messages?)? here\.\r\n")
OPENED = b"log opened"


def numbered_lines(begin: int, end: int) -> bytes:
    """100 bytes each."""
    return b"".join(b"%07d" % number + b"." * 91 + b"\r\n" for number in range(begin, end))


def node(site: Site, config: str, *options: str, **arguments: Any) -> Peer:
    """Start the daemon on ``config`` and a console ``c`` whose node is connected."""
    peer = site.unix_peer("c.sock")
    site.start(config + 'console name="c" dev="unix:DIR/c.sock"\n', *options, **arguments)
    peer.accept()
    site.daemon.wait_for("[c] connected")
    return peer


def status(site: Site, console: str = "c") -> Dict[str, Any]:
    reply = site.ask(b"QUERY OPTION=STATUS CONSOLE='%s'\n" % console.encode()).splitlines()[1]
    found: Dict[str, Any] = json.loads(reply)
    accounts = found["device_bytes"]
    assert accounts["read"] == accounts["logged"] + accounts["waiting"] + accounts["lost"], accounts
    return found


def accounts(site: Site) -> Dict[str, int]:
    found: Dict[str, int] = status(site)["device_bytes"]
    return found


def said(log: bytes) -> bytes:
    """What the device said, of a log without options."""
    return NOTICE.sub(b"", log)


def rotated(directory: Path, name: str = "c.log") -> List[bytes]:
    """The log and its rotated files, the oldest first, unpacked.

    A daemon that ended in the middle may have left an unfinished file, and one that is there compressed and not.
    """

    def number(path: Path) -> int:
        return int(path.name[len(name) + 1 :].partition(".")[0])

    by_number = {number(path): path for path in sorted(directory.glob(f"{name}.*")) if path.suffix != ".unfinished"}
    old = [by_number[number] for number in sorted(by_number, reverse=True)]
    return [*map(_content, old), (directory / name).read_bytes()]


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True).stdout
    return data


def remount(directory: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)


@contextmanager
def file_system(directory: Path, options: str) -> Iterator[Path]:
    """A file system of its own, in memory. Needs root, which continuous integration has."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a file system needs root")
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)
