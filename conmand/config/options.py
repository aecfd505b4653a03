"""The option strings of conman.conf(5): ``logopts``, ``seropts``, ``ipmiopts`` and ``testopts``.

Each function takes the string and the values to start from (built-in, or the ``global`` ones) and returns new values,
or raises :class:`~.errors.OptionError` with ConMan 0.3.1's message. Nothing here knows consoles or lines.

Hard here: ConMan reads these strings with sscanf(3), strtok(3) and strtol(3), and configurations rely on what those
let pass, e.g. text after the last number of ``seropts`` or octal and hexadecimal numbers in ``ipmiopts``.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Callable, Dict, List, Optional

from conman.text import encode
from conmand.config.errors import OptionError
from conmand.config.model import IpmiOptions, LogOptions, SerialOptions, TestOptions

MAX_INT = 2**31 - 1
_MAX_LONG = 2**63 - 1
_C_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))", re.ASCII)


def c_integer(text: str) -> Optional[int]:
    """All of ``text`` as strtol(3) reads it with base 0: ``0x10``, ``010``, ``-8``; None if it is not a number."""
    match = _C_INTEGER.fullmatch(text)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    base = 16 if hexadecimal else 8 if octal else 10
    value = int(hexadecimal or octal or decimal, base)
    if value > _MAX_LONG:
        return None
    return -value if sign == "-" else value


# --- logopts -------------------------------------------------------------------------------------------------------

_LOG_SEPARATORS = re.compile(r"[ \t\n.,;]+")
_LOG_WORDS: Dict[str, Callable[[LogOptions], LogOptions]] = {
    "lock": lambda options: dataclasses.replace(options, lock=True),
    "nolock": lambda options: dataclasses.replace(options, lock=False),
    "sanitize": lambda options: dataclasses.replace(options, sanitize=True),
    "nosanitize": lambda options: dataclasses.replace(options, sanitize=False),
    "timestamp": lambda options: dataclasses.replace(options, timestamp=True),
    "notimestamp": lambda options: dataclasses.replace(options, timestamp=False),
}


def _log_words(text: str) -> List[str]:
    return [word for word in _LOG_SEPARATORS.split(text) if word]


def log_options(text: str, base: LogOptions) -> LogOptions:
    """``text`` over ``base``, later words over earlier ones. Unknown words change nothing."""
    for word in _log_words(text):
        change = _LOG_WORDS.get(word.lower())
        if change is not None:
            base = change(base)
    return base


def unknown_log_options(text: str) -> List[str]:
    """The words that :func:`log_options` passes over, as typed: ConMan warns of them and goes on."""
    return [word for word in _log_words(text) if word.lower() not in _LOG_WORDS]


# --- seropts -------------------------------------------------------------------------------------------------------

BPS_RATES = (
    50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800,
)  # fmt: skip
# sscanf("%d,%d%c%d"): blanks may precede a number, but neither the comma nor the parity; what does not fit ends it.
_SERIAL = re.compile(
    r"[ \t\n\v\f\r]*([+-]?[0-9]+)(?:,[ \t\n\v\f\r]*([+-]?[0-9]+)(?:(.)(?:[ \t\n\v\f\r]*([+-]?[0-9]+))?)?)?", re.DOTALL
)


def serial_options(text: str, base: SerialOptions) -> SerialOptions:
    """``text`` over ``base``: ``bps[,databits[parity[stopbits]]]``, the speed rounded down to a usual one."""
    match = _SERIAL.match(text)
    if match is None:
        return base
    bps, databits, parity, stopbits = match.groups()
    return SerialOptions(
        bps=_serial_bps(int(bps)),
        databits=base.databits if databits is None else _serial_field(databits, 5, 8, "5-8 for databits"),
        parity=base.parity if parity is None else _serial_parity(parity),
        stopbits=base.stopbits if stopbits is None else _serial_field(stopbits, 1, 2, "1-2 for stopbits"),
    )


def _serial_bps(bps: int) -> int:
    usable = [rate for rate in BPS_RATES if rate <= bps]
    if not usable:
        raise OptionError("expected INTEGER >0 for bps setting")
    return usable[-1]


def _serial_field(digits: str, least: int, most: int, wording: str) -> int:
    value = int(digits)
    if not least <= value <= most:
        raise OptionError(f"expected INTEGER {wording} setting")
    return value


def _serial_parity(character: str) -> str:
    parity = character.lower()
    if parity not in ("n", "o", "e"):
        raise OptionError("expected (N|O|E) for parity setting")
    return parity


# --- testopts ------------------------------------------------------------------------------------------------------

_TEST_FIELDS = {
    "b": "burst_bytes",
    "m": "max_delay_ms",
    "n": "min_delay_ms",
    "p": "probability_percent",
}


def test_options(text: str, base: TestOptions) -> TestOptions:
    """``text`` over ``base``: ``X:N`` items at commas; ``base`` itself for an empty string."""
    values: Dict[str, int] = {}
    for item in filter(None, text.split(",")):
        field = _TEST_FIELDS.get(item[0].lower())
        number = c_integer(item[2:] or "0")
        if field is None or item[1:2] != ":" or number is None or not 0 <= number <= MAX_INT:
            raise OptionError(f'invalid testopts value "{item}"')
        values[field] = min(number, 100) if field == "probability_percent" else number
    return dataclasses.replace(base, **values)


# --- ipmiopts ------------------------------------------------------------------------------------------------------

MAX_USERNAME_BYTES = 16  # IPMI 2.0, table 13-11
MAX_KEY_BYTES = 20  # IPMI 2.0: password and K_g of RMCP+
CIPHER_SUITES = frozenset((0, 1, 2, 3, 6, 7, 8, 11, 12, 15, 16, 17))
PRIVILEGE_LEVELS = {"user": 0, "op": 1, "operator": 1, "admin": 2, "administrator": 2}
#: libipmiconsole's flags by ConMan's names.
WORKAROUND_FLAGS = {
    "authcap": 0x1,
    "intel20": 0x2,
    "supermicro20": 0x4,
    "sun20": 0x8,
    "opensesspriv": 0x10,
    "integritycheckvalue": 0x20,
    "nochecksumcheck": 0x40,
    "serialalertsdeferred": 0x80,
    "solpacketseq": 0x100,
    "solpayloadsize": 0x01000000,
    "solport": 0x02000000,
    "solstatus": 0x04000000,
    "solchannelsupport": 0x08000000,
}
_ALL_WORKAROUNDS = 0x0F0001FF
_HIDDEN = "***"
_HEXADECIMAL = re.compile(r"0[xX]([0-9a-fA-F]*)")


def ipmi_options(text: str, base: IpmiOptions) -> IpmiOptions:
    """``text`` over ``base``: ``X:VALUE`` items at commas, or the old positional form; ``base`` for an empty string.

    The message of an :class:`OptionError` quotes an item only where it cannot be part of a password or key: one that
    follows them may be the rest of a password with a comma in it.
    """
    if not text:
        return base
    items = list(filter(None, text.split(",")))
    if text[1:2] != ":":
        return _positional_ipmi_options(items, base)
    secret_seen = False
    for item in items:
        key = item[0].lower()
        secret_seen = secret_seen or item.lstrip()[:1].lower() in ("p", "k")
        apply = _IPMI_ITEMS.get(key)
        if apply is None or item[1:2] != ":":
            raise OptionError(f'invalid ipmiopts string "{_HIDDEN if secret_seen else item}"')
        base = apply(base, item[2:])
    return base


def _positional_ipmi_options(items: List[str], base: IpmiOptions) -> IpmiOptions:
    """``user[,password[,K_g[,workaround]...]]``, each ``-`` for the library's default; deprecated, but in use."""
    for apply, value in zip((_ipmi_username, _ipmi_password, _ipmi_kg), items):
        base = apply(base, "" if value == "-" else value)
    for value in items[3:]:
        base = _ipmi_workaround(base, "" if value == "-" else value, shown=_HIDDEN)
    return base


def _ipmi_username(options: IpmiOptions, value: str) -> IpmiOptions:
    username = _limited(encode(value), MAX_USERNAME_BYTES, "username")
    return dataclasses.replace(options, username=username or None)


def _ipmi_password(options: IpmiOptions, value: str) -> IpmiOptions:
    password = _limited(_key_bytes(value), MAX_KEY_BYTES, "password")
    return dataclasses.replace(options, password=password.partition(b"\0")[0] if value else None)


def _ipmi_kg(options: IpmiOptions, value: str) -> IpmiOptions:
    kg = _limited(_key_bytes(value), MAX_KEY_BYTES, "K_g")
    return dataclasses.replace(options, kg=kg if value else None)


def _key_bytes(value: str) -> bytes:
    """``value`` itself, or the bytes that it spells in hexadecimal (none for ``0x``); an odd digit is a high nibble."""
    match = _HEXADECIMAL.fullmatch(value)
    if match is None:
        return encode(value)
    return bytes.fromhex(match[1] + "0" * (len(match[1]) % 2))


def _limited(value: bytes, max_bytes: int, what: str) -> bytes:
    if len(value) > max_bytes:
        raise OptionError(f"IPMI {what} exceeds {max_bytes}-byte maximum")
    return value


def _ipmi_privilege_level(options: IpmiOptions, value: str) -> IpmiOptions:
    level = PRIVILEGE_LEVELS.get(value.lower(), c_integer(value)) if value else None
    if value and level is None:
        raise OptionError(f'invalid IPMI privilege level "{value}"')
    if level is not None and not 0 <= level <= 2:
        raise OptionError(f"invalid IPMI privilege level {level}")
    return dataclasses.replace(options, privilege_level=level)


def _ipmi_cipher_suite(options: IpmiOptions, value: str) -> IpmiOptions:
    suite = c_integer(value) if value else None
    if value and suite is None:
        raise OptionError(f'invalid IPMI cipher suite "{value}"')
    if suite is not None and suite not in CIPHER_SUITES:
        raise OptionError(f"invalid IPMI cipher suite {suite}")
    return dataclasses.replace(options, cipher_suite=suite)


def _ipmi_workaround(options: IpmiOptions, value: str, shown: Optional[str] = None) -> IpmiOptions:
    """Flags add up, but ``none`` and ``default`` (which is None in the model) replace what was there."""
    if not value or value.lower() == "default":
        return dataclasses.replace(options, workarounds=None)
    flag = 0 if value.lower() == "none" else WORKAROUND_FLAGS.get(value.lower(), c_integer(value))
    if flag is None:
        raise OptionError(f'invalid IPMI workaround flag "{value if shown is None else shown}"')
    if flag & ~_ALL_WORKAROUNDS:
        number = f"0x{flag if flag > 0 else flag & 0xFFFFFFFF:X}"
        raise OptionError(f"invalid IPMI workaround flag {number if shown is None else shown}")
    return dataclasses.replace(options, workarounds=flag and flag | (options.workarounds or 0))


_IPMI_ITEMS: Dict[str, Callable[[IpmiOptions, str], IpmiOptions]] = {
    "u": _ipmi_username,
    "p": _ipmi_password,
    "k": _ipmi_kg,
    "l": _ipmi_privilege_level,
    "c": _ipmi_cipher_suite,
    "w": _ipmi_workaround,
}
