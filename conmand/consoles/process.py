"""Process consoles (``dev="PROGRAM ARGUMENTS"``): a program whose input and output is the console.

The program gets one end of a socket pair as descriptors 0, 1 and 2, as under the original, but a blocking one, so that
ordinary filters work (errata D1); with the prefix ``pty:`` it gets a pseudo-terminal that is its controlling terminal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import termios
from typing import List, Optional, Tuple

from conman.text import encode
from conmand.config.model import LogLevel, ProcessDevice
from conmand.consoles.base import DescriptorConsole
from conmand.proto.delta import format_delta

BREAK = b"&B"
"""What a program is sent for a serial break, whatever the client's escape character: it is what device scripts read."""

# The shell is the session's leader and opens the terminal, which so becomes its controlling terminal; then it becomes
# the program, under the same pid. Doing this in Python would need code between fork and exec, which threads forbid.
_ON_TERMINAL = ["/bin/sh", "-c", 'exec "$@" <>"$0" >&0 2>&1']


class ProcessConsole(DescriptorConsole):
    """Restarts after 60 s, doubling to 1800 s, at once after 60 s of life. Source: ConMan 0.3.1."""

    __slots__ = ("_pid",)

    retries = (60, 1800, 60, 0)

    @property
    def _device(self) -> ProcessDevice:
        device = self.settings.device
        assert isinstance(device, ProcessDevice)
        return device

    @property
    def label(self) -> str:
        return f'"{os.path.basename(self._device.argv[0])}"'

    def _open(self) -> None:
        problem = _why_not_executable(self._device.argv[0])
        if problem is not None:
            self._fail(problem)
            return
        try:
            fd = self._spawn_on_terminal() if self._device.pty else self._spawn_on_socket()
        except _NotConnected as problem:
            self._fail(str(problem))
            return
        except OSError as error:
            self._fail(f"{self.label} exec error: {error.strerror}")
            return
        self._attach(fd)
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label} (pid {self._pid})")

    def _fail(self, reason: str) -> None:
        self.sink.announce(LogLevel.WARNING, f"Console [{self.name}] connection failed: {reason}")
        self._went_down(was_up=False)

    def _spawn_on_socket(self) -> int:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _NotConnected(f"socketpair error: {error.strerror}") from error
        try:
            self._spawn(list(self._device.argv), theirs.fileno())
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours.detach()

    def _spawn_on_terminal(self) -> int:
        ours, theirs = os.openpty()
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            self._spawn([*_ON_TERMINAL, os.ttyname(theirs), *self._device.argv], theirs)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        return ours

    def _spawn(self, argv: List[str], fd: int) -> None:
        self._pid = self.services.children.spawn(argv, stdin=fd, stdout=fd, stderr=fd)

    def programs(self) -> Tuple[int, ...]:
        return (self._pid,) if self._fd >= 0 else ()

    def _is_end_of_file(self, error: OSError) -> bool:
        # The master of a pseudo-terminal reads EIO once nobody has its slave open.
        return self._device.pty and error.errno == errno.EIO

    def _lost(self) -> None:
        # What the program started goes with it (errata D3).
        self.services.children.kill(self._pid, signal.SIGKILL)
        lasted = format_delta(self.services.loop.time() - self.up_since)
        self.sink.announce(
            LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label} (pid {self._pid}) after {lasted}"
        )
        self._went_down(was_up=True)

    def send_break(self) -> None:
        self.send(BREAK)


class _NotConnected(Exception):
    """There is nothing to connect the program to; its text says why."""


def _why_not_executable(path: str) -> Optional[str]:
    name = os.path.basename(path)
    try:
        mode = os.stat(encode(path)).st_mode
    except OSError as error:
        return f'"{name}" stat error: {error.strerror}'
    if not stat.S_ISREG(mode):
        return f'"{name}" not a regular file'
    if not os.access(encode(path), os.X_OK):
        return f'"{name}" not executable'
    return None
