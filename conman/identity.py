"""Who the client says it is: the user's login name and terminal, as the original's client finds them."""

from __future__ import annotations

import os
import pwd
from typing import Mapping, Optional

from conman.errors import ConmanError
from conman.protocol import Greeting


def greeting(environ: Mapping[str, str]) -> Greeting:
    """Raises ``ConmanError`` if the user has no account."""
    return Greeting(user_name(environ), terminal_name())


def user_name(environ: Mapping[str, str]) -> str:
    """The login name of the controlling terminal, else ``$USER``, else ``$LOGNAME``; but none that is another user's.

    The account name of the real user id is the last resort, as after su(1).
    """
    uid = os.getuid()
    for name in (_login_name(), environ.get("USER"), environ.get("LOGNAME")):
        if name:
            if _uid_of(name) == uid:
                return name
            break  # the first that is there decides, as in the original
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError as error:
        raise ConmanError(f"Unable to lookup user name for UID={uid}") from error


def terminal_name() -> Optional[str]:
    """The terminal of standard input without ``/dev/``; ``None`` if it is none."""
    try:
        name = os.ttyname(0)
    except OSError:
        return None
    return name[len("/dev/") :] if name.startswith("/dev/") else name


def _login_name() -> Optional[str]:
    try:
        return os.getlogin()
    except OSError:
        return None


def _uid_of(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None
