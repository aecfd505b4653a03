"""A program on a terminal of its own, with a user who types and reads: the client, ours or the original's.

The program is the leader of its session and the terminal its controlling one, as in a window. What it writes to
standard error is kept apart. With ``shell`` it is typed into a shell with job control, so that it can be stopped.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any, List, Mapping, Optional

from tests.fakes.daemons import OURS, environment
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import original_conman

_ON_TERMINAL = 'exec "$@" <>"$0" >&0'
_SHELL = ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"]
LFLAG = 3


def client_command(kind: str) -> List[str]:
    return [sys.executable, "-m", "conman"] if kind == OURS else [str(original_conman())]


class OnTerminal:
    """Use as a context manager; a program that still runs at its end is killed."""

    def __init__(
        self,
        argv: List[str],
        *,
        cwd: Optional[Path] = None,
        environ: Optional[Mapping[str, str]] = None,
        shell: bool = False,
    ) -> None:
        self._ours, self._theirs = os.openpty()
        self._shown = bytearray()
        self._unread = bytearray()
        redirect = ' 2>"$0"' if shell else ""  # an interactive shell talks to its user there
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _ON_TERMINAL + redirect, os.ttyname(self._theirs), *(_SHELL if shell else argv)],
            cwd=cwd,
            env={**environment(), **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._errors: List[bytes] = []
        self._collector = threading.Thread(target=self._collect_errors, daemon=True)
        self._collector.start()
        if shell:
            self.type(shlex.join(argv).encode() + b"\n")

    def _collect_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.append(self._process.stderr.read())

    @property
    def pid(self) -> int:
        return self._process.pid

    def type(self, keys: bytes) -> None:
        while keys:
            keys = keys[os.write(self._ours, keys) :]

    def read_until(self, marker: bytes) -> bytes:
        """What is shown up to and with ``marker``."""
        while marker not in self._unread:
            assert self._read(), f"no {marker!r}: {self._unread!r}, errors: {self._errors}"
        end = self._unread.index(marker) + len(marker)
        return self._take(end)

    def _take(self, count: int) -> bytes:
        block = bytes(self._unread[:count])
        del self._unread[:count]
        return block

    @property
    def shown(self) -> bytes:
        """All that has been read, whether it was asked for or not."""
        return bytes(self._shown)

    def forget_shown(self) -> None:
        self._shown.clear()

    def read_count(self, count: int) -> bytes:
        while len(self._unread) < count:
            assert self._read(), f"only {len(self._unread)} of {count} bytes"
        return self._take(count)

    def _read(self, seconds: float = PATIENCE_SECONDS) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            return False
        self._shown += data
        self._unread += data
        return bool(data)

    def wait(self) -> int:
        """Until the program has ended; its status, negative for a signal. Everything it has shown is read then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.shown[-500:]!r}"
            self._read(0.01)
        while select.select([self._ours], [], [], 0)[0] and self._read(0):
            pass
        self._collector.join(PATIENCE_SECONDS)
        return self._process.returncode

    @property
    def errors(self) -> bytes:
        """Standard error; complete after ``wait``."""
        return b"".join(self._errors)

    @property
    def settings(self) -> List[Any]:
        """The terminal's, as tcgetattr(3) gives them."""
        return termios.tcgetattr(self._theirs)

    @property
    def is_raw(self) -> bool:
        return not self.settings[LFLAG] & termios.ICANON

    @property
    def echoes(self) -> bool:
        return bool(self.settings[LFLAG] & termios.ECHO)

    def await_echo(self, on: bool) -> None:
        """Until the program has turned echoing on or off, which nothing tells."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.echoes != on:
            assert time.monotonic() < deadline, f"echoing is still {self.echoes}"
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = self._theirs = -1

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_failure: object) -> None:
        for pid in _session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._collector.join(PATIENCE_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()
        if self._ours >= 0:
            self.hang_up()


def _session(leader: int) -> List[int]:
    """The processes that still run in the session of ``leader``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _parent, _group, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(path.parent.name))
    return found
