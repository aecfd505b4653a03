"""``ipmiconsole_exp.py HOST [USER [PSWD [KEYG]]]``: a BMC's serial console (IPMI SOL) through FreeIPMI.

ipmiconsole insists on a terminal. Its escape character counts anywhere in a line, so breaks need no line end; and it
takes a session from whoever has it, unless told not to. By itself it would notice a BMC's silence after a minute;
that its session was taken it notices only when the BMC says so, which the simulator does not (ipmitool asks).
"""

from __future__ import annotations

import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Dialogue, Rules

ARGUMENTS = Arguments(("host", "user", "pswd", "keyg"))


class IpmiconsoleDialogue(Dialogue):
    tool = "ipmiconsole"
    rules = Rules(
        (rb"(?i)\[SOL established\][^\n]*\n", "established"),
        (rb"(?im)^\[error received\]: ([^\r\n]*)\r*\n", "report"),
        (rb"(?m)^ipmiconsole: ([^\r\n]*)\r*\n", "report"),
        (rb"(?i)Password: *\Z", "give_password"),
        (rb"(?i)K_g: *\Z", "give_key"),
    )

    def start(self) -> None:
        settings, target = self.settings, self.target
        self.password_given = self.key_given = False
        argv = [settings.command, "-h", target.host, "-u", target.user or "", "-e", "&", "-P"]
        argv += [f"--session-timeout={settings.session_timeout * 1000}"]
        argv += [] if settings.session_override else ["--dont-steal"]
        argv += ["-K"] if target.kg is not None else []
        argv += ["-I", str(settings.cipher_suite)] if settings.cipher_suite >= 0 else []
        argv += ["-W", ",".join(settings.workarounds)] if settings.workarounds else []
        self.run(*argv, *settings.extra_arguments, terminal=True)

    def give_password(self, match: re.Match[bytes]) -> None:
        if not self.password_given:
            self.password_given = True
            self.tell(self.target.password)

    def give_key(self, match: re.Match[bytes]) -> None:
        if not self.key_given and self.target.kg is not None:
            self.key_given = True
            self.tell(self.target.kg)

    def established(self, match: re.Match[bytes]) -> None:
        self.keep()
        self.open("UnguardedIpmiconsole" if self.settings.escapes else "Ipmiconsole")


def main() -> int:
    from conman_exec.program import run

    return run("ipmiconsole", ARGUMENTS, IpmiconsoleDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
