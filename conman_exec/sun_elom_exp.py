"""``sun_elom_exp.py HOST [USER [PSWD]]``: the console behind a Sun ELOM, by ssh."""

from __future__ import annotations

import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Rules
from conman_exec.ssh import CONTINUE, PASSWORD, REFUSED
from conman_exec.sun_ilom_exp import SunIlomDialogue

ARGUMENTS = Arguments(("host", "user", "pswd"))


class SunElomDialogue(SunIlomDialogue):
    """As ILOM, in other words."""

    name, kind = "ELOM", "SunElom"
    stop_command, start_command = b"stop /SP/AgentInfo/console\r", b"start /SP/AgentInfo/console\r"
    rules = Rules(
        (rb"console activate successful\.[^\n]*\n", "console_started"),
        (rb"start: Permission Denied", "deny"),
        (rb"Permission denied", "deny"),  # ssh's own
        (rb"console already active on another session", "in_use"),
        (rb"Invalid command '([^'\r\n]*)'", "bad_command"),
        *REFUSED,
        CONTINUE,
        PASSWORD,
        (rb"-> \Z", "prompted"),
    )


def main() -> int:
    from conman_exec.program import run

    return run("sun_elom", ARGUMENTS, SunElomDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
