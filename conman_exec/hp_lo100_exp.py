"""``hp_lo100_exp.py HOST PORT [USER [PSWD]]``: the console of an HP Lights-Out 100, by telnet."""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Rules
from conman_exec.hp_ilo_exp import CONSOLE_ASKED, PASSWORD_SENT, HpDialogue

ARGUMENTS = Arguments(("host", "port", "user", "pswd"))


class HpLo100Dialogue(HpDialogue):
    """The console says nothing of its own: the first line after it was asked for is the node's, and is shown."""

    rules = Rules(
        *HpDialogue.common,
        (rb"(?i)login:[ \t]+\Z", "give_user"),
        (rb"(?i)Password:[ \t]+\Z", "give_password"),
        (rb"/./-> \Z", "prompted"),
    )
    waiting = Rules(*HpDialogue.common, (rb"\A(?=[^\n]*\n)", "console_speaks"))

    def prompted(self, match: re.Match[bytes]) -> None:
        if self.step == PASSWORD_SENT:
            self.say(b"\x1bQ\r")
            self.step = CONSOLE_ASKED
            self.rules = self.waiting
            self.keep()

    def console_speaks(self, match: re.Match[bytes]) -> None:
        self.open("HpLo100")


def main() -> int:
    from conman_exec.program import run

    return run("hp_lo100", ARGUMENTS, HpLo100Dialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
