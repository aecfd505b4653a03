"""What the scripts have in common that log in with ssh."""

from __future__ import annotations

import os
import re

from conman_exec.dialogue import Dialogue, Rules

# Questions of the host's key are answered as the originals do; with "accept-new" ssh asks none.
CONTINUE = (rb"(?i)Are you sure you want to continue connecting \(yes/no[^\n]*\)\? \Z", "accept_key")
REFUSED = (
    (rb"(?m)^ssh: ([^\r\n]*)\r*\n", "report_sentence"),
    (rb"Host key verification failed", "bad_host_key"),
)
PASSWORD = (rb"(?i)password: \Z", "give_password")


class SshDialogue(Dialogue):
    """Runs ssh on a terminal, and gives it the password once.

    Ssh itself tells when it has logged in: its LocalCommand, which runs between the login and the session, prints a
    mark that nobody else can know. So no prompt has to be guessed, and all that follows the mark is the session's.
    """

    tool = "ssh"
    escape = "^^"  # what ssh is to take as its escape character: that of GuardedSsh
    remote_command: tuple[str, ...] = ()

    def start(self) -> None:
        self.password_given = False
        self.mark = f"session-{os.urandom(8).hex()}"
        self.ssh()

    def ssh(self) -> None:
        """Start ssh for this script's host, port and user."""
        self.run_ssh(self.target.user or "", str(getattr(self.settings, "ssh_port", "") or self.target.port))

    def run_ssh(self, user: str, port: str) -> None:
        settings = self.settings
        options = [
            f"StrictHostKeyChecking={settings.host_keys}",
            f"ConnectTimeout={settings.connect_timeout}",
            f"ServerAliveInterval={settings.keepalive}",
            "ServerAliveCountMax=2",
            "NumberOfPasswordPrompts=1",
            "PermitLocalCommand=yes",
            f"LocalCommand=echo {self.mark}",
        ]
        if settings.known_hosts:
            options.append(f"UserKnownHostsFile={settings.known_hosts}")
        escape = "&" if settings.escapes and self.escape != "none" else self.escape
        argv = [settings.command, "-a", "-x", "-e", escape, *(["-t"] if self.remote_command else [])]
        for option in options:
            argv += ["-o", option]
        argv += [*settings.extra_arguments, "-l", user, "-p", port, "--", self.target.host, *self.remote_command]
        # Ssh takes its files from the user's entry in the password database; no HOME of ours.
        self.run(*argv, terminal=True, home="")

    def logged_in_rule(self) -> tuple[bytes, str]:
        return re.escape(self.mark.encode()) + rb"\r*\n", "logged_in"

    def guarded(self) -> str:
        return "Unguarded" if self.settings.escapes else "GuardedSsh"

    def accept_key(self, match: re.Match[bytes]) -> None:
        self.say(b"yes\r")

    def bad_host_key(self, match: re.Match[bytes]) -> None:
        self.fail("Host key verification failed.")

    def skip_key(self, match: re.Match[bytes]) -> None:
        """A key with a passphrase: go on without that key."""
        self.say(b"\r")

    def give_password(self, match: re.Match[bytes]) -> None:
        if self.password_given:
            self.deny(match)
        else:
            self.password_given = True
            self.tell(self.target.password)
            self.keep()

    def logged_in(self, match: re.Match[bytes]) -> None:
        raise NotImplementedError


def with_mark(dialogue: SshDialogue, *rules: tuple[bytes, str]) -> Rules:
    """The rules of a login that ends with the mark, which counts before anything that follows it."""
    return Rules(dialogue.logged_in_rule(), *rules)
