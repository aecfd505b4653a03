"""``cyclades_ssh_exp.py HOST LINE [USER [PSWD]]``: a line of a Cyclades terminal server (socket_ssh)."""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Rules, text
from conman_exec.ssh import CONTINUE, PASSWORD, REFUSED, SshDialogue, with_mark

ARGUMENTS = Arguments(("host", "port", "user", "pswd"), login_optional=True)

# Also for cyclades_telnet_exp: what a server says of a line that somebody else has.
BUSY = (
    (rb"(ttyS[0-9]+) is being used by \(([^)\r\n]*)\)", "used_by"),
    (rb"is being used by", "in_use"),
    (rb"closed by remote host", "closed"),
)


class LineDialogue(SshDialogue):
    """The login name is ``USER:LINE``. After the login the server may still say that the line is in use."""

    busy = Rules(*BUSY)

    def ssh(self) -> None:
        self.run_ssh(f"{self.target.user or ''}:{self.target.port}", str(self.settings.ssh_port))

    def start(self) -> None:
        super().start()
        denied = (rb"Permission denied", "deny")
        self.rules = with_mark(self, denied, *BUSY, *REFUSED, CONTINUE, PASSWORD)
        self.is_in = False

    def logged_in(self, match: re.Match[bytes]) -> None:
        self.is_in = True
        self.keep()
        self.rules = self.busy
        self.allow(self.settings.settle)

    def used_by(self, match: re.Match[bytes]) -> None:
        self.fail(f"Console session for {text(match[1])} in use by {text(match[2])}.")

    def give_password(self, match: re.Match[bytes]) -> None:
        if self.target.user is None:
            self.deny(match)
        else:
            super().give_password(match)

    def at_timeout(self) -> None:
        if self.is_in:
            self.open(self.guarded())
        else:
            self.fail("Timed-out waiting to authenticate.")


def main() -> int:
    from conman_exec.program import run

    return run("cyclades_ssh", ARGUMENTS, LineDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
