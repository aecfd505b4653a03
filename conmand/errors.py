"""What can go wrong before the daemon runs. A mistake in our own code is none of these and is allowed to surface."""

from __future__ import annotations


class FatalError(Exception):
    """The daemon cannot start or do as asked; the text is for the user, the exit status is 1."""


def reason(error: OSError) -> str:
    """strerror(3)'s words for an error, without Python's decoration."""
    return error.strerror or str(error)
