"""Devices that print numbered lines, whose every byte can be computed again, and that hang up now and then."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from pathlib import Path
from typing import List, Optional

_FILL = "".join(chr(0x21 + index % 94) for index in range(1000)).replace("<", "(")
_NOTICE = re.compile(rb"\r\n<ConMan> [^\r\n]*\r\n")


def line(name: str, number: int) -> bytes:
    """The line ``number`` (from 0) of the device ``name``: never empty, at most 220 bytes, never a notice."""
    size = (number * 2654435761 + len(name)) % 200
    return f"{name} {number:08d} {_FILL[number % 700 : number % 700 + size]}\r\n".encode("ascii")


def without_notices(data: bytes) -> bytes:
    """What of a log or a client's output came from the device."""
    return _NOTICE.sub(b"", data)


def first_difference(name: str, lines: int, logged: bytes) -> Optional[str]:
    """Where ``logged``, without notices, is not exactly the device's first ``lines`` lines; ``None`` if nowhere."""
    place = 0
    for number in range(lines):
        expected = line(name, number)
        found = logged[place : place + len(expected)]
        if found != expected:
            return f"{name}: at byte {place}, in line {number} of {lines}: {found!r} instead of {expected!r}"
        place += len(expected)
    if place != len(logged):
        return f"{name}: after all {lines} lines {len(logged) - place} bytes follow: {logged[place : place + 80]!r}"
    return None


class Printer:
    """A device behind a Unix socket, or with ``telnet`` behind a TCP port, that prints in bursts while connected."""

    def __init__(self, name: str, directory: Path, chance: random.Random, *, telnet: bool = False) -> None:
        self.name = name
        self.lines = 0
        self.connections = 0
        self.lost_connections = 0
        self._path = directory / name
        self._chance = chance
        self._telnet = telnet
        self._port = 0
        self._printing: List[asyncio.Task[None]] = []
        self._server: Optional[asyncio.AbstractServer] = None
        self._over = False

    @property
    def device(self) -> str:
        return f"127.0.0.1:{self._port}" if self._telnet else f"unix:{self._path}"

    async def start(self) -> None:
        if self._telnet:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self._port = self._server.sockets[0].getsockname()[1]
        else:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def stop(self) -> None:
        """Print the current burst to its end, and close once the daemon has read it."""
        self._over = True
        assert self._server is not None, "started"
        self._server.close()
        await asyncio.gather(*self._printing, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._over or any(not other.done() for other in self._printing):
            writer.close()  # one console, one connection: two would mix their lines
            return
        self._printing = [task]
        self.connections += 1
        listening = asyncio.ensure_future(self._discard(reader))
        try:
            while not self._over:
                for _count in range(self._chance.choice((1, 1, 1, 2, 10, 100))):
                    if writer.is_closing():
                        break
                    writer.write(line(self.name, self.lines))
                    self.lines += 1
                await writer.drain()
                await asyncio.sleep(self._chance.choice((0.001, 0.01, 0.1, 0.5)))
                if self._chance.random() < 0.002:
                    break  # a terminal server is restarted
        except ConnectionError:
            self.lost_connections += 1  # which is right only while the daemon has let the console go
        finally:
            listening.cancel()
            writer.close()  # what was written is sent before the end
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _discard(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
