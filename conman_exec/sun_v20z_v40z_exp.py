"""``sun_v20z_v40z_exp.py HOST [USER [PSWD]]``: the console of a Sun Fire v20z or v40z, by ssh."""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Rules, text
from conman_exec.ssh import CONTINUE, PASSWORD, REFUSED, SshDialogue

ARGUMENTS = Arguments(("host", "user", "pswd"))

# Once the console speaks, how long it may take to say who else is there.
ATTACH_SECONDS = 1.0


class SunV20zDialogue(SshDialogue):
    """The console program is a remote command; it gets a terminal, without which it would see whole lines only."""

    escape = "none"
    remote_command = ("platform", "console")
    rules = Rules(
        (rb"\[Enter [^\n]* for help\][^\n]*\n", "attached"),
        (rb"\[no, ([^\r\n]*?) is attached\][^\n]*\n", "occupied"),
        (rb"\[forced to `spy' mode by ([^\r\n]*?)\][^\n]*\n", "outvoted"),
        (rb"\[bumped [^\]\r\n]*\][^\n]*\n", "bumped"),
        (rb"Permission denied", "deny"),
        *REFUSED,
        CONTINUE,
        PASSWORD,
    )

    def start(self) -> None:
        self.is_attached = False
        super().start()

    def attached(self, match: re.Match[bytes]) -> None:
        self.is_attached = True
        self.keep()
        self.allow(ATTACH_SECONDS)

    def occupied(self, match: re.Match[bytes]) -> None:
        if not self.is_attached:
            return
        if self.settings.session_override:
            self.say(b"\x05cf\r")
            self.allow(ATTACH_SECONDS)
        else:
            self._spectate(f"Attaching read-only: {text(match[1])} already attached.")

    def outvoted(self, match: re.Match[bytes]) -> None:
        if self.is_attached:
            self._spectate(f"Attaching read-only: unable to override {text(match[1])}.")

    def bumped(self, match: re.Match[bytes]) -> None:
        pass  # we have the console now; nothing for the user

    def _spectate(self, notice: str) -> None:
        self.notice = notice
        self._open_session()

    def _open_session(self) -> None:
        self.open("SunV20z", *(["override"] if self.settings.session_override else []))

    def at_timeout(self) -> None:
        if self.is_attached:
            self._open_session()
        else:
            super().at_timeout()


def main() -> int:
    from conman_exec.program import run

    return run("sun_v20z_v40z", ARGUMENTS, SunV20zDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
