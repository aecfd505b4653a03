"""``cyclades_telnet_exp.py HOST PORT [USER [PSWD]]``: a line of a terminal server that speaks telnet."""

from __future__ import annotations

import re
import sys

from conman.text import encode
from conman_exec.arguments import Arguments
from conman_exec.cyclades_ssh_exp import BUSY
from conman_exec.dialogue import DENIED, Connect, Dialogue, Rules, text

ARGUMENTS = Arguments(("host", "port", "user", "pswd"), login_optional=True)

_FAILURE = (rb"(?i)Authentication failure|Login incorrect|Access denied|Permission denied", "deny")


class LineDialogue(Dialogue):
    """Before the login the prompts are the server's; after it they are the node's, unless a refusal came with them.

    The server says nothing when it has let us through, so the login is over a moment after the first thing that the
    line says, and at the time-out when it says nothing.
    """

    tool = "telnet"
    before = Rules(
        (rb"Authentication failure", "deny"),
        (rb"Connection refused", "refused"),
        *BUSY,
        (rb"(?m)^telnet: ([^\r\n]*)\r*\n", "report_sentence"),
        (rb"(?m)^Connected to [^\n]*\n", "connected"),
        (rb"(?i)login: \Z", "give_user"),
        (rb"(?i)password: \Z", "give_password"),
    )
    after = Rules(*BUSY, _FAILURE, (rb"(?i)\A\s*password: \Z", "asked_again"))

    def start(self) -> None:
        self.is_in = self.hurried = False
        self.rules = self.before
        self.do(Connect(self.target.host, self.target.port))

    def refused(self, match: re.Match[bytes]) -> None:
        self.fail("Connection refused.")

    def used_by(self, match: re.Match[bytes]) -> None:
        self.fail(f"Console session for {text(match[1])} in use by {text(match[2])}.")

    def connected(self, match: re.Match[bytes]) -> None:
        if self.target.user is None:
            self._logged_in()
            self.allow(self.settings.settle)

    def _logged_in(self) -> None:
        self.is_in = True
        self.keep()
        self.rules = self.after

    def give_user(self, match: re.Match[bytes]) -> None:
        self.say(encode(self.target.user or "") + b"\r")

    def give_password(self, match: re.Match[bytes]) -> None:
        self.tell(self.target.password)
        self._logged_in()

    def asked_again(self, match: re.Match[bytes]) -> None:
        if self.target.user is not None:
            self.fail(DENIED)
        else:  # without a login it is the node that asks
            self._restore(match)

    def _restore(self, match: re.Match[bytes]) -> None:
        self._kept += match[0]

    def receive(self, data: bytes, now: float) -> None:
        super().receive(data, now)
        if self.is_in and not self.hurried and not self.over and self.heard().strip():
            self.hurried = True
            self.allow(self.settings.settle)

    def at_timeout(self) -> None:
        if self.is_in:
            self.open("TelnetBreak")
        else:
            self.fail("Timed-out waiting to authenticate.")


def main() -> int:
    from conman_exec.program import run

    return run("cyclades_telnet", ARGUMENTS, LineDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
