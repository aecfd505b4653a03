"""The end of a connection that we close first, as when a console is taken over.

Closing a socket whose peer has sent what nobody read resets the connection, and a reset destroys our last words on
their way. So sending ends, what still comes is discarded, and the socket is closed when the peer has closed, or after a
while.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Set

LINGER_SECONDS = 2.0
READ_BYTES = 65536


class Farewells:
    """The sockets of sessions that are over, each for a moment."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: Set[_Farewell] = set()

    def say(self, sock: socket.socket) -> None:
        """Take over ``sock``, non-blocking, and close it."""
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        self._waiting.add(_Farewell(sock, self._loop, self._waiting))

    def cut_short(self) -> None:
        """Close them all now."""
        for farewell in list(self._waiting):
            farewell.end()


class _Farewell:
    __slots__ = ("_sock", "_loop", "_others", "_timer")

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, others: Set[_Farewell]) -> None:
        self._sock = sock
        self._loop = loop
        self._others = others
        self._timer = loop.call_later(LINGER_SECONDS, self.end)
        loop.add_reader(sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            if self._sock.recv(READ_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.end()

    def end(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._others.discard(self)
