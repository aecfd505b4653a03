"""``conmand-py``'s command line: options in, exit status out. What the options do is in ``conmand.server.startup``."""

from __future__ import annotations

import getopt
import os
import re
import signal
import sys
from typing import List, Optional, Tuple, Union

from conman import __version__
from conmand.config.model import DEFAULT_PORT, LogLevel
from conmand.config.settings import DEFAULT_PATH as DEFAULT_SETTINGS
from conmand.errors import FatalError
from conmand.server.daemonlog import prefix

DEFAULT_CONFIG = "/etc/conman.conf"
FEATURES = ("TCP-WRAPPERS", "PYTHON")
"""As the original names what it was built with; the last is ours. FREEIPMI comes before them, where its library is."""

_SHORT_OPTIONS = "c:FhkLp:P:qrvVz"
_LONG_OPTIONS = ["check=", "settings=", "workers="]

HELP = f"""\
Usage: %s [OPTIONS]

  -c FILE   Specify configuration. [{DEFAULT_CONFIG}]
  -F        Run daemon in foreground.
  -h        Display this help.
  -k        Kill daemon.
  -L        Display license information.
  -p PORT   Specify port number. [{DEFAULT_PORT}]
  -P FILE   Specify PID file.
  -q        Query daemon's pid.
  -r        Re-open log files, and reload the configuration.
  -v        Be verbose.
  -V        Display version information.
  -z        Zero log files.
  --check FILE
            Check a configuration, print its problems and a summary, and exit.
  --settings FILE
            Specify conmand-py's own settings. [{DEFAULT_SETTINGS}]
  --workers N|auto
            Serve the consoles in N processes, or in as many as suit. [1]

"""

LICENSE = """\
conman-py: a console manager, compatible with ConMan

conman-py is free software: you can redistribute it and/or modify it
under the terms of the GNU General Public License as published by
the Free Software Foundation; either version 3 of the License, or
(at your option) any later version.

"""


def main(argv: Optional[List[str]] = None) -> int:
    """Run ``conmand-py`` with ``argv`` (default ``sys.argv``); returns the exit status."""
    arguments = sys.argv if argv is None else argv
    try:
        return _run(arguments[0], arguments[1:])
    except _UsageError as error:
        return _fail(f"CMDLINE: {error}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


class _UsageError(Exception):
    """The command line cannot be understood."""


def _run(program: str, arguments: List[str]) -> int:
    options = _parse(arguments)
    # The letters that answer at once do so where they stand: an invalid option after them is not seen.
    for letter, _value in options:
        if letter in _ANSWERS:
            sys.stdout.write(_ANSWERS[letter](program))
            return 0
    values = dict(options)
    port = _port(values.get("p"))
    if "--check" in values:
        from conmand.config.check import check_file
        from conmand.server.startup import device_scripts

        return check_file(
            values["--check"],
            sys.stdout,
            port=port,
            pidfile=values.get("P"),
            settings=values.get("--settings"),
            **device_scripts(),
        )
    return _daemon(options, values, port)


def _daemon(options: List[Tuple[str, str]], values: dict[str, str], port: Optional[int]) -> int:
    from conmand.server import startup

    config = values.get("c", DEFAULT_CONFIG)
    start = startup.StartOptions(
        config=config,
        foreground="F" in values,
        port=port,
        pidfile=os.path.abspath(values["P"]) if values.get("P") else None,
        verbose="v" in values,
        truncate_logs="z" in values,
        settings=os.path.abspath(values["--settings"]) if "--settings" in values else None,
        workers=_workers(values.get("--workers")),
    )
    actions = [_SIGNALS[letter] for letter, _value in options if letter in _SIGNALS]
    try:
        if actions:
            return startup.signal_daemon(start, actions[-1])
    except FatalError as error:
        return _fail(str(error))
    try:
        return startup.start(start)
    except FatalError:
        return 1  # reported where it happened


def _parse(arguments: List[str]) -> List[Tuple[str, str]]:
    """The options as (letter or long name, value); other arguments are ignored, as by the original."""
    try:
        parsed, _ignored = getopt.gnu_getopt(arguments, _SHORT_OPTIONS, _LONG_OPTIONS)
    except getopt.GetoptError as error:
        early = _answer_before(arguments)
        if early is not None:
            return [(early, "")]
        raise _UsageError(f'invalid option "{error.opt[:1] if len(error.opt) == 1 else "-"}"') from error
    return [(name if name.startswith("--") else name[1:], value) for name, value in parsed]


def _answer_before(arguments: List[str]) -> Optional[str]:
    """The letter of an option that answers at once and stands before the first invalid one, if there is one."""
    # Letter by letter: several may share an argument.
    beginnings = (
        [*arguments[:place], argument[:size]]
        for place, argument in enumerate(arguments)
        for size in range(2, len(argument) + 1)
    )
    for beginning in beginnings:
        try:
            parsed, _ignored = getopt.gnu_getopt(beginning, _SHORT_OPTIONS, _LONG_OPTIONS)
        except getopt.GetoptError:
            continue
        for name, _value in parsed:
            if name[1:] in _ANSWERS:
                return name[1:]
    return None


def _port(text: Optional[str]) -> Optional[int]:
    """Strict, where the original's atoi(3) makes 0 of a typing error and a large port is taken modulo 65536 (E3)."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise _UsageError(f'invalid port "{text}"')
    return int(text)


def _workers(text: Optional[str]) -> Union[int, str, None]:
    from conmand.config.settings_file import parse_workers

    try:
        return None if text is None else parse_workers(text)
    except ValueError as error:
        raise _UsageError(f"--workers: {error}") from error


def _fail(text: str) -> int:
    sys.stderr.write(f"{prefix(LogLevel.ERROR)}{text}\n")
    return 1


def _version(_program: str) -> str:
    from conmand.consoles import libipmiconsole

    freeipmi = ["FREEIPMI"] if libipmiconsole.is_installed() else []
    return " ".join([f"conman-{__version__}", *freeipmi, *FEATURES]) + "\n"


_ANSWERS = {"h": lambda program: HELP % program, "L": lambda program: LICENSE, "V": _version}
_SIGNALS = {"k": signal.SIGTERM, "q": 0, "r": signal.SIGHUP}

if __name__ == "__main__":
    sys.exit(main())
