"""Serial consoles (``dev="/dev/ttyS0"``). The port is pyserial's; what its line settings are is ConMan's rule.

pyserial would set every line flag. ConMan changes only what a console needs and leaves the rest (flow control set with
stty(1), ``IGNBRK``, ...) as found, and sites rely on that; so the flags are read before pyserial sets up the port, and
ConMan's are put in place after.
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from typing import Any, List, Optional

import serial

from conman.text import encode
from conmand.config.model import ConsoleSettings, LogLevel, SerialDevice, SerialOptions
from conmand.consoles.base import DescriptorConsole, Services, Sink, State

Attributes = List[Any]  # what termios.tcgetattr gives

_DATABITS = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}


AT_ONCE_AFTER_SECONDS = 1.0
"""A port that was up for this long before it hung up is opened again without waiting."""


class SerialConsole(DescriptorConsole):
    """A port that hangs up or cannot be opened is retried after 1 s, doubling to 60 s (the original: never, D5)."""

    __slots__ = ("_found", "_complaint")

    retries = (1, 60, 60, 1)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._found: Optional[Attributes] = None
        self._complaint: Optional[str] = None

    @property
    def _device(self) -> SerialDevice:
        device = self.settings.device
        assert isinstance(device, SerialDevice)
        return device

    @property
    def label(self) -> str:
        return f'"{self._device.path}"'

    def _open(self) -> None:
        try:
            fd = self._open_port()
        except _NotUsable as problem:
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                self.sink.report(LogLevel.WARNING, self._complaint)
            self._went_down(was_up=False)
            return
        self._complaint = None
        self._attach(fd)
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}")

    def _open_port(self) -> int:
        """The port's descriptor, locked and set up."""
        path = self._device.path
        try:
            fd = os.open(encode(path), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _NotUsable(f'Unable to open [{self.name}] device "{path}": {error.strerror}') from error
        try:
            if not os.isatty(fd):
                raise _NotUsable(f'[{self.name}] device "{path}" not a terminal')
            self._set_up(fd)
        except (OSError, termios.error, ValueError) as error:
            os.close(fd)
            raise _NotUsable(f'Unable to open [{self.name}] device "{path}": {_cause(error)}') from error
        except _NotUsable:
            os.close(fd)
            raise
        return fd

    def _set_up(self, fd: int) -> None:
        options = self._device.options
        self._lock(fd)  # before anything is changed: the port may be another program's
        found = termios.tcgetattr(fd)
        # pyserial's own descriptor is closed again: with the four that it opens beside it, a site's ports would not fit
        # into the usual limit. Ours stays open throughout: a last close would drop DTR and hang up the node's console.
        _pyserial_port(self._device.path, options, found).close()
        self._lock(fd)  # again: POSIX locks of a file end when the process closes any descriptor of it
        termios.tcsetattr(fd, termios.TCSAFLUSH, line_settings(found, options))
        self._found = found

    def _lock(self, fd: int) -> None:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _NotUsable(f'Unable to lock [{self.name}] device "{self._device.path}"') from error

    def _is_end_of_file(self, error: OSError) -> bool:
        return error.errno == errno.EIO  # how a hung-up terminal reads

    def _lost(self) -> None:
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label}")
        # As the original: one attempt at once, the device may be back already; then by the timer. Not so for a port
        # that opens and at once reads its end, again and again.
        if self._went_down(was_up=True) >= AT_ONCE_AFTER_SECONDS:
            self.retry_now()

    def _close(self, fd: int) -> None:
        try:
            if self._found is not None:
                termios.tcsetattr(fd, termios.TCSANOW, self._found)
                termios.tcflush(fd, termios.TCIOFLUSH)
        except termios.error:
            pass  # the port is gone, and its settings with it
        os.close(fd)

    def send_break(self) -> None:
        """Send a break of 0.25 to 0.5 s; in a thread, since the kernel waits for the output to drain before."""
        if self.state is State.UP:
            # The duplicate keeps the terminal open even if the console is closed meanwhile.
            self.services.loop.run_in_executor(None, self._break, os.dup(self._fd))

    def _break(self, fd: int) -> None:
        try:
            termios.tcsendbreak(fd, 0)
        except termios.error as error:
            self.services.loop.call_soon_threadsafe(
                self.sink.report,
                LogLevel.WARNING,
                f"Unable to send serial-break to console [{self.name}]: {_cause(error)}",
            )
        finally:
            os.close(fd)
            self.services.loop.call_soon_threadsafe(self._lock_again)

    def _lock_again(self) -> None:
        """Closing the break's descriptor has ended our lock: POSIX locks end with any descriptor of the file."""
        if self._fd >= 0:
            try:
                self._lock(self._fd)
            except _NotUsable as problem:
                self.sink.report(LogLevel.WARNING, str(problem))


class _NotUsable(Exception):
    """The port cannot be a console now; its text is what the daemon's log says."""


def _cause(error: BaseException) -> str:
    number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    return os.strerror(number) if isinstance(number, int) else str(error)


def _pyserial_port(path: str, options: SerialOptions, found: Attributes) -> serial.Serial:
    port = serial.Serial(
        baudrate=options.bps,
        bytesize=options.databits,
        parity=options.parity.upper(),
        stopbits=options.stopbits,
        timeout=0,
        rtscts=bool(found[2] & termios.CRTSCTS),
        xonxoff=bool(found[0] & termios.IXOFF),
    )
    port.port = path
    port.open()
    return port


def line_settings(found: Attributes, options: SerialOptions) -> Attributes:
    """ConMan's line settings over those found. Source: conmand(8), "Serial"; everything it does not name stays."""
    iflag, oflag, cflag, lflag, _ispeed, _ospeed, cc = found
    iflag &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB) | termios.CLOCAL
    cflag |= _DATABITS[options.databits]
    if options.parity in "eo":
        cflag |= termios.PARENB
    if options.parity == "o":
        cflag |= termios.PARODD
    if options.stopbits == 2:
        cflag |= termios.CSTOPB
    lflag &= ~(termios.ECHO | termios.ECHOCTL | termios.ICANON | termios.IEXTEN | termios.ISIG)
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    speed = getattr(termios, f"B{options.bps}")
    return [iflag, oflag, cflag, lflag, speed, speed, cc]
