"""``conman-py run``: one shell command on many consoles at once, with each one's output and exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Tuple

from conman.address import Address, from_environment
from conman.console import Console, query
from conman.dialogues import CommandResult
from conman.errors import ConmanError, ConnectError, LostError, RefusedError
from conman.lines import prefixed
from conman.options import read_patterns
from conman.parallel import DEFAULT_LIMIT, Outcome, run_on
from conman.text import decode, encode

PROGRESS_AFTER_SECONDS = 2.0
PROGRESS_SECONDS = 0.5
BAR_WIDTH = 30
INTERRUPTED = 130
MAX_SECONDS = 1e6
"""Eleven days; poll(2) cannot wait for 25."""

EPILOG = """\
The credentials file has the lines "user = NAME" and "password = WORD"; nobody else may read it. With it, run logs in
where a login is asked for, and out again. Without it, a shell has to be there.

Ctrl-C begins no more consoles and waits for those under way; a second one leaves them as they are.

Exit status: 0 if the command succeeded everywhere; 1 if it failed somewhere; 2 if the server cannot be reached
or refused; 130 after Ctrl-C.
"""


@dataclass(frozen=True)
class Credentials:
    user: str
    password: Optional[str] = field(default=None, repr=False)


@dataclass(frozen=True)
class Job:
    command: str
    credentials: Optional[Credentials]
    seconds: float

    def __call__(self, console: Console) -> CommandResult:
        login = None
        if self.credentials is not None:
            login = console.login(self.credentials.user, self.credentials.password)
        try:
            return console.run(self.command, self.seconds)
        finally:
            if login is not None and login.fresh:
                with contextlib.suppress(LostError):  # why it is over is known better by what is raised already
                    console.sendline("exit")  # no root shell is to be left to whoever attaches next


def main(program: str, arguments: Sequence[str]) -> int:
    """``arguments`` without the word ``run``; returns the exit status."""
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = _parser(program).parse_args(arguments[:split])
    command = " ".join(arguments[split + 1 :])
    job = Job(command, read_credentials(options.credentials) if options.credentials else None, options.timeout)
    address = _address(options.d)
    try:
        names = query(*_patterns(options), server=address, regex=options.r)
    except (RefusedError, ConnectError) as error:
        _complain(f"ERROR: {error}.")
        return 2
    mode = "force" if options.f else "join" if options.j else "connect"
    with _Report(len(names), sys.stderr.isatty()) as report:
        try:
            run_on(
                names,
                job,
                limit=options.p,
                mode=mode,
                server=address,
                timeout=options.timeout,
                on_done=report.add,
                on_interrupt=report.interrupted,
            )
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
        status = report.finish()
    if interrupted and threading.active_count() > 1:
        os._exit(INTERRUPTED)  # a second interrupt: the threads that still work must not hold our end
    return INTERRUPTED if interrupted else status


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{os.path.basename(program)} run",
        usage="%(prog)s [OPTIONS] NAMES -- COMMAND",
        description="Run a shell command on many consoles at once.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-d", metavar="HOST", help="server: HOST[:PORT]")
    parser.add_argument("-F", metavar="FILE", action="append", default=[], help="read console names from FILE")
    parser.add_argument("-f", action="store_true", help="force (console-stealing)")
    parser.add_argument("-j", action="store_true", help="join (console-sharing)")
    parser.add_argument("-p", metavar="N", type=_positive, default=DEFAULT_LIMIT, help="at a time [%(default)s]")
    parser.add_argument("-r", action="store_true", help="names are regular expressions")
    parser.add_argument("--credentials", metavar="FILE", help="log in with what FILE says")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="for the command, and each prompt [30]"
    )
    parser.add_argument("names", nargs="*", metavar="NAMES")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time in seconds")
    return number


def _address(text: Optional[str]) -> Address:
    try:
        return from_environment(os.environ).with_text(text or "")
    except ValueError as error:
        raise ConmanError(str(error)) from error


def _patterns(options: argparse.Namespace) -> List[str]:
    patterns = [pattern for path in options.F for pattern in read_patterns(path)]
    patterns += [part for name in options.names for part in name.split(",") if part]
    if not patterns:
        raise ConmanError("no consoles are named; all of them are '*'")
    return patterns


def read_credentials(path: str) -> Credentials:
    """Raises ``ConmanError`` for a file that others may read, or that names no user. What it says is never shown."""
    try:
        with open(encode(path), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = decode(file.read()).splitlines()
    except OSError as error:
        raise ConmanError(f'Unable to open "{path}": {error.strerror}') from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConmanError(f'cannot use "{path}": others may read it; its mode should be 0600')
    values = dict(_setting(line) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not values.get("user"):
        raise ConmanError(f'cannot use "{path}": it names no user')
    return Credentials(values["user"], values.get("password"))


def _setting(line: str) -> Tuple[str, str]:
    key, _equals, value = line.partition("=")
    return key.strip().lower(), value.strip()


class _Report:
    """Each console's lines when it is done; on a terminal a bar while the rest takes long. Use as a context manager."""

    def __init__(self, total: int, on_terminal: bool) -> None:
        self._total = total
        self._done = self._failed = 0
        self._started = time.monotonic()
        self._bar_shown = False
        self._writing = threading.Lock()  # the bar is drawn by a thread of its own: nothing else happens meanwhile
        self._over = threading.Event()
        self._drawer = threading.Thread(target=self._draw_bar, daemon=True) if on_terminal else None

    def __enter__(self) -> _Report:
        if self._drawer is not None:
            self._drawer.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._over.set()
        if self._drawer is not None:
            self._drawer.join()

    def add(self, outcome: Outcome[CommandResult]) -> None:
        with self._writing:
            self._hide_bar()
            self._done += 1
            self._tell(outcome)

    def _tell(self, outcome: Outcome[CommandResult]) -> None:
        name, result = outcome.console, outcome.value
        if result is None:
            self._failed += 1
            details = outcome.error.details if isinstance(outcome.error, RefusedError) else ""
            for line in [f"ERROR: {outcome.error}.", *details.splitlines()]:
                _complain(prefixed(name, line))
            return
        self._failed += result.status != 0
        if result.output:
            lines = [prefixed(name, line) for line in result.output.split("\n")]
            sys.stdout.buffer.write(encode("\n".join(lines) + "\n"))
            sys.stdout.buffer.flush()
        _complain(prefixed(name, f"exit status {'unknown' if result.status is None else result.status}"))

    def _draw_bar(self) -> None:
        pause = PROGRESS_AFTER_SECONDS
        while not self._over.wait(pause):
            pause = PROGRESS_SECONDS
            with self._writing:
                if not self._over.is_set():
                    self._show_bar()

    def _show_bar(self) -> None:
        filled = BAR_WIDTH * self._done // self._total
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        elapsed = time.monotonic() - self._started
        sys.stderr.write(f"\r[{bar}] {self._done}/{self._total}, {self._failed} failed, {elapsed:.0f} s")
        sys.stderr.flush()
        self._bar_shown = True

    def _hide_bar(self) -> None:
        if self._bar_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._bar_shown = False

    def interrupted(self, under_way: List[str]) -> None:
        if under_way:
            with self._writing:
                self._hide_bar()
                _complain(f"Interrupted: waiting for {', '.join(under_way)}; Ctrl-C again leaves them as they are")

    def finish(self) -> int:
        """The sum of it all; returns the exit status."""
        self._over.set()
        with self._writing:
            self._hide_bar()
            if self._total > 1:
                missing = self._total - self._done
                not_run = f", {missing} not finished" if missing else ""
                succeeded = self._done - self._failed
                _complain(f"{self._total} consoles: {succeeded} succeeded, {self._failed} failed{not_run}")
            return 1 if self._failed else 0


def _complain(text: str) -> None:
    sys.stderr.flush()
    os.write(2, encode(text + "\n"))
