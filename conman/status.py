"""What the daemon tells of its consoles, for programs and as a table for people. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from conman.errors import ConnectError


@dataclass(frozen=True)
class ClientStatus:
    """A client of a console; ``mode`` is ``R/W``, ``R/O`` or ``B/C``."""

    user: str
    host: str
    tty: Optional[str]
    mode: str
    idle_seconds: float


@dataclass(frozen=True)
class DeviceBytes:
    """What became of the bytes that a console's device said: ``read`` is the sum of the others.

    ``waiting`` could not be written to the log yet; ``lost`` is marked in the log where it is missing.
    """

    read: int
    logged: int
    waiting: int
    lost: int


@dataclass(frozen=True)
class ConsoleStatus:
    """``state`` is ``up``, ``down`` or ``pending``. ``retry_seconds`` is the time to the next attempt, if there will be
    one; ``logged_bytes``, ``last_line`` and ``device_bytes`` are ``None`` for a console without a log.
    ``log_complaint`` says why the log cannot be written now.
    """

    console: str
    state: str
    state_seconds: float
    retry_seconds: Optional[float]
    kind: str
    device: str
    log: Optional[str]
    logged_bytes: Optional[int]
    last_line: Optional[str]
    clients: Tuple[ClientStatus, ...]
    device_bytes: Optional[DeviceBytes] = None
    log_complaint: Optional[str] = None

    @property
    def is_up(self) -> bool:
        return self.state == "up"


def parse_statuses(lines: bytes) -> List[ConsoleStatus]:
    """Raises ``ConnectError`` for what is no status; keys that we do not know are skipped."""
    try:
        return [_parsed(json.loads(line)) for line in lines.splitlines() if line.strip()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConnectError(f"Received invalid status: {error}") from error


def _parsed(found: Dict[str, Any]) -> ConsoleStatus:
    clients = tuple(
        ClientStatus(
            user=str(client["user"]),
            host=str(client["host"]),
            tty=client.get("tty"),
            mode=str(client["mode"]),
            idle_seconds=float(client["idle_seconds"]),
        )
        for client in found.get("clients", ())
    )
    retry, logged = found.get("retry_seconds"), found.get("logged_bytes")
    accounts = found.get("device_bytes")
    return ConsoleStatus(
        console=str(found["console"]),
        state=str(found["state"]),
        state_seconds=float(found["state_seconds"]),
        retry_seconds=None if retry is None else float(retry),
        kind=str(found.get("kind", "")),
        device=str(found.get("device", "")),
        log=found.get("log"),
        logged_bytes=None if logged is None else int(logged),
        last_line=found.get("last_line"),
        clients=clients,
        device_bytes=None
        if accounts is None
        else DeviceBytes(*(int(accounts[name]) for name in ("read", "logged", "waiting", "lost"))),
        log_complaint=found.get("log_complaint"),
    )


_HEADINGS = ("CONSOLE", "STATE", "SINCE", "DEVICE", "CLIENTS", "BYTES", "LAST LINE")


def table(statuses: Sequence[ConsoleStatus]) -> str:
    """A line per console under a heading, columns two blanks apart."""
    rows = [_HEADINGS, *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _row(status: ConsoleStatus) -> Tuple[str, ...]:
    state = status.state
    if status.retry_seconds is not None:
        state += f" (retry in {age(status.retry_seconds)})"
    clients = ", ".join(
        f"{client.user}@{client.host} {client.mode} idle {age(client.idle_seconds)}" for client in status.clients
    )
    return (
        status.console,
        state,
        age(status.state_seconds),
        status.device,
        clients or "-",
        _logged(status),
        status.last_line or "-",
    )


def _logged(status: ConsoleStatus) -> str:
    """Of what the device said, the bytes in the log, and those that are not: ``1234, 20 waiting, 6 lost``."""
    accounts = status.device_bytes
    if accounts is None:
        return "-" if status.logged_bytes is None else str(status.logged_bytes)
    troubles = [(accounts.waiting, "waiting"), (accounts.lost, "lost")]
    return ", ".join([str(accounts.logged), *(f"{count} {word}" for count, word in troubles if count)])


def age(seconds: float) -> str:
    """The two greatest units of a length of time: ``5s``, ``1m2s``, ``2h7m``, ``3d4h``."""
    rest = max(0, int(seconds))
    parts: List[str] = []
    for letter, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or size == 1:
            parts.append(f"{count}{letter}")
    return "".join(parts[:2])
