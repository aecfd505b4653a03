"""Very many connections at once from one thread, each with its own bad manners."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Deque, Iterable, Iterator, Set, Tuple

from tests.fakes.files import PATIENCE_SECONDS


@dataclass(frozen=True)
class Conversation:
    """What one connection sends, and how it ends. Between pieces a slow one lets ``patience`` others come first."""

    pieces: Tuple[bytes, ...]
    resets: bool = False
    patience: int = 0


class Swarm:
    """Holds ``Conversation``s with a server, at most ``width`` at a time; slow ones beside them do not count."""

    def __init__(self, port: int, width: int) -> None:
        self._port = port
        self._width = width
        self._selector = selectors.DefaultSelector()
        self._waiting: Deque[Tuple[int, _Connection]] = deque()
        self._active: Set[_Connection] = set()
        self.ended = 0
        self.bytes_received = 0

    def run(self, conversations: Iterable[Conversation]) -> Iterator[int]:
        """Hold them all; yields the number that have ended each time some have."""
        source = iter(conversations)
        exhausted = False
        while not exhausted or self._active or self._waiting:
            while not exhausted and len(self._active) < self._width:
                conversation = next(source, None)
                if conversation is None:
                    exhausted = True
                else:
                    self._advance(_Connection(self._port, conversation))
            while self._waiting and (self._waiting[0][0] <= self.ended or (exhausted and not self._active)):
                self._advance(self._waiting.popleft()[1])
            if self._active:
                ready = self._selector.select(PATIENCE_SECONDS)
                assert ready, f"the server answers none of {len(self._active)} connections"
                for key, _mask in ready:
                    self._read(key.data)
            yield self.ended
        self._selector.close()

    def _advance(self, connection: _Connection) -> None:
        """Send the next piece, or all of them; then wait, for others or for the server's end."""
        try:
            finished = connection.send()
        except (ConnectionResetError, BrokenPipeError, BlockingIOError):
            finished = True  # refused before it had said everything
        if not finished:
            self._active.discard(connection)
            self._waiting.append((self.ended + connection.conversation.patience, connection))
        elif connection.conversation.resets:
            self._end(connection)
        else:
            connection.half_close()
            self._active.add(connection)
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        self.bytes_received += len(data)
        if not data:
            self._selector.unregister(connection.sock)
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        self._active.discard(connection)
        connection.sock.close()
        self.ended += 1


class _Connection:
    def __init__(self, port: int, conversation: Conversation) -> None:
        self.conversation = conversation
        self._left = deque(conversation.pieces)
        self.sock = socket.create_connection(("127.0.0.1", port))
        if conversation.resets:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def send(self) -> bool:
        """Returns whether everything is said."""
        while self._left:
            piece = self._left.popleft()
            if len(piece) > 16384:
                self._send_large(piece)
            elif piece:
                self.sock.send(piece)
            if self.conversation.patience and self._left:
                return False
        return True

    def _send_large(self, piece: bytes) -> None:
        self.sock.settimeout(PATIENCE_SECONDS)
        self.sock.sendall(piece)

    def half_close(self) -> None:
        with contextlib.suppress(OSError):  # the server may have been first
            self.sock.shutdown(socket.SHUT_WR)
