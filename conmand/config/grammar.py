"""conman.conf: its text goes in, an immutable configuration and every problem with file and line come out.

A line is a directive, ``server``, ``global`` or ``console``, and assignments. What ``server`` and ``global`` assign
counts from there on, even if the rest of the line is wrong; a console exists only if its whole line is right. Messages
are ConMan 0.3.1's. What it gets wrong and this does not (BEHAVIOUR.md) is marked "mend" below.

Values are checked here; option strings, ``dev`` strings and devices have their own modules. Nothing is opened, except
that devices and ``coredumpdir`` are looked up in the file system, by ``devices``. The lock on the file, "no consoles
defined" and the command line belong to the caller.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from conman.lexer import MAX_VALUE_BYTES, Token, TokenKind
from conman.text import encode
from conmand.config.consoles import ConsoleList
from conmand.config.devices import MAX_PORT, DeviceContext, coredump_directory, joined, recognize_device
from conmand.config.devstring import split_device_string
from conmand.config.errors import ConfigurationError
from conmand.config.lines import Expect, Line, integer, logical_lines, refuse, value_of, value_too_long
from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiOptions,
    LogLevel,
    LogOptions,
    Problem,
    ProcessDevice,
    SerialOptions,
    ServerSettings,
    TestOptions,
)
from conmand.config.options import (
    MAX_INT,
    ipmi_options,
    log_options,
    serial_options,
    test_options,
    unknown_log_options,
)
from conmand.config.syslognames import LOG_LEVELS, SYSLOG_FACILITIES

BLANKS = " \t\n\v\f\r"

_MINUTES_PER_UNIT = {"m": 1, "h": 60, "d": 1440}
# Shell syntax in which "&" cannot have been the console's name, which it stood for before "%N".
_SHELL_AMPERSANDS = re.compile(r"&&|[<>|]&|&>")


def parse_configuration(
    text: bytes,
    path: str,
    *,
    cwd: str,
    port: Optional[int] = None,
    pidfile: Optional[str] = None,
    script_dirs: Sequence[str] = (),
    stand_ins: Optional[Mapping[str, str]] = None,
) -> Configuration:
    """The configuration in ``text``. Never raises for what is in it; see ``problems``, in the order of the file.

    ``path`` is the file as the user named it, for messages. Relative paths start at ``cwd``, the absolute directory
    that the daemon was started in. ``port`` and ``pidfile`` come from the command line and win. ``script_dirs`` are
    searched for process consoles' programs after ``server execpath``. ``stand_ins`` maps the names of the original's
    device scripts to ours, which are taken where the original's are missing.
    """
    parser = _Parser(path, cwd, script_dirs, stand_ins or {})
    for line in logical_lines(text, KEYWORDS):
        parser.parse_line(line)
    parser.problems.extend(_cut_off(text, path))
    server = parser.server
    if port is not None:
        server = replace(server, port=port)
    if pidfile is not None:
        server = replace(server, pidfile=joined(cwd, pidfile))
    return Configuration(path, server, tuple(parser.consoles.in_order), tuple(parser.problems))


def _cut_off(text: bytes, path: str) -> List[Problem]:
    """Parsing ends at a NUL byte, as the original's; but a file that a crash has filled with them is complained of."""
    read, nul, rest = text.partition(b"\0")
    if not nul:
        return []
    text_of_problem = f"a NUL byte ends the configuration: what follows it is ignored (bytes: {len(rest)})"
    return [Problem(path, read.count(b"\n") + 1, text_of_problem)]


class _Key(NamedTuple):
    """What a key takes, and what to do with it. STRINGs arrive as text, INTEGERs as typed, a SWITCH as ON or OFF."""

    expect: Expect
    assign: Callable[[_Parser, str], None]


@dataclass(frozen=True)
class _Globals:
    """What ``global`` lines have set so far; ``log`` is not yet joined with a directory."""

    log: Optional[str] = None
    log_options: LogOptions = LogOptions()
    serial: SerialOptions = SerialOptions()
    ipmi: IpmiOptions = IpmiOptions()
    test: TestOptions = TestOptions()


@dataclass
class _Draft:
    """What one ``console`` line has assigned so far. ``log``: None to use the global one, empty for none."""

    name: str = ""
    dev: str = ""
    log: Optional[str] = None
    logopts: str = ""
    seropts: Optional[str] = None
    ipmiopts: Optional[str] = None
    testopts: Optional[str] = None


class _Parser:
    """The state that lines leave behind."""

    def __init__(self, path: str, cwd: str, script_dirs: Sequence[str], stand_ins: Mapping[str, str]) -> None:
        self.server = ServerSettings()
        self.consoles = ConsoleList()
        self.problems: List[Problem] = []
        self._path = path
        self._cwd = cwd
        self._script_dirs = tuple(script_dirs)
        self._stand_ins = stand_ins
        self._stood_in_for: Set[str] = set()
        self._execpath: Tuple[str, ...] = ()
        self._logdir = cwd
        self._globals = _Globals()
        self._draft = _Draft()
        self._line = Line([])

    # --- lines -----------------------------------------------------------------------------------------------------

    def parse_line(self, line: Line) -> None:
        """Everything on ``line`` up to its first error, which is reported."""
        if line.at_end():
            return
        self._line = line
        try:
            self._parse_directive(line.next())
        except ConfigurationError as error:
            self._report(str(error), LogLevel.ERROR)

    def _parse_directive(self, token: Token) -> None:
        keys = _DIRECTIVES.get(token.keyword)
        if keys is None:
            refuse(token)
        self._draft = _Draft()
        while not self._line.at_end():
            self._parse_assignment(keys)
        self._line.next()
        if token.keyword == "CONSOLE":
            self._define_console(self._draft)

    def _parse_assignment(self, keys: Dict[str, _Key]) -> None:
        token = self._line.next()
        key = keys.get(token.keyword)
        if key is None:
            refuse(token)
        equals = self._line.next()
        if equals.kind is not TokenKind.PUNCT or equals.raw != b"=":
            raise ConfigurationError(f"expected '=' after {token.keyword} keyword")
        key.assign(self, value_of(token.keyword, key.expect, self._line.next()))

    def _report(self, text: str, level: LogLevel) -> None:
        self.problems.append(Problem(self._path, self._line.number, text, level))

    # --- server ----------------------------------------------------------------------------------------------------

    def _set_coredump(self, value: str) -> None:
        self.server = replace(self.server, coredump=value == "ON")

    def _set_coredumpdir(self, value: str) -> None:
        directory = coredump_directory(value, self._cwd) if value.strip(BLANKS) else None
        self.server = replace(self.server, coredumpdir=directory)

    def _set_execpath(self, value: str) -> None:
        # Mend: made absolute, since programs are started in another directory than they were searched from.
        directories = [directory for directory in value.split(":") if directory.strip(BLANKS)]
        self._execpath = tuple(joined(self._cwd, directory) for directory in directories)

    def _set_keepalive(self, value: str) -> None:
        self.server = replace(self.server, keepalive=value == "ON")

    def _set_logdir(self, value: str) -> None:
        self._logdir = _joined("LOGDIR", self._cwd, value) if value.strip(BLANKS) else self._cwd

    def _set_logfile(self, value: str) -> None:
        path, comma, priority = _joined("LOGFILE", self._logdir, value).rpartition(",")
        self.server = replace(self.server, logfile=path if comma else priority)
        if not comma:
            return
        level = LOG_LEVELS.get(priority.lstrip(BLANKS).lower())
        if level is None:
            raise ConfigurationError(f'invalid LOGFILE priority "{priority}"')
        self.server = replace(self.server, loglevel=level)

    def _set_loopback(self, value: str) -> None:
        self.server = replace(self.server, loopback=value == "ON")

    def _set_nofile(self, value: str) -> None:
        self.server = replace(self.server, nofile=integer("NOFILE", value, least=-MAX_INT))

    def _set_pidfile(self, value: str) -> None:
        self.server = replace(self.server, pidfile=_joined("PIDFILE", self._cwd, value))

    def _set_port(self, value: str) -> None:
        self.server = replace(self.server, port=integer("PORT", value, most=MAX_PORT))

    def _set_resetcmd(self, value: str) -> None:
        # Mend: ConMan refuses each "&", even in "a && b" or "2>&1".
        if "&" in _SHELL_AMPERSANDS.sub("", value):
            raise ConfigurationError("ignoring SERVER RESETCMD value with deprecated '&' -- use '%N'")
        self.server = replace(self.server, resetcmd=value)

    def _set_syslog(self, value: str) -> None:
        facility = SYSLOG_FACILITIES.get(value.lstrip(BLANKS).lower())
        if facility is None:
            raise ConfigurationError(f'invalid SYSLOG facility "{value}"')
        self.server = replace(self.server, syslog=facility)

    def _set_tcpwrappers(self, value: str) -> None:
        self.server = replace(self.server, tcpwrappers=value == "ON")

    def _set_timestamp(self, value: str) -> None:
        number = integer("TIMESTAMP", value)
        # Mend: the line's end is only looked at, so that the next line keeps its first word.
        unit = "m" if self._line.at_end() else self._unit(self._line.next())
        minutes = number * _MINUTES_PER_UNIT.get(unit, 0)
        unusable = unit not in _MINUTES_PER_UNIT or minutes > MAX_INT
        self.server = replace(self.server, timestamp_minutes=0 if unusable else minutes)
        if unusable:
            raise ConfigurationError("expected (m|d|h) qualifier for TIMESTAMP value")

    @staticmethod
    def _unit(token: Token) -> str:
        return token.text.lower() if token.kind is TokenKind.STRING else ""

    # --- global ----------------------------------------------------------------------------------------------------

    def _set_global_log(self, value: str) -> None:
        _refuse_ampersand("GLOBAL", value)
        empty = not value.strip(BLANKS)
        if not empty and "%N" not in value and "%D" not in value:
            raise ConfigurationError("ignoring GLOBAL LOG value without '%N' or '%D'")
        self._globals = replace(self._globals, log=None if empty else value)

    def _set_global_logopts(self, value: str) -> None:
        self._globals = replace(self._globals, log_options=self._log_options(value, self._globals.log_options))

    def _set_global_seropts(self, value: str) -> None:
        self._globals = replace(self._globals, serial=serial_options(value, self._globals.serial))

    def _set_global_ipmiopts(self, value: str) -> None:
        self._globals = replace(self._globals, ipmi=ipmi_options(value, self._globals.ipmi))

    def _set_global_testopts(self, value: str) -> None:
        self._globals = replace(self._globals, test=test_options(value, self._globals.test))

    def _log_options(self, text: str, base: LogOptions) -> LogOptions:
        for word in unknown_log_options(text):
            # Mend: ConMan does not say where.
            self._report(f"ignoring unrecognized token '{word}'", LogLevel.WARNING)
        return log_options(text, base)

    # --- console ---------------------------------------------------------------------------------------------------

    def _set_name(self, value: str) -> None:
        self._draft.name = value

    def _set_dev(self, value: str) -> None:
        self._draft.dev = value

    def _set_log(self, value: str) -> None:
        _refuse_ampersand("CONSOLE", value)
        self._draft.log = _joined("LOG", self._logdir, value) if value.strip(BLANKS) else ""

    def _set_logopts(self, value: str) -> None:
        self._draft.logopts = value

    def _set_seropts(self, value: str) -> None:
        self._draft.seropts = value

    def _set_ipmiopts(self, value: str) -> None:
        self._draft.ipmiopts = value

    def _set_testopts(self, value: str) -> None:
        self._draft.testopts = value

    def _define_console(self, draft: _Draft) -> None:
        """A console for a complete line. A problem with its log costs it the log, any other the console."""
        if not draft.name or not draft.dev:
            raise ConfigurationError("incomplete CONSOLE directive")
        words = split_device_string(draft.dev, draft.name)
        device = recognize_device(draft.name, words, self._device_context(draft))
        self.consoles.refuse_duplicate(draft.name, device)
        log = self._log_of(draft, device)
        options = self._log_options(draft.logopts, self._globals.log_options) if log else self._globals.log_options
        self.consoles.add(ConsoleSettings(draft.name, device, log, options, self._line.number))
        self._tell_stand_in(words, device)

    def _tell_stand_in(self, words: Sequence[str], device: Device) -> None:
        """Say once for each script of the original's that ours runs in its place."""
        for word in words[:2]:  # the second where the first is "pty:"
            script = os.path.basename(word[4:] if word.lower().startswith("pty:") else word)
            ours = self._stand_ins.get(script)
            if (
                ours is not None
                and isinstance(device, ProcessDevice)
                and os.path.basename(device.argv[0]) == ours
                and script not in self._stood_in_for
            ):
                self._stood_in_for.add(script)
                self._report(f'device script "{word}" is not installed: using "{device.argv[0]}"', LogLevel.NOTICE)

    def _device_context(self, draft: _Draft) -> DeviceContext:
        return DeviceContext(
            cwd=self._cwd,
            execpath=self._execpath,
            script_dirs=self._script_dirs,
            stand_ins=self._stand_ins,
            keepalive=self.server.keepalive,
            seropts=draft.seropts,
            ipmiopts=draft.ipmiopts,
            testopts=draft.testopts,
            serial=self._globals.serial,
            ipmi=self._globals.ipmi,
            test=self._globals.test,
        )

    def _log_of(self, draft: _Draft, device: Device) -> Optional[str]:
        """The console's log name, unexpanded; None, and a report, where it cannot be used."""
        try:
            log = draft.log
            if log is None and self._globals.log is not None:
                log = _joined("LOG", self._logdir, self._globals.log)
            if not log:
                return None
            clash = self.consoles.claim_log(log, draft.name, device)
        except ConfigurationError as error:
            self._report(str(error), LogLevel.ERROR)
            return None
        if clash:
            self._report(clash, LogLevel.WARNING)
        return log


def _joined(key: str, directory: str, path: str) -> str:
    whole = joined(directory, path)
    if len(encode(whole)) > MAX_VALUE_BYTES:
        raise value_too_long(key)
    return whole


def _refuse_ampersand(directive: str, log: str) -> None:
    if "&" in log:
        raise ConfigurationError(f"ignoring {directive} LOG value with deprecated '&' -- use '%N'")


_SERVER_KEYS = {
    "COREDUMP": _Key(Expect.SWITCH, _Parser._set_coredump),
    "COREDUMPDIR": _Key(Expect.ANY_STRING, _Parser._set_coredumpdir),
    "EXECPATH": _Key(Expect.ANY_STRING, _Parser._set_execpath),
    "KEEPALIVE": _Key(Expect.SWITCH, _Parser._set_keepalive),
    "LOGDIR": _Key(Expect.ANY_STRING, _Parser._set_logdir),
    "LOGFILE": _Key(Expect.STRING, _Parser._set_logfile),
    "LOOPBACK": _Key(Expect.SWITCH, _Parser._set_loopback),
    "NOFILE": _Key(Expect.INTEGER, _Parser._set_nofile),
    "PIDFILE": _Key(Expect.STRING, _Parser._set_pidfile),
    "PORT": _Key(Expect.INTEGER, _Parser._set_port),
    "RESETCMD": _Key(Expect.STRING, _Parser._set_resetcmd),
    "SYSLOG": _Key(Expect.STRING, _Parser._set_syslog),
    "TCPWRAPPERS": _Key(Expect.SWITCH, _Parser._set_tcpwrappers),
    "TIMESTAMP": _Key(Expect.INTEGER, _Parser._set_timestamp),
}
_GLOBAL_KEYS = {
    "LOG": _Key(Expect.ANY_STRING, _Parser._set_global_log),
    "LOGOPTS": _Key(Expect.STRING, _Parser._set_global_logopts),
    "SEROPTS": _Key(Expect.STRING, _Parser._set_global_seropts),
    "IPMIOPTS": _Key(Expect.STRING, _Parser._set_global_ipmiopts),
    "TESTOPTS": _Key(Expect.STRING, _Parser._set_global_testopts),
}
_CONSOLE_KEYS = {
    "NAME": _Key(Expect.STRING, _Parser._set_name),
    "DEV": _Key(Expect.STRING, _Parser._set_dev),
    "LOG": _Key(Expect.ANY_STRING, _Parser._set_log),
    "LOGOPTS": _Key(Expect.STRING, _Parser._set_logopts),
    "SEROPTS": _Key(Expect.STRING, _Parser._set_seropts),
    "IPMIOPTS": _Key(Expect.ANY_STRING, _Parser._set_ipmiopts),
    "TESTOPTS": _Key(Expect.ANY_STRING, _Parser._set_testopts),
}
_DIRECTIVES = {"SERVER": _SERVER_KEYS, "GLOBAL": _GLOBAL_KEYS, "CONSOLE": _CONSOLE_KEYS}
#: Words that are no STRING unless they are quoted.
KEYWORDS = frozenset(("ON", "OFF", *_DIRECTIVES, *_SERVER_KEYS, *_GLOBAL_KEYS, *_CONSOLE_KEYS))
