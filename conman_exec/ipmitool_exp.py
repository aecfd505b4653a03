"""``ipmitool_exp.py HOST [USER [PSWD [KEYG]]]``: a BMC's serial console (IPMI SOL) through ipmitool.

ipmitool runs on a socket, with line-buffered output, the password in a descriptor and a registry of one record:
so it needs no terminal, shows no secret, takes 1.5 MB instead of 6.7, and deactivates SOL when its input ends.

The payload is activated at once and deactivated only when another session has it. The cipher suite is given, as BMCs
that do not answer ipmitool's question for it cost 10 s otherwise: the suites of the settings in turn.
"""

from __future__ import annotations

import os
import re
import sys

from conman_exec.arguments import Arguments
from conman_exec.dialogue import CLOSED, IN_USE, Become, Dialogue, Rules, Run
from conman_exec.secret import Secret

ARGUMENTS = Arguments(("host", "user", "pswd", "keyg"))

# ipmitool 1.8.19 reads $HOME/.local/usr/share/misc/enterprise-numbers.txt at every start, else a file of 4.7 MB.
HOME = os.path.join(os.path.dirname(os.path.abspath(__file__)), "home")

# A BMC that refuses something says so at once; a silent one costs 6 s with -N 1 -R 2, and may dislike the suite.
SILENT_SECONDS = 1.5

# How long a session that is up waits for ipmitool's complaint about its terminal.
COMPLAINT_SECONDS = 0.2

_ERROR = rb"(?im)^Error: ([^\r\n]*)\r*\n"


def _beginnings(word: bytes) -> bytes:
    """A pattern for output that is the beginning of ``word``, or goes on after it on the same line."""
    parts = [re.escape(word[:length]) + rb"\Z" for length in range(len(word))]
    return rb"(?:" + rb"|".join([*parts, re.escape(word) + rb"[^\n]*\Z"]) + rb")"


class IpmitoolDialogue(Dialogue):
    """Activate; on "already active" deactivate and activate once more; on a refused suite go on to the next.

    Without a relay (``Become``) nobody could do any of that once ipmitool runs for the daemon. So the BMC is first
    asked which payloads are active, which also proves suite and password.
    """

    tool = "ipmitool"
    activating = Rules(
        (rb"(?i)\[SOL Session operational[^\n]*\n", "activated"),
        (rb"(?i)Error in open session response", "suite_refused"),
        (_ERROR, "refused"),
        (rb"(?i)SOL payload already active on another session[^\n]*\n", "taken"),
        (rb"(?i)Key: \Z", "give_key"),
    )
    # It complains once that a socket is no terminal, at once after its banner: no news for the user.
    complaining = Rules(
        (rb"\Atcgetattr: [^\n]*\n", "session_open"),
        (rb"\A(?!" + _beginnings(b"tcgetattr: ") + rb")", "session_open"),
    )
    deactivating = Rules(
        (rb"(?i)Key: \Z", "give_key"),
    )
    probing = Rules(
        (rb"(?m)^ [0-9a-fA-F]{2} ([0-9a-fA-F]{2}) ([0-9a-fA-F]{2})[^\n]*\n", "probed"),
        (rb"(?i)Error in open session response", "suite_refused"),
        (_ERROR, "refused"),
    )

    def start(self) -> None:
        suites = self.settings.cipher_suites
        self._suites = [str(suite) for suite in suites] or [""]
        self._suite_refused = False
        self._key_given = False
        self._overridden = False
        # ipmitool can be given a K_g by prompt only (its other ways show it to everybody), so that needs a relay.
        self._probe = not self.settings.relay and self.target.kg is None
        self._begin_stage()

    def _begin_stage(self) -> None:
        self._suite_refused = self._key_given = False
        self._started = self.now
        if self._probe:
            self.rules = self.probing
            self.do(self._command("raw", "0x06", "0x4a", "0x01"))
        else:
            self.rules = self.activating
            self.do(self._activate())

    def _activate(self) -> Run:
        keepalive = ("usesolkeepalive",) if self.settings.keepalive else ()
        return self._command("sol", "activate", *keepalive)

    def _command(self, *words: str) -> Run:
        settings, target = self.settings, self.target
        self._pending = b""
        argv = [settings.command, "-e", "&", "-I", settings.interface]
        if self._suites[0]:
            argv += ["-C", self._suites[0]]
        argv += ["-N", "1", "-R", str(settings.retries), "-H", target.host, "-U", target.user or ""]
        if settings.port != 623:
            argv += ["-p", str(settings.port)]
        argv += ["-f", "/dev/fd/3", *(["-Y"] if target.kg is not None else []), *settings.extra_arguments, *words]
        return Run(tuple(argv), False, Secret(target.password + b"\n"), HOME)

    def give_key(self, match: re.Match[bytes]) -> None:
        if not self._key_given:
            self._key_given = True
            self.say((self.target.kg or b"") + b"\n")

    def suite_refused(self, match: re.Match[bytes]) -> None:
        self._suite_refused = True

    def refused(self, match: re.Match[bytes]) -> None:
        # A BMC that is silent may dislike the suite without saying so. One that answers quickly dislikes the password,
        # which is not to be tried more often than the user asked for: accounts get locked.
        silent = self.now - self._started >= SILENT_SECONDS
        if (self._suite_refused or silent) and len(self._suites) > 1:
            del self._suites[0]
            self._begin_stage()
        else:
            self.report(match)

    def taken(self, match: re.Match[bytes]) -> None:
        if self._overridden or not self.settings.session_override:
            self.fail(IN_USE)
        else:
            self._deactivate()

    def _deactivate(self) -> None:
        self._overridden = True
        self._key_given = False
        self.rules = self.deactivating
        self.do(self._command("sol", "deactivate"))

    def at_eof(self) -> None:
        if self.rules is self.deactivating:  # whatever came of it
            if self._probe:
                self.do_become()
            else:
                self._begin_stage()
        else:
            self.fail(CLOSED)

    def probed(self, match: re.Match[bytes]) -> None:
        """The answer to Get Payload Activation Status: capacity, then a bit for each active instance."""
        if int(match[1], 16) == 0:
            self.do_become()
        elif not self.settings.session_override:
            self.fail(IN_USE)
        else:
            self._deactivate()

    def do_become(self) -> None:
        self._end(Become(self._activate()))

    def activated(self, match: re.Match[bytes]) -> None:
        self.keep()
        self.rules = self.complaining
        self.allow(COMPLAINT_SECONDS)

    def at_timeout(self) -> None:
        if self.rules is self.complaining:
            self._open_session()
        else:
            super().at_timeout()

    def session_open(self, match: re.Match[bytes]) -> None:
        self._open_session()

    def _open_session(self) -> None:
        self.open("Unguarded" if self.settings.escapes else "Guarded")


def main() -> int:
    from conman_exec.program import run

    return run("ipmitool", ARGUMENTS, IpmitoolDialogue, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
