"""``conmen-py``: many consoles at once, one pane each, and one to type to all of them.

The original's ``conmen`` opens a terminal emulator for every console; ours does so where one is asked for with ``-T``,
and is otherwise content with panes of tmux(1), on a server of its own that ends with the broadcast.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from conman import keys, options, texts
from conman.address import from_environment
from conman.errors import ConmanError
from conman.text import encode

MISUSED, NOT_EXECUTABLE = 255, 127
TERM_SECONDS = 0.5
"""For windows to go away when asked, before they are made to."""

HELP = """\
Usage: {program} [OPTIONS] [CONSOLES]

  -d HOST   Specify server destination. [{address}]
  -e CHAR   Specify escape character. [{escape}]
  -f        Force connections (console-stealing).
  -g QUERY  Add the nodes of a genders query.
  -G SIZE   Specify terminal emulator geometry ("80x24").
  -h        Display this help.
  -j        Join connections (console-sharing).
  -L        Display license information.
  -m        Monitor connections (read-only).
  -q        Query server about specified console(s).
  -r        Match console names via regex instead of globbing.
  -T PROG   Specify terminal emulator, such as xterm. [panes of tmux]
  -V        Display version information.

"""

_WITH_VALUE = "degGT"
_LETTERS = _WITH_VALUE + "fhjLmqrV"


class _Misuse(ConmanError):
    """The command line asks for what cannot be; ``status`` is what the original exits with."""

    def __init__(self, text: str, status: int = MISUSED) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Settings:
    client: List[str]
    server: List[str] = field(default_factory=list)  # -d
    escape: List[str] = field(default_factory=list)  # -e
    regex: List[str] = field(default_factory=list)  # -r
    mode: str = ""
    geometry: str = ""
    terminal: str = ""
    query_only: bool = False
    patterns: List[str] = field(default_factory=list)

    @property
    def common(self) -> List[str]:
        return [*self.client, *self.server, *self.escape]

    def single(self, name: str) -> List[str]:
        """The client for one console."""
        return [*self.common, "-Q", self.mode or "-m", "--", name]

    def broadcast(self) -> List[str]:
        """The client for all of them; the original forgets what it was told of server, escape and expressions."""
        return [*self.common, *self.regex, "-b", "-j", "--", *self.patterns]


def main(argv: Optional[List[str]] = None) -> int:
    """Run ``conmen-py``; returns the exit status, or does not where it becomes the client."""
    arguments = sys.argv if argv is None else argv
    settings = Settings(_client(arguments[0]))
    try:
        answer = _parse(arguments[0], arguments[1:], settings)
        if answer is not None:
            sys.stdout.write(answer)
            return 0
        return _start(settings)
    except _Misuse as error:
        os.write(2, encode(f"ERROR: {error}\n"))
        return error.status


def _client(program: str) -> List[str]:
    """The client that was installed with us; "python -m" would look for its modules in the current directory first."""
    beside = os.path.join(os.path.dirname(os.path.abspath(program)), "conman-py")
    found = beside if os.access(beside, os.X_OK) else shutil.which("conman-py")
    return [found] if found else [sys.executable, "-m", "conman"]


def _parse(program: str, arguments: Sequence[str], settings: Settings) -> Optional[str]:
    """Fill in ``settings``; returns the text of an option that only asks for one."""
    if not arguments:
        return _help(program, settings)
    for letter, value in _walk(list(arguments)):
        if letter == "":
            settings.patterns += [part for part in value.split(",") if part]
        elif letter == "g":
            settings.patterns += _genders(value)
        elif letter in "fjm":
            if settings.mode not in ("", f"-{letter}"):
                raise _Misuse("Only one mode [fjm] can be specified.")
            settings.mode = f"-{letter}"
        elif letter in "hLV":
            return {"h": _help(program, settings), "L": texts.LICENSE, "V": texts.VERSION}[letter]
        else:
            _set(settings, letter, value)
    return None


def _set(settings: Settings, letter: str, value: str) -> None:
    if letter == "d":
        settings.server = ["-d", value]
    elif letter == "e":
        settings.escape = ["-e", value]
    elif letter == "r":
        settings.regex = ["-r"]
    elif letter == "q":
        settings.query_only = True
    elif letter == "G":
        settings.geometry = value
    else:
        settings.terminal = value


def _walk(rest: List[str]) -> Iterator[Tuple[str, str]]:
    """Letters with their values; names with an empty letter."""
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            yield from [("", name) for name in rest]
            return
        if not argument.startswith("-") or argument == "-":
            yield "", argument
            continue
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter not in _LETTERS or (letter in _WITH_VALUE and not letters and not rest):
                raise _Misuse(f"Unknown option: {letter}")
            if letter in _WITH_VALUE:
                yield letter, letters or rest.pop(0)
                break
            yield letter, ""


def _help(program: str, settings: Settings) -> str:
    escape = settings.escape[1] if settings.escape else os.environ.get("CONMAN_ESCAPE", "")
    byte = encode(escape)[0] if escape else options.DEFAULT_ESCAPE
    try:
        address = from_environment(os.environ).with_text(settings.server[1] if settings.server else "")
    except ValueError as error:
        raise _Misuse(str(error)) from error
    shown = keys.printable(byte).decode("ascii")
    return HELP.format(program=os.path.basename(program), address=address, escape=shown)


def _genders(query: str) -> List[str]:
    try:
        found = subprocess.run(["nodeattr", "-c", query], stdout=subprocess.PIPE, check=False).stdout
    except OSError as error:
        raise _Misuse("Cannot query genders: nodeattr not found") from error
    return [name for name in found.decode("utf-8", "surrogateescape").strip().split(",") if name]


def _start(settings: Settings) -> int:
    if settings.terminal and not os.environ.get("DISPLAY"):
        raise _Misuse("DISPLAY not set.")
    if settings.terminal and shutil.which(settings.terminal) is None:
        raise _Misuse(f"Cannot exec {settings.terminal}", NOT_EXECUTABLE)
    query = [*settings.common, *settings.regex, "-Q", "-q", "--", *settings.patterns]
    answer = subprocess.run(query, stdout=subprocess.PIPE, check=False)
    names = answer.stdout.decode("utf-8", "surrogateescape").splitlines()
    if settings.query_only and not answer.returncode:
        sys.stdout.buffer.write(answer.stdout)
        return 0
    if not names:
        return 1
    if len(names) == 1:
        os.execv(settings.client[0], settings.single(names[0]))
    if settings.terminal:
        return _windows(settings, names)
    if shutil.which("tmux") is None:
        raise _Misuse("Cannot exec tmux; name a terminal emulator with -T", NOT_EXECUTABLE)
    return _panes(settings, names)


# Terminal emulators.


def _windows(settings: Settings, names: List[str]) -> int:
    geometry = ["-geometry", settings.geometry] if settings.geometry else []
    windows = [
        subprocess.Popen(
            [settings.terminal, *geometry, "-T", f"ConMan: {name}", "-e", *settings.single(name)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for name in names
    ]
    broadcast = subprocess.Popen(settings.broadcast())
    signal.signal(signal.SIGTERM, lambda _number, _frame: broadcast.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return broadcast.wait()
    finally:
        _close(windows)


def _close(windows: List[subprocess.Popen[bytes]]) -> None:
    for window in windows:
        window.terminate()
    deadline = time.monotonic() + TERM_SECONDS
    for window in windows:
        try:
            window.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            window.kill()
            window.wait()


# Panes.


def _panes(settings: Settings, names: List[str]) -> int:
    """Become tmux, attached to a session whose first pane is the broadcast; its end is everybody's."""
    server = ["tmux", "-L", f"conmen-{os.getpid()}", "-f", "/dev/null"]
    environ = {name: value for name, value in os.environ.items() if name != "TMUX"}  # we may be in one already
    end = shlex.join([*server, "kill-session", "-t", "conmen"])
    size = shutil.get_terminal_size((200, 60))  # the default also where a terminal does not know its own
    place = ["-x", str(size.columns), "-y", str(size.lines)]
    # The end hangs up on this shell too, which has yet to remove what tmux leaves behind.
    broadcast = f"{shlex.join(settings.broadcast())}; trap '' HUP; {end}; rm -f \"${{TMUX%%,*}}\""
    if not _tmux(server, environ, "new-session", "-d", "-P", "-s", "conmen", *place, broadcast):
        raise _Misuse("Cannot start tmux", NOT_EXECUTABLE)
    for setting in (("pane-border-status", "top"), ("pane-border-format", " #{pane_title} "), ("mouse", "on")):
        _tmux(server, environ, "set-option", "-g", *setting)
    _tmux(server, environ, "select-pane", "-t", "conmen:0.0", "-T", f"Broadcast to {len(names)} consoles")
    for name in names:
        command = shlex.join(settings.single(name))
        pane = _tmux(server, environ, "split-window", "-d", "-P", "-F", "#{pane_id}", "-t", "conmen:0.0", command)
        if not pane:
            _tmux(server, environ, "new-window", "-d", "-t", "conmen:", "-n", name, command)  # no room left
            continue
        _tmux(server, environ, "select-pane", "-t", pane, "-T", name)
        _tmux(server, environ, "select-layout", "-t", "conmen:0", "tiled")
    _tmux(server, environ, "select-pane", "-t", "conmen:0.0")
    os.execvpe("tmux", [*server, "attach-session", "-t", "conmen"], environ)


def _tmux(server: List[str], environ: Dict[str, str], *command: str) -> str:
    """What tmux says to ``command``; nothing if it fails."""
    done = subprocess.run([*server, *command], env=environ, capture_output=True, check=False)
    return "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()


if __name__ == "__main__":
    sys.exit(main())
