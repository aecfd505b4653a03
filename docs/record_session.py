#!/usr/bin/env python3
"""Make the session that README.md shows: docs/session.txt and docs/session.svg, from the real programs.

    python docs/record_session.py [--out DIRECTORY] [--fast]

Starts the demo site, types into a terminal of tmux(1), and keeps what it shows. ``--fast`` lets the pretend nodes boot
without delays, for a trial.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import queue
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple
from xml.sax.saxutils import escape

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT)] if str(PROJECT) not in sys.path else []

from demo.node import Node  # noqa: E402
from demo.run import NODE_NAMES, configuration  # noqa: E402
from demo.terminal_server import TerminalServer  # noqa: E402

COLUMNS, ROWS = 116, 60
PATIENCE_SECONDS = 60.0


class Step(NamedTuple):
    """Keys, and an expression that then is to match the screen once more than before."""

    keys: Tuple[str, ...]
    expected: str


SHELL = r"^\$"
NODE_SHELL = r"^\[root@node1 ~\]#"

STORY = (
    Step(("conman-py --status", "Enter"), SHELL),
    Step(("conman-py node1", "Enter"), r"opened\."),
    Step(("Enter",), "^node1 login:"),
    Step(("root", "Enter"), "^Password:"),
    Step(("demo", "Enter"), NODE_SHELL),
    Step(("uptime", "Enter"), NODE_SHELL),
    Step(("&", "B", "c"), "Rebooting in"),
    Step(("&", "."), SHELL),
    Step(("grep -a 'Kernel panic' logs/*", "Enter"), SHELL),
)


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="docs/record_session.py", description="Record README.md's session.")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs")
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="session-") as directory:
        screen = record(Path(directory), fast=options.fast)
    (options.out / "session.txt").write_text("\n".join(plain(line) for line in screen) + "\n")
    (options.out / "session.svg").write_text(drawing(screen))
    return 0


def record(directory: Path, *, fast: bool) -> List[str]:
    """The lines on the screen at the end of the story, with their colours as escape sequences."""
    with _site(directory, fast) as port, _Terminal(directory, port) as terminal:
        for step in STORY:
            terminal.type(step)
        return terminal.lines()


@contextlib.contextmanager
def _site(directory: Path, fast: bool) -> Iterator[int]:
    """Three nodes, that have booted, and a daemon; gives its port."""
    (directory / "logs").mkdir()
    with _nodes(directory, fast):
        command = [sys.executable, "-m", "conmand", "-F", "-c", str(directory / "conman.conf")]
        said = directory / "daemon.log"
        with said.open("w") as file:
            daemon = subprocess.Popen(command, cwd=PROJECT, stdout=file, stderr=subprocess.STDOUT)
        try:
            port = _wait(lambda: re.search(r"Listening on TCP port (\d+)", said.read_text()), "the daemon")[1]
            logs = [directory / "logs" / f"console.{name}" for name in NODE_NAMES]
            booted = b"connected to" if fast else b"login: "  # the fast ones ask before anybody listens
            _wait(lambda: all(log.exists() and booted in log.read_bytes() for log in logs), "the nodes")
            yield int(port)
        finally:
            daemon.terminate()
            daemon.wait()


@contextlib.contextmanager
def _nodes(directory: Path, fast: bool) -> Iterator[None]:
    """The demo's nodes, that say nothing of their own accord, in a thread; and a configuration for them."""
    ready: queue.Queue[Tuple[asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        pace = 0.0 if fast else 0.3
        nodes = [Node(name, number, pace=pace, chatter_seconds=None) for number, name in enumerate(NODE_NAMES, 1)]
        async with TerminalServer(nodes) as server:
            text = configuration(directory, 0, server.ports, server.control_port)
            (directory / "conman.conf").write_text(text)
            stop = asyncio.Event()
            ready.put((asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, stop = ready.get(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)


class _Terminal:
    """A shell in a tmux of its own, in ``directory``; ``conman-py`` is this project's, and knows the site."""

    def __init__(self, directory: Path, port: int) -> None:
        self._tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
        self._directory = directory
        (directory / "bin").mkdir()
        client = directory / "bin" / "conman-py"
        run = f"import sys; sys.argv[0] = 'conman-py'; sys.path.insert(0, {str(PROJECT)!r}); import conman.cli as c"
        client.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{run}; sys.exit(c.main())" "$@"\n')
        client.chmod(0o755)
        (directory / "profile").write_text("PS1='$ '\n")
        self._environment = {
            "PATH": f"{client.parent}:/usr/bin:/bin",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "HOME": str(directory),
            "ENV": str(directory / "profile"),
            "CONMAN_PORT": str(port),
        }
        self._seen = ""

    def __enter__(self) -> _Terminal:
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        self._call("new-session", "-d", "-s", "session", *size, f"cd {shlex.quote(str(self._directory))} && exec sh -i")
        _wait(lambda: "$" in self._shown(), "the shell")
        return self

    def __exit__(self, *_failure: object) -> None:
        self._call("kill-server")

    def type(self, step: Step) -> None:
        before = self._count(step.expected)
        for keys in step.keys:
            self._call("send-keys", "-t", "session", *([keys] if keys == "Enter" else ["-l", keys]))
        _wait(lambda: self._count(step.expected) > before, repr(step.expected))

    def _count(self, expression: str) -> int:
        return len(re.findall(expression, self._shown(), re.MULTILINE))

    def lines(self) -> List[str]:
        """What was shown, with its colours, without the prompt at the end."""
        shown = self._shown("-e").split("\n")
        while shown and not plain(shown[-1]).strip(" $"):
            shown.pop()
        return shown

    def _shown(self, *options: str) -> str:
        return self._call("capture-pane", "-p", "-t", "session", "-S", "-", *options)

    def _call(self, *words: str) -> str:
        environment = {**os.environ, **self._environment}
        environment.pop("TMUX", None)
        done = subprocess.run([*self._tmux, *words], env=environment, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode("utf-8", "replace")


def _wait(condition, what: str):  # type: ignore[no-untyped-def]  # whatever the condition gives
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"cannot record: {what} did not come in {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)


# The picture.

_SGR = re.compile(r"\x1b\[([\d;]*)m")
_COLOURS = ("#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0")
_OURS = (("$ ", 2), ("<ConMan> ", 4))
"""What is not the node's stands out in the picture."""
_CHARACTER, _LINE, _MARGIN = 8.43, 18, 14


def plain(line: str) -> str:
    return _SGR.sub("", line).rstrip()


def drawing(screen: List[str]) -> str:
    """``screen`` as SVG."""
    width, height = int(COLUMNS * _CHARACTER + 2 * _MARGIN), len(screen) * _LINE + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#1e2127"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="#d7dae0">',
    ]
    for row, line in enumerate(screen, 1):
        place = _MARGIN + row * _LINE - 5
        if plain(line):
            colour = next((f' fill="{_COLOURS[number]}"' for start, number in _OURS if line.startswith(start)), "")
            parts.append(f'<text x="{_MARGIN}" y="{place}" xml:space="preserve"{colour}>{_spans(line)}</text>')
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _spans(line: str) -> str:
    spans, attributes = [], ""
    for place, piece in enumerate(_SGR.split(line.rstrip())):
        if place % 2:
            attributes = _attributes(piece, attributes)
        elif piece:
            text = escape(piece)
            spans.append(f"<tspan{attributes}>{text}</tspan>" if attributes else text)
    return "".join(spans)


def _attributes(codes: str, attributes: str) -> str:
    for code in map(int, filter(None, codes.split(";"))):
        if code in (0, 39):
            attributes = ""
        elif code == 1:
            attributes += ' font-weight="bold"'
        elif 30 <= code % 60 <= 37:
            attributes = f' fill="{_COLOURS[code % 60 - 30]}"'
    return "" if not codes else attributes


if __name__ == "__main__":
    sys.exit(main())
