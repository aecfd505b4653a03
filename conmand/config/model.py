"""The configuration as the daemon uses it: immutable, complete, and free of syntax.

It knows nothing of files, tokens or how a value was written; ``grammar`` builds it, everything else reads it.
Names, paths and patterns are text in the sense of ``conman.text``. Secrets are ``bytes`` and stay out of every
``repr``. Defaults are those of conman.conf(5).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Optional, Tuple, Union

DEFAULT_PORT = 7890


class LogLevel(enum.IntEnum):
    """syslog(3) priorities, as ``server logfile="path,priority"`` names them."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True)
class LogOptions:
    """``logopts``: how a console's log is kept."""

    lock: bool = True
    sanitize: bool = False
    timestamp: bool = False


@dataclass(frozen=True)
class SerialOptions:
    """``seropts``: line speed in bits per second and framing; ``parity`` is one of ``n``, ``o``, ``e``."""

    bps: int = 9600
    databits: int = 8
    parity: str = "n"
    stopbits: int = 1


@dataclass(frozen=True)
class IpmiOptions:
    """``ipmiopts``; ``None`` leaves the choice to libipmiconsole.conf(5).

    ``kg`` may hold NUL bytes, its length counts. ``workarounds`` is the OR of libipmiconsole's flags.
    """

    username: Optional[bytes] = None
    password: Optional[bytes] = field(default=None, repr=False)
    kg: Optional[bytes] = field(default=None, repr=False)
    privilege_level: Optional[int] = None
    cipher_suite: Optional[int] = None
    workarounds: Optional[int] = None


@dataclass(frozen=True)
class TestOptions:
    """``testopts``: bursts of ``burst_bytes`` at intervals in milliseconds, each with a probability in percent."""

    __test__ = False  # its name starts like a test's; pytest must not collect it

    burst_bytes: int = 1024
    max_delay_ms: Optional[int] = None
    min_delay_ms: Optional[int] = None
    probability_percent: int = 100


@dataclass(frozen=True)
class ProcessDevice:
    """A program on a socket pair, or on a pseudo-terminal; ``argv[0]`` is its absolute path."""

    argv: Tuple[str, ...]
    pty: bool = False


@dataclass(frozen=True)
class ScriptDevice(ProcessDevice):
    """A device script of ours, run inside the daemon: ``script`` is its name in ``conman_exec``, ``ipmitool`` for one.

    The password that ``argv`` may hold is not shown.
    """

    argv: Tuple[str, ...] = field(repr=False)
    script: str = ""


@dataclass(frozen=True)
class TelnetDevice:
    host: str
    port: int
    keepalive: bool = True


@dataclass(frozen=True)
class SerialDevice:
    path: str
    options: SerialOptions = SerialOptions()


@dataclass(frozen=True)
class UnixDevice:
    path: str


@dataclass(frozen=True)
class IpmiDevice:
    host: str
    options: IpmiOptions = IpmiOptions()


@dataclass(frozen=True)
class IpmiScriptDevice(IpmiDevice):
    """A BMC that a command line of an ipmitool device script names; the script itself is not run.

    The password that ``argv`` may hold is not shown.
    """

    argv: Tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class TestDevice:
    __test__ = False

    options: TestOptions = TestOptions()


Device = Union[ProcessDevice, TelnetDevice, SerialDevice, UnixDevice, IpmiDevice, TestDevice]


@dataclass(frozen=True)
class ConsoleSettings:
    """One ``console`` directive. ``log`` is a path with conversion specifiers, or ``None`` when it is not logged."""

    name: str
    device: Device
    log: Optional[str] = None
    log_options: LogOptions = LogOptions()
    line: int = 0


@dataclass(frozen=True)
class ServerSettings:
    """All ``server`` keys, the command line's already put over them. Paths are absolute unless ``None``."""

    coredump: bool = False
    coredumpdir: Optional[str] = None
    keepalive: bool = True
    logfile: Optional[str] = None  # with conversion specifiers
    loglevel: LogLevel = LogLevel.INFO
    loopback: bool = True
    nofile: int = 0
    pidfile: Optional[str] = None
    port: int = DEFAULT_PORT
    resetcmd: Optional[str] = None
    syslog: Optional[int] = None  # a syslog(3) facility, already shifted (LOG_LOCAL0 is 128)
    tcpwrappers: bool = False
    timestamp_minutes: int = 0


@dataclass(frozen=True)
class Problem:
    """One report about the configuration; ``str()`` is the text that follows the level's prefix.

    ``line`` is the physical line, counted from 1, of the last token read.
    """

    path: str
    line: int
    text: str
    level: LogLevel = LogLevel.ERROR

    def __str__(self) -> str:
        return f"CONFIG[{self.path}:{self.line}]: {self.text}"


@dataclass(frozen=True)
class Configuration:
    """A whole configuration file: what can be used of it, in definition order, and what was wrong with the rest."""

    path: str
    server: ServerSettings
    consoles: Tuple[ConsoleSettings, ...]
    problems: Tuple[Problem, ...] = ()
