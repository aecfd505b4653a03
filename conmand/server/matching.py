"""Which consoles a request means: names that match its patterns, in the original's order.

Names that are given in full are looked up. Everything else goes to a short-lived child process (``match_worker``): the
patterns are libc's, so that they mean what they mean to the original, and libc can be made to run for ever by a client.
Differs from the original: each regular expression stands for itself; there they are joined by a bar and can run into
each other (``(n`` and ``u)1?``).
"""

from __future__ import annotations

import array
import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Set

from conman.text import decode, encode
from conmand.server.name_order import sorted_names

#: Wall-clock time for one request's patterns. Ours; 9,000 names take some 0.1 s.
MATCH_SECONDS = 2.0

#: Children at once; further requests wait for their turn.
MAX_WORKERS = 4

#: For that turn. Ours; hostile patterns by the dozen make others wait, but neither for ever nor in numbers.
QUEUE_SECONDS = 10.0

_COMMAND = [sys.executable, "-I", "-S", str(Path(__file__).with_name("match_worker.py"))]
_ENVIRONMENT = {"LC_ALL": "C"}
_READ_BYTES = 65536
_GLOB_MARKS = re.compile(r"[*?\[\\]")
_LITERAL_REGEX = re.compile(r"[A-Za-z0-9_ :;,/@%=-]+")


class PatternError(Exception):
    """The patterns cannot be evaluated; ``message`` is for the client, for a bad regular expression libc's words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PatternTimeout(PatternError):
    """The patterns took too long."""


class Reaper(Protocol):
    """Starts programs and reaps them (``conmand.server.children``)."""

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        on_exit: Optional[Callable[[int], None]] = None,
    ) -> int: ...

    def kill(self, pid: int, signal_number: int) -> None: ...


class _Names:
    """One set of names, in order, and the ways to find one; a name's rank is its place in that order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.ordered = sorted_names(names)
        self.encoded = b"\0".join(map(encode, self.ordered))
        self._rank = {name: rank for rank, name in enumerate(self.ordered)}
        self._ranks_in_lower_case: Dict[bytes, List[int]] = {}
        for rank, name in enumerate(self.encoded.lower().split(b"\0")):
            self._ranks_in_lower_case.setdefault(name, []).append(rank)

    def ranks_of(self, text: str, ignore_case: bool) -> Sequence[int]:
        """The names that are ``text``; in ASCII, case can be ignored."""
        if ignore_case:
            return self._ranks_in_lower_case.get(encode(text).lower(), ())
        rank = self._rank.get(text)
        return () if rank is None else (rank,)


class Matcher:
    """Answers for a set of console names. Starts nothing until asked; everything runs on one event loop."""

    def __init__(self, names: Sequence[str], reaper: Reaper) -> None:
        self._reaper = reaper
        self._turns: Optional[asyncio.Semaphore] = None  # made on the loop, as Python 3.9 needs it
        self.update(names)

    def update(self, names: Sequence[str]) -> None:
        """Answer for ``names`` from now on; requests under way are answered for the old ones."""
        self._given = tuple(names)
        self._names: Optional[_Names] = None  # sorting thousands takes a while: not before somebody asks

    async def match(self, patterns: Sequence[str], regex: bool = False) -> List[str]:
        """The names that match at least one of ``patterns`` (all names if there are none), in ConMan's order.

        Raises ``PatternError`` if libc refuses a pattern or the evaluation fails, ``PatternTimeout`` if it takes more
        than ``MATCH_SECONDS``, or ``QUEUE_SECONDS`` to begin.
        """
        if self._names is None:
            self._names = _Names(self._given)
        names = self._names
        if not patterns:
            return list(names.ordered)
        ranks: Set[int] = set()
        hard: List[str] = []
        for pattern in patterns:
            if _is_literal(pattern, regex):
                ranks.update(names.ranks_of(pattern, ignore_case=regex))
            else:
                hard.append(pattern)
        if hard:
            ranks.update(await self._evaluate(names, hard, regex))
        return [names.ordered[rank] for rank in sorted(ranks)]

    async def _evaluate(self, names: _Names, patterns: Sequence[str], regex: bool) -> Sequence[int]:
        if not names.ordered:
            return ()
        # A NUL would end the pattern in libc as well.
        encoded = [encode(pattern).partition(b"\0")[0] for pattern in patterns]
        header = b"%b %d\n" % (b"regex" if regex else b"glob", len(encoded))
        request = header + b"\0".join([*encoded, names.encoded])
        if self._turns is None:
            self._turns = asyncio.Semaphore(MAX_WORKERS)
        try:
            await asyncio.wait_for(self._turns.acquire(), QUEUE_SECONDS)
        except asyncio.TimeoutError:
            raise PatternTimeout("Unable to match consoles: too many patterns are being matched") from None
        try:
            reply = await self._ask_worker(request)
        finally:
            self._turns.release()
        if reply[:1] == b"-":
            raise PatternError(decode(reply[1:]))
        return array.array("I", reply[1:])

    async def _ask_worker(self, request: bytes) -> bytes:
        """The worker's whole reply; however this ends, the worker is gone or killed."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        exited: asyncio.Future[int] = loop.create_future()
        pid = 0
        try:
            ours.setblocking(False)
            pid = self._start_worker(theirs, lambda code: None if exited.done() else exited.set_result(code))
            theirs.close()
            return await asyncio.wait_for(_converse(ours, request, exited), MATCH_SECONDS)
        except asyncio.TimeoutError:
            raise PatternTimeout(f"Unable to match consoles: pattern took more than {MATCH_SECONDS:g} s") from None
        except OSError as error:
            raise PatternError(f"Unable to match consoles: {error.strerror}") from error
        finally:
            ours.close()
            theirs.close()
            if pid and (exited.cancelled() or not exited.done()):
                self._reaper.kill(pid, signal.SIGKILL)

    def _start_worker(self, channel: socket.socket, on_exit: Callable[[int], None]) -> int:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return self._reaper.spawn(
                _COMMAND,
                stdin=channel.fileno(),
                stdout=channel.fileno(),
                stderr=null,
                env=_ENVIRONMENT,
                cwd="/",
                on_exit=on_exit,
            )
        finally:
            os.close(null)


async def _converse(channel: socket.socket, request: bytes, exited: asyncio.Future[int]) -> bytes:
    """Send the request, read the reply to its end, see the worker end. Raises ``PatternError`` unless it ended well."""
    loop = asyncio.get_running_loop()
    chunks: List[bytes] = []
    try:
        await loop.sock_sendall(channel, request)
        channel.shutdown(socket.SHUT_WR)
        while True:
            chunk = await loop.sock_recv(channel, _READ_BYTES)
            if not chunk:
                break
            chunks.append(chunk)
    except OSError:
        pass  # it died; its status says more
    code = await exited
    if code != 0 or not chunks:
        raise PatternError(f"Unable to match consoles: pattern ended its evaluation with status {code}")
    return b"".join(chunks)


def _is_literal(pattern: str, regex: bool) -> bool:
    """Whether the pattern means just itself (as a regular expression: in any case)."""
    if regex:
        return _LITERAL_REGEX.fullmatch(pattern) is not None
    return _GLOB_MARKS.search(pattern) is None
