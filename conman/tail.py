"""``conman-py --tail``: the output of one or many consoles as it comes, a line at a time, each with its name."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import List

from conman.aio import AsyncConsole
from conman.connection import connect
from conman.errors import ConmanError
from conman.expect import TIMEOUT
from conman.identity import greeting
from conman.lines import LineCutter, prefixed
from conman.options import Options
from conman.protocol import Request, RequestCommand
from conman.text import encode

PARTIAL_SECONDS = 1.0
"""How long the start of a line may wait for its end; then it is a prompt, and shown as it is."""

OPENING_LIMIT = 32
"""Sessions that are opened at the same time."""


def tail(options: Options) -> int:
    """Follow until every session has ended, or the user has had enough; returns the exit status."""
    query = Request(RequestCommand.QUERY, tuple(options.patterns), regex=options.regex)
    connection = connect(options.address, greeting(os.environ), query)
    connection.sock.close()
    colour = os.isatty(1) and not os.environ.get("NO_COLOR")
    return asyncio.run(_follow_all(list(connection.ok.names), options, colour))


async def _follow_all(names: List[str], options: Options, colour: bool) -> int:
    places = asyncio.Semaphore(OPENING_LIMIT)

    async def follow(name: str) -> bool:
        try:
            async with places:
                console = await AsyncConsole.open(name, mode="monitor", server=options.address, quiet=options.quiet)
        except ConmanError as error:
            _complain(name, str(error))
            return False
        async with console:
            await _follow(console, colour)
        _complain(name, "terminated by server")
        return True

    results = await asyncio.gather(*[follow(name) for name in names])
    return 0 if all(results) else 2


async def _follow(console: AsyncConsole, colour: bool) -> None:
    cutter = LineCutter()
    while True:
        try:
            text = await console.read(timeout=PARTIAL_SECONDS)
        except TIMEOUT:
            _print(console.name, cutter.take_partial(), colour)
            continue
        if not text:
            _print(console.name, cutter.take_partial(), colour)
            return
        _print(console.name, cutter.feed(text), colour)


def _print(name: str, lines: List[str], colour: bool) -> None:
    if lines:
        data = memoryview(b"".join(encode(prefixed(name, line, colour=colour)) + b"\n" for line in lines))
        while data:
            data = data[os.write(1, data) :]


def _complain(name: str, text: str) -> None:
    sys.stderr.flush()
    os.write(2, encode(f"{name}:ERROR: {text}.\n"))
