"""What the daemon makes of its own process: detached, with a clean environment, limits and descriptors.

Everything here happens before any thread or event loop exists.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from typing import NoReturn, Optional

from conmand.errors import FatalError, reason

CLEAN_ENVIRONMENT = {"IFS": " \t\n", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "dumb"}
KEPT_VARIABLES = ("DEBUG", "TZ")

BACKGROUND_UMASK = 0o022

NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""The variable by which a service manager says that it wants to be notified: sd_notify(3)."""

_READY = b"\0"


class Starter:
    """Tells the process that waits in the shell, if there is one, that the daemon is ready or has failed."""

    def __init__(self, pipe: Optional[int] = None) -> None:
        self._pipe = pipe

    def ready(self) -> None:
        """The start has succeeded; the shell gets its prompt back, with status 0."""
        self._tell(_READY)

    def failed(self, message: str) -> None:
        """The start has failed after standard error was given up; the shell gets the message, and status 1."""
        self._tell(message.encode("utf-8", "surrogateescape"))

    def _tell(self, data: bytes) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # whoever waited has been interrupted
                os.write(self._pipe, data)
            os.close(self._pipe)
            self._pipe = None


def detach() -> Starter:
    """Fork twice. Returns in the daemon; the calling process waits for the daemon's word and exits with it.

    Under a service manager that wants to be notified there is no terminal to leave, and the manager watches the very
    process that it started: that process stays, and is the daemon.
    """
    if NOTIFY_SOCKET in os.environ:
        os.umask(BACKGROUND_UMASK)
        return Starter()
    reading, writing = os.pipe()
    if os.fork() > 0:
        os.close(writing)
        _wait_for_word(reading)
    os.close(reading)
    os.setsid()
    # The session leader's death would hang us up before the daemon's own handlers are in place.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() > 0:
        os._exit(0)
    os.umask(BACKGROUND_UMASK)
    return Starter(writing)


def _wait_for_word(pipe: int) -> NoReturn:
    word = b""
    while True:
        chunk = os.read(pipe, 4096)
        if not chunk:
            break
        word += chunk
    if word == _READY:
        os._exit(0)
    if word:
        os.write(2, word + b"\n")
    os._exit(1)


_HELD_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


def hold_signals() -> None:
    """Let signals wait until the running daemon can act on them: once there is a pid file, it may be sent one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS)


def release_signals() -> None:
    """Before the first child or thread is started, which would inherit the mask."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_SIGNALS)


def clean_environment() -> None:
    """Leave exactly what the original leaves its children: no ``HOME``, no ``LANG``, nothing of the user's shell."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update({**CLEAN_ENVIRONMENT, **kept})


def set_core_limit(enabled: bool) -> None:
    """``server coredump``: unlimited or none."""
    wanted = resource.RLIM_INFINITY if enabled else 0
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (wanted, wanted))
    except (ValueError, OSError):
        # An ordinary user cannot raise the hard limit; as much as it allows then.
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard if enabled else 0, hard))


def set_file_limit(nofile: int) -> Optional[int]:
    """``server nofile``: returns the new soft limit, ``None`` if nothing was asked for. Raises ``FatalError``."""
    if nofile == 0:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if nofile < 0 else nofile
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted) if nofile > 0 else hard))
    except OSError as error:
        raise FatalError(f"Unable to set open file limit to {nofile}: {reason(error)}") from error
    except ValueError as error:
        raise FatalError(f"Unable to set open file limit to {nofile}: {os.strerror(1)}") from error
    return wanted


def open_standard_files() -> None:
    """``/dev/null`` where descriptors 0 to 2 are closed: the next file opened would get such a number, and be lost when
    messages are written to it or ``redirect_standard_files`` replaces it."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def redirect_standard_files() -> None:
    """Descriptors 0 to 2 on ``/dev/null``."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


class ServiceManager:
    """sd_notify(3), when the service manager asks for it. Made before the environment is cleaned of its variables."""

    def __init__(self) -> None:
        self._address = os.environ.get(NOTIFY_SOCKET)
        self.watchdog_seconds = _watchdog_seconds()
        """How often the watchdog is fed: half the time after which the manager ends us. ``None``: there is none."""

    def reloading(self) -> None:
        """A reload begins; the manager waits for ``reloaded``, also if the reload is refused."""
        self.notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self, status: str) -> None:
        """The reload has ended; ``status`` is a line for people, shown by ``systemctl status``."""
        self.notify(f"READY=1\nSTATUS={status}")

    async def feed_watchdog(self) -> None:
        """Say again and again that the event loop turns; returns at once if nobody wants to know."""
        import asyncio  # slow to load, and not needed before there is a loop

        while self.watchdog_seconds is not None:
            self.notify("WATCHDOG=1", patience_seconds=0)  # the next one follows; the loop does not wait for this one
            await asyncio.sleep(self.watchdog_seconds)

    def notify(self, state: str, *, patience_seconds: float = 1.0) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(patience_seconds)
                sock.connect(address)
                sock.sendall(state.encode())
        except OSError:
            pass  # nobody listens; the daemon runs all the same


def _watchdog_seconds() -> Optional[float]:
    """sd_watchdog_enabled(3): the variables may have been meant for another process, whose environment we inherited."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not microseconds.isascii() or not microseconds.isdigit() or pid not in (None, str(os.getpid())):
        return None
    return int(microseconds) / 1e6 / 2 or None
