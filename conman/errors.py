"""What can go wrong for a client, by whose fault it was. Exit statuses are the command line's affair, not ours."""

from __future__ import annotations


class ConmanError(Exception):
    """Anything below, for those who do not care which."""


class ConnectError(ConmanError):
    """No daemon could be reached, or it did not finish its answer; the text is a sentence without its period."""


class RefusedError(ConmanError):
    """The daemon refused. ``code`` is the protocol's, ``details`` the plain text that followed, with its newlines."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


class LostError(ConmanError):
    """A session ended that was not to end: the daemon went away, or somebody took the console."""


class DialogueError(ConmanError):
    """The device did not answer as a dialogue expected; ``seen`` is the last of what it said instead."""

    def __init__(self, text: str, seen: str = "") -> None:
        super().__init__(text, seen)
        self.text = text
        self.seen = seen

    def __str__(self) -> str:
        return f"{self.text}; last seen: {self.seen[-200:]!r}" if self.seen else self.text
