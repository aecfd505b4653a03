"""The words of ConMan's messages to clients and console logs, all of them in one place.

Sites match these texts with programs: they are the original's to the byte (conmand(8), "notifications"). Each function
gives the text without frame and final dot; ``framed`` adds those.
"""

from __future__ import annotations

import time
from typing import Optional, Protocol, Sequence

from conman.text import encode

MAX_NOTICE_BYTES = 1023


class Person(Protocol):
    """Whom a message names. ``host`` is the short host name, ``tty`` is without ``/dev/``."""

    user: str
    host: str
    tty: Optional[str]
    broadcast: bool


def framed(text: str) -> bytes:
    """``\\r\\n<ConMan> TEXT.\\r\\n``, cut to 1023 bytes in all but always with its end."""
    block = b"\r\n<ConMan> " + encode(text) + b"."
    return block[: MAX_NOTICE_BYTES - 2] + b"\r\n"


def who(client: Person) -> str:
    terminal = f" on {client.tty}" if client.tty else ""
    return f"<{client.user}@{client.host}>{terminal}"


def _moved(console: str, movement: str, client: Person, now: float) -> str:
    return f"Console [{console}] {movement} {who(client)} at {time.strftime('%m-%d %H:%M', time.localtime(now))}"


def arrived(console: str, client: Person, *, stolen: bool, now: float) -> str:
    """A writer came; to everybody attached."""
    verb = "stolen" if stolen else "joined"
    return _moved(console, f"{verb} for B/C by" if client.broadcast else f"{verb} by", client, now)


def met(console: str, other: Person, *, stolen: bool, now: float) -> str:
    """To the writer that came: whom it shares with, or took the console from."""
    return _moved(console, "stolen from" if stolen else "joined with", other, now)


def departed(console: str, client: Person, *, now: float) -> str:
    return _moved(console, "departed by", client, now)


def log_opened(console: str, now: float) -> str:
    return f"Console [{console}] log opened at {_date(now)}"


def log_stamp(console: str, now: float) -> str:
    return f"Console [{console}] log at {_date(now)}"


def log_lost(console: str, lost_bytes: int, lost_notices: int = 0) -> str:
    """Ours: bytes of the device that could not be logged leave a mark where they are missing; so do lines like this."""
    lost = f"{lost_bytes} byte{'' if lost_bytes == 1 else 's'}"
    if lost_notices:
        lost += f" and {lost_notices} message{'' if lost_notices == 1 else 's'}"
    return f"Console [{console}] log lost {lost} here"


def output_lost(lost_bytes: int) -> str:
    """Ours: a client too slow for its console is told what it missed."""
    return f"Lost {lost_bytes} byte{'' if lost_bytes == 1 else 's'} of output: this client is too slow"


def removed(console: str) -> str:
    """Ours: the configuration was read again, and has the console no more. Its sessions end."""
    return f"Console [{console}] is no longer configured"


def reconfigured(console: str, device: str) -> str:
    """Ours: the configuration was read again, and has another ``device`` for the console, or other options."""
    return f"Console [{console}] is reconfigured: disconnected from {device}"


def worker_ended(consoles: Sequence[str]) -> str:
    """Ours: the process that owned the consoles has died, and the session with it."""
    what = f"Console [{consoles[0]}] is" if len(consoles) == 1 else f"{len(consoles)} consoles are"
    return f"{what} being restarted after a failure of the daemon -- connect again"


def replay_begin(console: str) -> str:
    return f"Begin log replay of console [{console}]"


def replay_end(console: str) -> str:
    return f"End log replay of console [{console}]"


def not_logged(console: str) -> str:
    return f"Console [{console}] is not being logged -- cannot replay"


QUIET_ENABLED = "Quiet-mode enabled -- info msgs will be suppressed"
QUIET_DISABLED = "Quiet-mode disabled -- info msgs will be displayed"


def reset_by(console: str, client: Person, pid: int) -> str:
    return f"Console [{console}] reset by <{client.user}@{client.host}> (pid {pid})"


def reset_ignored(console: str, pid: int) -> str:
    return f"Ignoring reset of console [{console}]: pid {pid} still active"


def reset_too_long(console: str) -> str:
    return f"Unable to reset console [{console}]: command too long"


def reset_failed(console: str, reason: str) -> str:
    return f"Unable to reset console [{console}]: fork failed: {reason}"


def reset_terminated(console: str, seconds: int, pid: int) -> str:
    return f"Console [{console}] reset terminated after {seconds}s (pid {pid})"


def _date(now: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
