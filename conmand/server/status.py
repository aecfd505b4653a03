"""What ``conman-py --status`` is told of a console: one JSON object, which programs read as well.

Keys are only ever added. Times are seconds before or after now, so that clocks need not agree.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Dict, List, Optional

if TYPE_CHECKING:
    from conmand.server.hub import Participant, SharedConsole
    from conmand.server.logs.console_log import ConsoleLog

CONSOLES_PER_BLOCK = 64
"""Described in one go, in less than a millisecond."""

LAST_LINE_CHARACTERS = 200

_NOT_SHOWN = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")


def encode_status(console: SharedConsole) -> bytes:
    """``console`` as a line in ASCII."""
    return json.dumps(describe(console)).encode("ascii") + b"\n"


def describe(console: SharedConsole) -> Dict[str, object]:
    """All about the log is ``None`` for a console without one: nothing is kept of it.

    ``logged_bytes`` is how much was ever put into the log, notices and timestamps included. ``device_bytes`` accounts
    for what the device said (telnet protocol apart): at every moment read = logged + waiting + lost.
    """
    device, log = console.device, console.log
    return {
        "console": console.name,
        "state": device.state.value,
        "state_seconds": round(device.state_seconds, 1),
        "retry_seconds": None if device.retry_seconds is None else round(device.retry_seconds, 1),
        "kind": type(device.settings.device).__name__.replace("Device", "").lower(),
        "device": device.label,
        "log": None if log is None else log.path or None,
        "logged_bytes": None if log is None else log.total_bytes,
        "device_bytes": None if log is None else _accounts(log),
        "log_complaint": None if log is None else log.complaint,
        "last_line": None if log is None else last_line(log.tail),
        "clients": [_describe_client(client, console) for client in _clients(console)],
    }


def _accounts(log: ConsoleLog) -> Dict[str, int]:
    return {
        "read": log.bytes_read,
        "logged": log.bytes_logged,
        "waiting": log.bytes_waiting,
        "lost": log.bytes_lost,
    }


def last_line(tail: bytes) -> Optional[str]:
    """The last line of the console's own that is not blank, complete or not, without control characters and colours."""
    text = tail.decode("utf-8", "replace")
    for line in reversed(text.replace("\r", "\n").split("\n")):
        shown = _NOT_SHOWN.sub("", line).strip()
        if shown and not shown.startswith("<ConMan> "):
            return shown[:LAST_LINE_CHARACTERS]
    return None


def _clients(console: SharedConsole) -> List[Participant]:
    return [*console.readers, *(writer for writer in console.writers if writer not in console.readers)]


def _describe_client(client: Participant, console: SharedConsole) -> Dict[str, object]:
    return {
        "user": client.user,
        "host": client.host,
        "tty": client.tty,
        "mode": client.mode if client in console.writers else "R/O",
        "idle_seconds": round(client.idle_seconds, 1),
    }
