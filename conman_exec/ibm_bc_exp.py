"""``ibm_bc_exp.py HOST BLADE [USER [PSWD]]``: a blade's console in an IBM BladeCenter, by telnet."""

from __future__ import annotations

import re
import sys

from conman.text import encode
from conman_exec.arguments import Arguments
from conman_exec.dialogue import IN_USE, Connect, Dialogue, Rules

ARGUMENTS = Arguments(("host", "blade", "user", "pswd"))


class IbmBcDialogue(Dialogue):
    """First the management modules' telnet time-out is set, one module after the other, until there is no next.

    Else they end the session of a quiet console. Then the console command; its answer begins by clearing the screen.
    """

    tool = "telnet"
    rules = Rules(
        (rb"\x1b\[2J", "cleared"),
        (rb"(?m)^telnet: ([^\r\n]*)\r*\n", "report_sentence"),
        (rb"Invalid login", "deny"),
        (rb"Command not recognized", "bad_command"),
        (rb"Invalid target path", "bad_target"),
        (rb"The target bay is out of range", "bad_bay"),
        (rb"SOL session is already active", "in_use"),
        (rb"(?i)username: \Z", "give_user"),
        (rb"(?i)password: \Z", "give_password"),
        (rb"(?i)OK\r\n", "module_set"),
        (rb"(?i)The target bay is empty\.\r\n", "bay_empty"),
        (rb"(?i)Command cannot be issued to this target\.\r\n", "modules_done"),
        (rb"(?i)User does not have the authority to issue this command\.\r\n", "modules_done"),
        (rb"(?i)system> \Z", "prompted"),
    )

    def start(self) -> None:
        self.module = 1
        self.is_setting = False  # a module's answer is outstanding
        self.modules_are_done = self.settings.bcmm_timeout < 0
        self.found_empty_bay = False
        self.console_asked = False
        self.do(Connect(self.target.host, str(self.settings.port)))

    @property
    def command(self) -> str:
        override = " -o" if self.settings.session_override else ""
        return f"console -T system:blade[{self.target.blade}]{override}"

    def prompted(self, match: re.Match[bytes]) -> None:
        if not self.modules_are_done and not self.is_setting:
            self.is_setting = True
            self.say(f"telnetcfg -T system:mm[{self.module}] -t {self.settings.bcmm_timeout}\r".encode())
        elif not self.console_asked:
            self.console_asked = True
            self.say(encode(self.command) + b"\r")
            self.keep()
        else:
            self.fail("Unrecognized response.")

    def module_set(self, match: re.Match[bytes]) -> None:
        if self.is_setting:
            self.is_setting = False
            self.module += 1

    def bay_empty(self, match: re.Match[bytes]) -> None:
        if self.found_empty_bay:
            self.fail("No blade in specified slot.")
        elif self.is_setting:
            self.found_empty_bay = True
            self.modules_done(match)
        elif self.console_asked:  # the original knows this only when the modules ended by an empty bay
            self.fail("No blade in specified slot.")

    def modules_done(self, match: re.Match[bytes]) -> None:
        if self.is_setting:
            self.is_setting = False
            self.modules_are_done = True

    def cleared(self, match: re.Match[bytes]) -> None:
        if self.console_asked:
            self._open_session(echoed=True)

    def _open_session(self, echoed: bool) -> None:
        if echoed:  # what came before the screen was cleared is the command's echo
            self._kept = b""
        self.open("IbmBc", self.command, str(self.settings.idle_timeout))

    def at_timeout(self) -> None:
        if self.console_asked:
            self._open_session(echoed=False)
        else:
            super().at_timeout()

    def give_user(self, match: re.Match[bytes]) -> None:
        if not self.console_asked:
            self.say(encode(self.target.user or "") + b"\r")

    def give_password(self, match: re.Match[bytes]) -> None:
        if not self.console_asked:
            self.tell(self.target.password)

    def bad_command(self, match: re.Match[bytes]) -> None:
        self.fail("Command not recognized.")

    def bad_target(self, match: re.Match[bytes]) -> None:
        self.fail("Invalid blade name.")

    def bad_bay(self, match: re.Match[bytes]) -> None:
        self.fail("Invalid blade number.")

    def in_use(self, match: re.Match[bytes]) -> None:
        self.fail(IN_USE)


def main() -> int:
    from conman_exec.program import run

    return run("ibm_bc", ARGUMENTS, IbmBcDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
