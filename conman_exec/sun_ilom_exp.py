"""``sun_ilom_exp.py HOST [USER [PSWD]]``: the console behind a Sun ILOM, by ssh."""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Rules, text
from conman_exec.ssh import CONTINUE, PASSWORD, REFUSED, SshDialogue

ARGUMENTS = Arguments(("host", "user", "pswd"))


class SunIlomDialogue(SshDialogue):
    """At the prompt the console is stopped once, to end another's session, if that is wished; and then started."""

    escape = "none"  # the break is ILOM's own
    name, kind = "ILOM", "SunIlom"
    stop_command, start_command = b"stop -script /SP/console\r", b"start -script /SP/console\r"
    rules = Rules(
        (rb"Serial console started\.[^\n]*\n", "console_started"),
        (rb"Permission denied", "deny"),
        (rb"Serial console is in use", "in_use"),
        (rb"Invalid command '([^'\r\n]*)'", "bad_command"),
        *REFUSED,
        CONTINUE,
        PASSWORD,
        (rb"-> \Z", "prompted"),
    )

    def start(self) -> None:
        self.is_stopped = not self.settings.session_override
        self.is_begun = False
        super().start()

    def prompted(self, match: re.Match[bytes]) -> None:
        if self.is_begun:
            self.fail(f"Unexpected {self.name} response.")
        elif not self.is_stopped:
            self.is_stopped = True
            self.say(self.stop_command)
        else:
            self.is_begun = True
            self.say(self.start_command)

    def bad_command(self, match: re.Match[bytes]) -> None:
        self.fail(f"Invalid {self.name} command '{text(match[1])}'.")

    def console_started(self, match: re.Match[bytes]) -> None:
        self.keep()
        self.open(self.kind, *(["override"] if self.settings.session_override else []))


def main() -> int:
    from conman_exec.program import run

    return run("sun_ilom", ARGUMENTS, SunIlomDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
