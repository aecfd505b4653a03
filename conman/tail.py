"""``conman-py --tail``: the output of one or many consoles as it comes, a line at a time, each with its name."""

from __future__ import annotations

import asyncio
import os
from typing import List

from conman.aio import AsyncConsole
from conman.connection import connect
from conman.errors import ConmanError
from conman.expect import TIMEOUT
from conman.identity import greeting
from conman.lines import LineCutter, prefixed
from conman.options import Options
from conman.protocol import Request, RequestCommand
from conman.session_log import SessionLog
from conman.text import encode

PARTIAL_SECONDS = 1.0
"""How long the start of a line may wait for its end; then it is a prompt, and shown as it is."""

OPENING_LIMIT = 32
"""Sessions that are opened at the same time."""


def tail(options: Options, log: SessionLog) -> int:
    """Follow until every session has ended, or the user has had enough; returns the exit status.

    ``log`` gets what is shown, without colours. An interrupt is a normal end, at which the log is finished too.
    """
    query = Request(RequestCommand.QUERY, tuple(options.patterns), regex=options.regex)
    connection = connect(options.address, greeting(os.environ), query)
    connection.sock.close()
    colour = os.isatty(1) and not os.environ.get("NO_COLOR")
    try:
        status = asyncio.run(_follow_all(list(connection.ok.names), options, _Screen(log, colour)))
    except KeyboardInterrupt:
        log.finish()
        raise
    log.finish()
    return status


class _Screen:
    """Standard output and standard error, and the user's log of both."""

    def __init__(self, log: SessionLog, colour: bool) -> None:
        self._log = log
        self._colour = colour

    def show(self, name: str, lines: List[str]) -> None:
        if not lines:
            return
        plain = _block(name, lines, colour=False)
        self._log.write(plain)
        data = memoryview(_block(name, lines, colour=True) if self._colour else plain)
        while data:
            data = data[os.write(1, data) :]

    def complain(self, name: str, text: str) -> None:
        data = encode(f"{name}:ERROR: {text}.\n")
        self._log.write(data)
        os.write(2, data)


def _block(name: str, lines: List[str], *, colour: bool) -> bytes:
    return b"".join(encode(prefixed(name, line, colour=colour)) + b"\n" for line in lines)


async def _follow_all(names: List[str], options: Options, screen: _Screen) -> int:
    places = asyncio.Semaphore(OPENING_LIMIT)

    async def follow(name: str) -> bool:
        try:
            async with places:
                console = await AsyncConsole.open(name, mode="monitor", server=options.address, quiet=options.quiet)
        except ConmanError as error:
            screen.complain(name, str(error))
            return False
        async with console:
            await _follow(console, screen)
        screen.complain(name, "terminated by server")
        return True

    results = await asyncio.gather(*[follow(name) for name in names])
    return 0 if all(results) else 2


async def _follow(console: AsyncConsole, screen: _Screen) -> None:
    cutter = LineCutter()
    while True:
        try:
            text = await console.read(timeout=PARTIAL_SECONDS)
        except TIMEOUT:
            screen.show(console.name, cutter.take_partial())
            continue
        if not text:
            screen.show(console.name, cutter.take_partial())
            return
        screen.show(console.name, cutter.feed(text))
