"""Where ConMan's own programs are, for the tests that run ours beside them."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def original_conmand() -> Path:
    """The original's daemon, to be run and never read.

    It is looked for under ``$CONMAN_ORIGINAL``, else under ``.peers/conman-0.3.1`` in the repository. Without it the
    test is skipped, but fails where ``CI`` is set: there the peers are a part of the set-up.
    """
    return _original("sbin", "conmand")


def original_conman() -> Path:
    """The original's client; as ``original_conmand``."""
    return _original("bin", "conman")


def original_script(name: str) -> Path:
    """One of the original's device scripts (``ipmitool.exp``); as ``original_conmand``."""
    return _original("share", "conman", "exec", name)


def _original(*path: str) -> Path:
    directory = Path(os.environ.get("CONMAN_ORIGINAL") or _REPOSITORY / ".peers" / "conman-0.3.1")
    program = directory.joinpath("usr", *path)
    if not os.access(program, os.X_OK):
        _missing(f"cannot run {program}: set CONMAN_ORIGINAL to a directory that holds usr/{'/'.join(path)}")
    return program


def installed_program(name: str) -> Path:
    """A program of the distribution (``ipmi_sim``), found where daemons find theirs; as ``original_conmand``."""
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        _missing(f"cannot run {name}: it is not installed")
    return Path(found or "")


def installed_library(name: str) -> str:
    """A shared library (``libipmiconsole.so.2``); as ``original_conmand``."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        _missing(f"cannot load {name}: {error}")
    return name


def faketime_library() -> Path:
    """libfaketime, which sets a program's wall clock; as ``original_conmand``."""
    places = ("lib/*", "lib", "lib64")
    found = [path for place in places for path in Path("/usr").glob(f"{place}/faketime/libfaketime.so.1")]
    if not found:
        _missing("cannot preload libfaketime.so.1: it is not installed")
    return found[0]


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
