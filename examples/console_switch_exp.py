#!/usr/bin/env python3
"""A device script for a device of one's own: console_switch_exp.py HOST PORT [USER [PSWD]].

Here a switch for serial consoles that speaks telnet, asks for a user and a password, and puts its caller through when
it is told "console". A device script is a table of what the device says, and of what to do then.
"""

from __future__ import annotations

import re
import sys

from conman.text import encode
from conman_exec.arguments import Arguments
from conman_exec.dialogue import Connect, Dialogue, Rules
from conman_exec.program import run

ARGUMENTS = Arguments(("host", "port", "user", "pswd"))
SECTION = "cyclades_telnet"  # of /etc/conman-exec.conf: which time limit and password file count


class SwitchDialogue(Dialogue):
    tool = "telnet"
    rules = Rules(
        (rb"(?m)^telnet: ([^\r\n]*)\r*\n", "report_sentence"),  # why there is no connection
        (rb"Access denied", "deny"),
        (rb"Line is busy", "in_use"),
        (rb"Username: \Z", "give_user"),
        (rb"Password: \Z", "give_password"),
        (rb"switch> \Z", "ask_for_the_console"),
        (rb"Console opened[^\n]*\n", "put_through"),
    )

    def start(self) -> None:
        self.do(Connect(self.target.host, self.target.port))

    def give_user(self, match: re.Match[bytes]) -> None:
        self.say(encode(self.target.user or "") + b"\r")

    def give_password(self, match: re.Match[bytes]) -> None:
        self.tell(self.target.password)

    def ask_for_the_console(self, match: re.Match[bytes]) -> None:
        self.say(b"console\r")
        self.keep()  # what comes from here on is for the user

    def put_through(self, match: re.Match[bytes]) -> None:
        self.open("TelnetBreak")  # a break is sent as telnet does


if __name__ == "__main__":
    sys.exit(run(SECTION, ARGUMENTS, SwitchDialogue, sys.argv))
