"""Messages between the front and a worker: Python objects and descriptors over a pair of connected sockets.

The peer is our own child or parent, so objects are pickled. It is not trusted to keep up: nothing here blocks, what
waits to be sent is counted, and the user of a channel decides what to do about it.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import pickle
import socket
import struct
from collections import deque
from typing import Any, Callable, Deque, List, Optional, Tuple

_HEADER = struct.Struct("!IB")  # bytes that follow, descriptors that belong to it (0 or 1)

READ_BYTES = 256 * 1024
MAX_DESCRIPTORS_PER_READ = 32

CROWDED_BYTES = 1024 * 1024
"""Waiting: whoever has something to say that may be lost, says it no more."""

MAX_UNSENT_BYTES = 256 * 1024 * 1024
"""Waiting: the peer is taken for dead. A configuration of 100,000 consoles fits."""

NO_DESCRIPTOR = -1

Received = Callable[[Any, Optional[int]], None]
"""Of a message and its descriptor, which is the receiver's from then on; ``NO_DESCRIPTOR`` if none was free for it."""


class Frames:
    """From a stream of bytes, split anywhere, to messages as they were encoded. The core of a channel; no I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> List[Tuple[bytes, bool]]:
        """The messages that are complete now, each with whether a descriptor belongs to it."""
        self._buffer += data
        complete: List[Tuple[bytes, bool]] = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            size, descriptors = _HEADER.unpack_from(self._buffer, start)
            end = start + _HEADER.size + size
            if len(self._buffer) < end:
                break
            complete.append((bytes(self._buffer[start + _HEADER.size : end]), bool(descriptors)))
            start = end
        if start:  # once for all of them: a buffer that shrinks by each message would be moved as often
            del self._buffer[:start]
        return complete


def frame(payload: bytes, with_descriptor: bool = False) -> bytes:
    return _HEADER.pack(len(payload), with_descriptor) + payload


class _Outgoing:
    """``fd`` goes with the first byte; -1 if there is none. ``is_ours`` when it is a copy, to be closed then."""

    __slots__ = ("data", "fd", "is_ours")

    def __init__(self, data: memoryview, fd: int) -> None:
        self.data = data
        self.fd = fd
        self.is_ours = False

    def keep(self) -> None:
        """Have a descriptor of our own, as the caller's may be closed before it can be sent. Raises ``OSError``."""
        if self.fd >= 0 and not self.is_ours:
            self.fd = os.dup(self.fd)
            self.is_ours = True

    def drop(self) -> None:
        if self.is_ours:
            os.close(self.fd)
        self.fd, self.is_ours = -1, False


class Channel:
    """One end. ``received`` is called for each message, in order; ``ended`` once, when the peer has gone."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        received: Received,
        ended: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._received = received
        self._ended = ended
        self._frames = Frames()
        self._descriptors: Deque[int] = deque()  # came before the end of their message
        self._outgoing: Deque[_Outgoing] = deque()
        self._at_end = False
        self.unsent_bytes = 0

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._on_readable)

    @property
    def is_crowded(self) -> bool:
        """So much waits for the peer that what may be lost should be."""
        return self.unsent_bytes > CROWDED_BYTES

    # Sending.

    def send(self, message: object, fd: int = -1) -> None:
        """Send now what the peer takes, and the rest when it does. ``fd`` stays the caller's.

        A peer that has gone gets nothing, and ``ended`` says so. Raises ``OSError`` if ``fd`` has to wait and cannot.
        """
        self.send_bytes(frame(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), fd >= 0), fd)

    def send_bytes(self, data: bytes, fd: int = -1) -> None:
        if self._sock.fileno() < 0:
            return
        outgoing = _Outgoing(memoryview(data), fd)
        if self._outgoing:
            outgoing.keep()
        self._outgoing.append(outgoing)
        self.unsent_bytes += len(data)
        if len(self._outgoing) == 1:
            self._write()
            if self._outgoing:
                self._keep_last()
        if self.unsent_bytes > MAX_UNSENT_BYTES:
            self._end()

    def _keep_last(self) -> None:
        try:
            self._outgoing[-1].keep()
        except OSError:
            self.unsent_bytes -= len(self._outgoing.pop().data)
            raise

    def _write(self) -> None:
        while self._outgoing:
            first = self._outgoing[0]
            try:
                sent = self._send_some(first)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                # Its last words may still be there to be read; the end of them is the end of it.
                self._drop_outgoing()
                break
            self.unsent_bytes -= sent
            first.data = first.data[sent:]
            if not first.data:
                self._outgoing.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _send_some(self, outgoing: _Outgoing) -> int:
        if outgoing.fd < 0:
            return self._sock.send(outgoing.data)
        sent = socket.send_fds(self._sock, [outgoing.data], [outgoing.fd])
        outgoing.drop()
        return sent

    def _drop_outgoing(self) -> None:
        for outgoing in self._outgoing:
            outgoing.drop()
        self._outgoing.clear()
        self.unsent_bytes = 0

    def flush(self, seconds: float) -> None:
        """Send what waits, blocking for so long at most; for the last words before an exit."""
        if self._sock.fileno() < 0:
            return
        self._sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            while self._outgoing:
                first = self._outgoing[0]
                first.data = first.data[self._send_some(first) :]
                if not first.data:
                    self._outgoing.popleft()

    # Receiving.

    def _on_readable(self) -> None:
        if not self._read():
            self._end()

    def _read(self) -> bool:
        """Returns whether there may be more to come."""
        try:
            data, descriptors = _receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._descriptors.extend(descriptors)
        for payload, has_descriptor in self._frames.receive(data):
            fd = self._descriptors.popleft() if has_descriptor else None
            try:
                self._received(pickle.loads(payload), fd)
            except Exception as error:  # a mistake with one message must not cost those that came with it
                self._loop.call_exception_handler({"message": "a message was not understood", "exception": error})
        return bool(data)

    def read_rest(self) -> None:
        """Receive all that a peer which is dead has left, up to its end."""
        while self._sock.fileno() >= 0 and not self._at_end:
            try:
                self._sock.recv(1, socket.MSG_PEEK)
            except OSError:
                break
            if not self._read():
                break
        self._end()

    def _end(self) -> None:
        if not self._at_end:
            self._at_end = True
            self.close()
            self._ended()

    def close(self) -> None:
        """Idempotent; ``ended`` is not called any more."""
        self._at_end = True
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
        self._drop_outgoing()
        for fd in self._descriptors:
            if fd != NO_DESCRIPTOR:
                os.close(fd)
        self._descriptors.clear()


def _receive(sock: socket.socket) -> Tuple[bytes, array.array[int]]:
    """Bytes and descriptors; socket.recv_fds() would do, but passes over its flags (Python 3.9 to 3.13)."""
    descriptors = array.array("i")
    room = socket.CMSG_LEN(MAX_DESCRIPTORS_PER_READ * descriptors.itemsize)
    data, ancillary, flags, _address = sock.recvmsg(READ_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if flags & socket.MSG_CTRUNC:  # there was one, and no number free for it; each message has one at most
        descriptors.append(NO_DESCRIPTOR)
    return data, descriptors
