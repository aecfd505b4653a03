"""ConMan's own client on a pseudo-terminal, as a user has it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional, Sequence

import pexpect

from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import original_conman


class Terminal:
    """The original's ``conman`` running in a terminal. Everything it printed is in ``screen``."""

    def __init__(self, port: int, arguments: Sequence[str], directory: Optional[Path] = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONMAN_")}
        self._child = pexpect.spawn(
            str(original_conman()),
            ["-d", f"127.0.0.1:{port}", *arguments],
            env=environment,
            cwd=None if directory is None else str(directory),
            timeout=PATIENCE_SECONDS,
        )
        self._child.delaybeforesend = None
        self._child.delayafterclose = 0.01
        self.screen = b""

    def expect(self, text: bytes) -> bytes:
        """Everything up to and with ``text``."""
        self._child.expect_exact(text)
        shown: bytes = self._child.before + self._child.after
        self.screen += shown
        return shown

    def expect_opened(self) -> None:
        """The session is open and the terminal raw: keys from now on are the console's."""
        self.expect(b" opened.\r\n")

    def type(self, keys: bytes) -> None:
        self._child.send(keys)

    def end(self) -> int:
        """What is left to print goes to ``screen``; returns the exit status."""
        self._child.expect(pexpect.EOF)
        self.screen += self._child.before
        self._child.close()
        assert self._child.exitstatus is not None, f"the client died of signal {self._child.signalstatus}"
        return int(self._child.exitstatus)

    @property
    def pid(self) -> int:
        return int(self._child.pid)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_failure: object) -> None:
        if not self._child.closed:
            self._child.close(force=True)


def client_command(port: int, *arguments: str) -> List[str]:
    """The client without a terminal, for queries."""
    return [str(original_conman()), "-d", f"127.0.0.1:{port}", *arguments]
