"""``conmand-py --check FILE``: what the daemon would say about a configuration, and what it would make of it.

Reads the file and looks at devices and ``coredumpdir``, like the daemon's own start; locks, creates and starts nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, TextIO, Tuple

from conman.address import joined
from conman.text import decode, encode
from conmand.config.errors import ExpansionTooLong, no_consoles_defined
from conmand.config.grammar import parse_configuration
from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiDevice,
    LogLevel,
    Problem,
    ProcessDevice,
    SerialDevice,
    ServerSettings,
    TelnetDevice,
    TestDevice,
    UnixDevice,
)
from conmand.config.remarks import remarks
from conmand.config.settings import DaemonSettings, ListenSettings
from conmand.config.settings_file import SettingsError, SettingsProblem, load
from conmand.config.specifiers import device_text, expand

_PREFIX_COLUMNS = 11  # as in the daemon's log
_TYPES = {
    ProcessDevice: "process",
    TelnetDevice: "telnet",
    SerialDevice: "serial",
    UnixDevice: "unix",
    IpmiDevice: "ipmi",
    TestDevice: "test",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    mode: int


def check_file(
    path: str,
    out: TextIO,
    *,
    cwd: Optional[str] = None,
    port: Optional[int] = None,
    pidfile: Optional[str] = None,
    script_dirs: Sequence[str] = (),
    stand_ins: Optional[Mapping[str, str]] = None,
    settings: Optional[str] = None,
) -> int:
    """Prints the problems of the configuration ``path`` and a summary to ``out``; returns the exit status.

    0: a daemon would start and every line is right; 1: an error, no console, or a file that cannot be read. Warnings
    do not count. ``cwd`` is the current directory if None; ``settings`` is our own settings file, ``None`` the default
    one; the other arguments are those of ``parse_configuration``.
    """
    if cwd is None:
        cwd = decode(os.getcwdb())
    try:
        file = _read(path if path.startswith("/") else f"{cwd}/{path}")
    except _Unreadable as error:
        _print(report(LogLevel.ERROR, f'Unable to {error.verb} "{path}": {error.reason}'), out)
        return 1
    configuration = parse_configuration(
        file.content, path, cwd=cwd, port=port, pidfile=pidfile, script_dirs=script_dirs, stand_ins=stand_ins
    )
    own, mistakes = _load_settings(settings)
    for line in _report_lines(configuration, file.mode, own, mistakes):
        _print(line, out)
    bad = mistakes or any(problem.level <= LogLevel.ERROR for problem in configuration.problems)
    return 1 if bad or not configuration.consoles else 0


def _load_settings(path: Optional[str]) -> Tuple[DaemonSettings, Sequence[SettingsProblem]]:
    """With the mistakes, the defaults."""
    try:
        return load(path), ()
    except SettingsError as error:
        return DaemonSettings(path=error.path), error.problems


def report(level: LogLevel, text: str) -> str:
    """``text`` as the daemon prints it on standard error: ``ERROR:     CONFIG[FILE:LINE]: ...``."""
    return f"{level.name + ':':<{_PREFIX_COLUMNS}}{text}"


def report_problem(problem: Problem) -> str:
    return report(problem.level, str(problem))


class _Unreadable(Exception):
    def __init__(self, verb: str, error: OSError) -> None:
        super().__init__(verb, error)
        self.verb = verb
        self.reason = os.strerror(error.errno or 0)


def _read(path: str) -> _File:
    try:
        file = open(encode(path), "rb", buffering=0, opener=_opened_without_waiting)  # noqa: SIM115
    except IsADirectoryError as error:  # Python's, for what the daemon meets when it reads
        raise _Unreadable("read", error) from error
    except OSError as error:
        raise _Unreadable("open", error) from error
    with file:
        try:
            return _File(file.read(), os.fstat(file.fileno()).st_mode)
        except OSError as error:
            raise _Unreadable("read", error) from error


def _opened_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO by mistake must not hang the check


def _report_lines(
    configuration: Configuration, mode: int, settings: DaemonSettings, mistakes: Sequence[SettingsProblem]
) -> Iterator[str]:
    for problem in configuration.problems:
        yield report_problem(problem)
    for mistake in mistakes:
        yield report(LogLevel.ERROR, str(mistake))
    unmeant = remarks(configuration, mode, settings)
    for remark in unmeant:
        yield report(LogLevel.WARNING, remark)
    if not configuration.consoles:
        yield report(LogLevel.ERROR, no_consoles_defined(configuration.path))
    yield from _summary(configuration, settings, len(mistakes), len(unmeant))


def _summary(configuration: Configuration, settings: DaemonSettings, mistakes: int, unmeant: int) -> Iterator[str]:
    consoles = configuration.consoles
    errors = mistakes + sum(problem.level <= LogLevel.ERROR for problem in configuration.problems)
    warnings = unmeant + sum(problem.level is LogLevel.WARNING for problem in configuration.problems)
    logged = sum(console.log is not None for console in consoles)
    types = Counter(_type_of(console.device) for console in consoles)
    by_type = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
    yield f"Configuration: {configuration.path}"
    if settings.path is not None:
        yield f"Settings: {settings.path}"
    yield f"Consoles: {len(consoles)}{f' ({by_type})' if by_type else ''}"
    yield f"Logged: {logged}, not logged: {len(consoles) - logged}"
    yield f"Listening: {_places(configuration.server, settings.listen)}"
    yield f"Problems: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
    for log, names in _collisions(consoles).items():
        yield f'Log collision: {_counted(len(names), "console")} would write "{log}": {", ".join(names)}'


def _places(server: ServerSettings, listen: ListenSettings) -> str:
    """As far as it is known before the start: a service manager may open others."""
    default = ("127.0.0.1", "::1") if server.loopback else ("0.0.0.0", "::")
    addresses = listen.addresses or [(host, None) for host in default]
    places = [joined(host, server.port if port is None else port) for host, port in addresses if listen.tcp]
    if listen.unix_socket is not None:
        places.append(listen.unix_socket.path)
    chosen = listen.tcp and 0 in [server.port if port is None else port for _host, port in addresses]
    return ", ".join(places) + (" (0: a port chosen at start)" if chosen else "")


def _type_of(device: Device) -> str:
    return _TYPES[type(device)]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _collisions(consoles: Sequence[ConsoleSettings]) -> Dict[str, List[str]]:
    """Logs, as they would be named now, that more than one console writes."""
    seconds = int(time.time())
    now = time.localtime(seconds)
    writers: Dict[str, List[str]] = {}
    for console in consoles:
        if console.log is None:
            continue
        try:
            log = expand(
                console.log,
                now=now,
                epoch_seconds=seconds,
                pid=os.getpid(),
                name=console.name,
                device=device_text(console.device),
            )
        except ExpansionTooLong:
            continue
        writers.setdefault(log, []).append(console.name)
    return {log: names for log, names in writers.items() if len(names) > 1}


def _print(line: str, out: TextIO) -> None:
    """``line``, with what ``out`` cannot encode spelled as escapes: names are bytes without a character set."""
    encoding = out.encoding or "utf-8"
    text = encode(line).decode("utf-8", "backslashreplace")
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=out)
