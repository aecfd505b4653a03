"""The conversion specifiers of log names and of ``resetcmd``: ``%N``, ``%Y-%m-%d`` and the like. Pure.

strftime(3) is not used: it follows the locale and the C library, a log's name must not.
"""

from __future__ import annotations

import datetime
import os.path
import re
import time
from typing import Callable, Dict, NamedTuple, Optional

from conman.address import joined
from conman.text import encode
from conmand.config.errors import ExpansionTooLong
from conmand.config.model import Device, SerialDevice, TelnetDevice, UnixDevice

#: ConMan's buffer for an expanded name or command.
MAX_EXPANSION_BYTES = 1023

_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_UNSAFE_BYTES = re.compile(rb"[^!-.0-~]")  # all but the visible ASCII characters, and the slash


class _Values(NamedTuple):
    now: time.struct_time
    epoch_seconds: int
    pid: int
    name: Optional[str]
    device: Optional[str]


def sanitized(text: str) -> str:
    """``text`` with each byte that is no visible ASCII character, and each slash, as ``_``."""
    return _UNSAFE_BYTES.sub(b"_", encode(text)).decode("ascii")


def device_text(device: Device) -> str:
    """What ``%D`` stands for, before it is sanitized: empty for processes, IPMI and test devices."""
    if isinstance(device, (SerialDevice, UnixDevice)):
        return os.path.basename(device.path)
    if isinstance(device, TelnetDevice):
        return joined(device.host, device.port)
    return ""


def expand(
    pattern: str,
    *,
    now: time.struct_time,
    epoch_seconds: int,
    pid: int,
    name: Optional[str] = None,
    device: Optional[str] = None,
) -> str:
    """``pattern`` with its specifiers replaced; ``now`` is local time.

    What is no specifier stays as it is, and so do ``%N`` and ``%D`` where ``name`` or ``device`` (see
    :func:`device_text`) is None. Raises :class:`ExpansionTooLong` for a result above ``MAX_EXPANSION_BYTES``.
    """
    if "%" in pattern:
        values = _Values(now, epoch_seconds, pid, name, device)
        pattern = _SPECIFIER.sub(lambda match: _expanded(match, values), pattern)
    if len(encode(pattern)) > MAX_EXPANSION_BYTES:
        raise ExpansionTooLong(f"expands to more than {MAX_EXPANSION_BYTES} bytes")
    return pattern


def _expanded(match: re.Match[str], values: _Values) -> str:
    convert = _CONVERSIONS.get(match[1])
    text = None if convert is None else convert(values)
    return match[0] if text is None else text


def _iso_year(values: _Values) -> int:
    return datetime.date(*values.now[:3]).isocalendar()[0]


def _iso_week(values: _Values) -> int:
    return datetime.date(*values.now[:3]).isocalendar()[1]


# struct_time counts weekdays from Monday as 0 and days of the year from 1.
_CONVERSIONS: Dict[str, Callable[[_Values], Optional[str]]] = {
    "%": lambda values: "%",
    "N": lambda values: None if values.name is None else sanitized(values.name),
    "D": lambda values: None if values.device is None else sanitized(values.device),
    "P": lambda values: f"{values.pid}",
    "d": lambda values: f"{values.now.tm_mday:02}",
    "g": lambda values: f"{_iso_year(values) % 100:02}",
    "G": lambda values: f"{_iso_year(values)}",
    "H": lambda values: f"{values.now.tm_hour:02}",
    "j": lambda values: f"{values.now.tm_yday:03}",
    "m": lambda values: f"{values.now.tm_mon:02}",
    "M": lambda values: f"{values.now.tm_min:02}",
    "s": lambda values: f"{values.epoch_seconds}",
    "S": lambda values: f"{values.now.tm_sec:02}",
    "u": lambda values: f"{values.now.tm_wday + 1}",
    "U": lambda values: f"{(values.now.tm_yday + 6 - (values.now.tm_wday + 1) % 7) // 7:02}",
    "V": lambda values: f"{_iso_week(values):02}",
    "w": lambda values: f"{(values.now.tm_wday + 1) % 7}",
    "W": lambda values: f"{(values.now.tm_yday + 6 - values.now.tm_wday) // 7:02}",
    "y": lambda values: f"{values.now.tm_year % 100:02}",
    "Y": lambda values: f"{values.now.tm_year}",
}
