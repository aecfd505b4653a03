"""``ssh_exp.py HOST PORT [USER [PSWD]]``: any host that ssh reaches."""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.ssh import CONTINUE, PASSWORD, REFUSED, SshDialogue, with_mark

ARGUMENTS = Arguments(("host", "port", "user", "pswd"))


class HostDialogue(SshDialogue):
    """A second factor's question, which we cannot answer, ends by time-out in an open session: the user answers."""

    def start(self) -> None:
        super().start()
        self.rules = with_mark(
            self,
            (rb"Permission denied", "deny"),
            *REFUSED,
            CONTINUE,
            (rb"Enter passphrase for key [^\n]*: \Z", "skip_key"),
            PASSWORD,
        )

    def logged_in(self, match: re.Match[bytes]) -> None:
        self.keep()
        self.open(self.guarded())

    def at_timeout(self) -> None:
        if self.password_given and self.heard().strip():
            self.open(self.guarded())
        else:
            super().at_timeout()


def main() -> int:
    from conman_exec.program import run

    return run("ssh", ARGUMENTS, HostDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
