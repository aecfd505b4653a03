"""Serial-over-LAN sessions for the event loop: libipmiconsole's threads, with few sessions being opened at a time.

The engine exists once, in the process that owns the consoles, and only where a configuration has ``ipmi:`` consoles.
Where it cannot, there still is one, which gives the reason to whoever wants a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import threading
from functools import partial
from typing import Optional, Set, Tuple

from conmand.config.model import IpmiOptions
from conmand.consoles.base import Resolver
from conmand.consoles.libipmiconsole import Context, Library, LibraryError, Status
from conmand.consoles.turns import Turn, Turns
from conmand.timeouts import within

CONNECT_SECONDS = 300.0
"""The library gives up after a minute by itself; this is for the day it does not. Source: ConMan 0.3.1."""

MAX_OPENING = 64
TURN_SECONDS = 0.5
"""So many sessions may be in their opening exchange (about 20 packets) together, but one that takes longer than this
stands in nobody's way: with half of the BMCs dead, the others come up all the same. The library repeats a packet after
half a second, which some BMCs answer with an error that costs the session a minute: if all began at once, those that
are slow because of all the others would be such. 64 keep two cores busy with the simulated BMCs."""

QUICK_SECONDS = 0.25
MAX_OPENING_QUICKLY = 256
"""An opening as quick as that makes room for one more beside it, up to so many; one that outlasts its turn takes such
room away again. So the number grows until openings begin to slow each other down."""

STOP_SECONDS = 5.0
"""For the BMCs to confirm the end of their sessions; a session not closed ends at the BMC after a minute or so."""

PORT = 623

PROTOCOL_MILLISECONDS: dict[str, int] = {}
"""Fields of ``ipmiconsole_protocol_config`` to set; empty leaves all to libipmiconsole.conf(5). Tests cannot wait."""


class ConnectFailed(Exception):
    """There is no session; the text says why, in the library's words where it is the library that says so."""


class EngineUnavailable(ConnectFailed):
    """There will be no session, ever: the library is missing or its engine does not start."""


class NoContext(ConnectFailed):
    """The library has no room for another session: memory or descriptors."""


class SolSession:
    """An open session. ``fd`` is non-blocking, and is closed by ``close``."""

    __slots__ = ("fd", "_context")

    def __init__(self, context: Context, fd: int) -> None:
        self.fd = fd
        self._context = context

    def send_break(self) -> bool:
        """Whether the session took it."""
        return self._context.generate_break()

    def close(self) -> Optional[str]:
        """End the session, in order if it is still open. Returns what had ended it before, ``None`` if nothing had."""
        reason = self._context.error_text()
        os.close(self.fd)
        self._context.destroy()
        return None if reason == "success" else reason


class SolEngine:
    """Opens sessions, with a library whose engine runs; see ``libipmiconsole.start``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: Resolver,
        library: Optional[Library],
        *,
        problem: str = "",
        part: float = 1.0,
    ) -> None:
        """``part`` of what all processes of a daemon may do together is ours."""
        self._loop = loop
        self._resolver = resolver
        self._library = library
        self._turns = Turns(
            loop,
            max(math.ceil(MAX_OPENING * part), 1),
            TURN_SECONDS,
            most=math.ceil(MAX_OPENING_QUICKLY * part),
            quick_seconds=QUICK_SECONDS,
        )
        self._connecting: Set[asyncio.Task[object]] = set()
        self._is_awake = False
        self.problem = problem
        """Why there are no sessions; empty if there are."""

    def turn(self) -> Turn:
        """For ``connect``, which is all that may be done with it but to hurry it."""
        return self._turns.ask()

    async def connect(self, host: str, options: IpmiOptions, turn: Optional[Turn] = None) -> SolSession:
        """A session with the BMC ``host``: a name or address, with ``:PORT`` if that is not 623, IPv6 in brackets then.

        Raises ``ConnectFailed``. A session that somebody else has open is taken over: that is what libipmiconsole does.
        """
        task = asyncio.current_task()
        assert task is not None, "called from a coroutine"
        if turn is None:
            turn = self.turn()
        try:
            if self._library is None:
                raise EngineUnavailable(self.problem)
            self._connecting.add(task)
            await turn.come
            address = await self._numeric_address(host)
            return await self._open(self._library, address, options)
        finally:
            turn.end()
            self._connecting.discard(task)

    async def _numeric_address(self, host: str) -> str:
        """Looked up here: the library would do so in our thread, and closes descriptor 0 if the name is unknown."""
        name, port = split_host(host)
        if is_numeric(name):
            return join_host(name, port)
        try:
            _family, found = (await self._resolver.resolve(name, port))[0]
        except (OSError, IndexError):
            raise ConnectFailed("hostname invalid") from None  # the library's words
        # Not found[0]: that lacks the interface of a link-local address.
        address, _port = socket.getnameinfo(found, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)  # type: ignore[arg-type]
        return join_host(address, port)

    async def _open(self, library: Library, address: str, options: IpmiOptions) -> SolSession:
        settled = self._loop.create_future()
        try:
            context = library.context(address, options, PROTOCOL_MILLISECONDS)
        except LibraryError as error:
            raise NoContext(str(error)) from None
        try:
            context.submit(partial(self._tell_settled, settled))
            fd = context.fd()
        except LibraryError as error:
            context.destroy()
            raise ConnectFailed(str(error)) from None
        if not self._is_awake:
            # After all that begin at this same turn of the loop, which is work for every thread.
            self._is_awake = True
            self._loop.call_soon(self._wake, library)
        session = SolSession(context, fd)
        try:
            os.set_blocking(fd, False)
            await within(settled, CONNECT_SECONDS)
        except asyncio.TimeoutError:
            session.close()
            raise ConnectFailed(f"libipmiconsole gave no answer for {CONNECT_SECONDS:g} s") from None
        except BaseException:
            session.close()
            raise
        if context.status() is not Status.ESTABLISHED:
            raise ConnectFailed(session.close() or "")
        return session

    def _wake(self, library: Library) -> None:
        if len(self._connecting) > 1:  # for a single one a quarter of a second is no reason to send signals
            library.wake_engine()

    def _tell_settled(self, settled: asyncio.Future[None]) -> None:
        """Runs in a thread of the engine, which may outlive the loop by a moment."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_set, settled)

    async def stop(self) -> bool:
        """Give up the sessions that are being opened, and wait until the BMCs have confirmed the end of the others.

        Returns whether they have, within ``STOP_SECONDS``.
        """
        library, self._library = self._library, None
        if library is None:
            return True
        self.problem = "the daemon is stopping"
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        stopped = self._loop.create_future()

        def stop() -> None:
            library.stop_engine()
            self._tell_settled(stopped)

        # Not a thread of a pool: the interpreter would wait for it at its end.
        threading.Thread(target=stop, name="end of IPMI sessions", daemon=True).start()
        try:
            await within(stopped, STOP_SECONDS)
        except asyncio.TimeoutError:
            return False
        return True


def split_host(text: str) -> Tuple[str, int]:
    """``HOST``, ``HOST:PORT``, ``[ADDRESS]``, ``[ADDRESS]:PORT`` or an IPv6 address, as host and port.

    What is none of them is all host, and then unknown to the resolver.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and not rest:
            return host, PORT
        port = _port(rest[1:])
        if rest.startswith(":") and port is not None:
            return host, port
    elif text.count(":") == 1:
        host, _colon, digits = text.partition(":")
        port = _port(digits)
        if host and port is not None:
            return host, port
    return text, PORT


def _port(digits: str) -> Optional[int]:
    return int(digits) if digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536 else None


def join_host(address: str, port: int) -> str:
    """A numeric address as libipmiconsole takes it: brackets around an IPv6 one if a port follows, and only then."""
    if port == PORT:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_numeric(host: str) -> bool:
    """Whether ``host`` is an address as it is written; then there is nothing to look up."""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
