"""A shell with job control on a terminal, for programs that suspend themselves."""

from __future__ import annotations

import pexpect

from tests.fakes.files import PATIENCE_SECONDS

PROMPT = b"prompt$ "


class JobControlShell:
    def __init__(self) -> None:
        self._child = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile", "--noediting", "-i"],
            env={"PS1": PROMPT.decode(), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
            timeout=PATIENCE_SECONDS,
            echo=False,
        )
        self._child.delaybeforesend = None
        self._child.delayafterclose = 0.01
        self.expect_prompt()

    def run(self, command: str) -> None:
        self._child.sendline(command)

    def type(self, keys: bytes) -> None:
        self._child.send(keys)

    def expect(self, text: bytes) -> None:
        self._child.expect_exact(text)

    def expect_prompt(self) -> None:
        self.expect(PROMPT)

    def __enter__(self) -> JobControlShell:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._child.close(force=True)
