"""``hp_ilo_exp.py HOST PORT [USER [PSWD]]``: the virtual serial port of an HP iLO, by telnet."""

from __future__ import annotations

import re
import sys

from conman.text import encode
from conman_exec.arguments import Arguments
from conman_exec.dialogue import DENIED, Connect, Dialogue, Rules

ARGUMENTS = Arguments(("host", "port", "user", "pswd"))

# How far the login has come; also for hp_lo100_exp.
START, CONNECTED, USER_SENT, PASSWORD_SENT, CONSOLE_ASKED = range(5)


class HpDialogue(Dialogue):
    """What iLO and Lights-Out 100 have in common: each question in its turn, and any other turn is a refusal."""

    tool = "telnet"
    common = (
        (rb"(?m)^Connected to ", "connected"),
        (rb"(?m)^telnet: ([^\r\n]*)\r*\n", "report_sentence"),
        (rb"Invalid login|Login incorrect", "deny"),
        (rb"CLI session stopped", "stopped"),
        (rb"Requested service is unavailable, it is already in use", "in_use"),
    )

    def start(self) -> None:
        self.step = START
        self.do(Connect(self.target.host, self.target.port))

    def connected(self, match: re.Match[bytes]) -> None:
        self.step = max(self.step, CONNECTED)

    def stopped(self, match: re.Match[bytes]) -> None:
        self.fail("CLI session stopped.")

    def give_user(self, match: re.Match[bytes]) -> None:
        self._answer(CONNECTED, encode(self.target.user or ""))

    def give_password(self, match: re.Match[bytes]) -> None:
        self._answer(USER_SENT, self.target.password)

    def _answer(self, step: int, data: bytes) -> None:
        if self.step == step:
            self.say(data + b"\r")
            self.step += 1
        else:
            self.fail(DENIED)

    def at_eof(self) -> None:
        if self.step == START:
            self.fail(f"Unable to connect to {self.target.host}:{self.target.port}.")
        else:
            super().at_eof()


class HpIloDialogue(HpDialogue):
    rules = Rules(
        (rb"Virtual Serial Port active[^\n]*\r\n(\r\n)?", "port_active"),
        *HpDialogue.common,
        (rb"(?i)Login Name:[ \t]+\Z", "give_user"),
        (rb"(?i)Password:[ \t]+\Z", "give_password"),
        (rb"hpiLO-> \Z", "prompted"),
    )

    def prompted(self, match: re.Match[bytes]) -> None:
        if self.step == PASSWORD_SENT:
            self.say(b"vsp\r")
            self.step = CONSOLE_ASKED

    def port_active(self, match: re.Match[bytes]) -> None:
        if self.step == CONSOLE_ASKED:
            self.say(b"\r")
            self.open("HpIlo")


def main() -> int:
    from conman_exec.program import run

    return run("hp_ilo", ARGUMENTS, HpIloDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
