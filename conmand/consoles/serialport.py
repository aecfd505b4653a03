"""Serial consoles (``dev="/dev/ttyS0"``). The port is pyserial's; what its line settings are is ConMan's rule.

pyserial would set every line flag. ConMan changes only what a console needs and leaves the rest (flow control set with
stty(1), ``IGNBRK``, ...) as found, and sites rely on that; so the flags are read before pyserial opens the port, and
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

    __slots__ = ("_port", "_found", "_complaint")

    retries = (1, 60, 60, 1)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._port: Optional[serial.Serial] = None
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
            self._port = self._open_port()
        except _NotUsable as problem:
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                self.sink.report(LogLevel.WARNING, self._complaint)
            self._went_down(was_up=False)
            return
        self._complaint = None
        self._attach(self._port.fileno())
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}")

    def _open_port(self) -> serial.Serial:
        path, options = self._device.path, self._device.options
        try:
            # Kept open until pyserial has the port too: a last close would drop DTR and hang up the node's console.
            first = os.open(encode(path), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _NotUsable(f'Unable to open [{self.name}] device "{path}": {error.strerror}') from error
        port = None
        try:
            if not os.isatty(first):
                raise _NotUsable(f'[{self.name}] device "{path}" not a terminal')
            self._lock(first)  # before anything is changed: the port may be another program's
            found = termios.tcgetattr(first)
            port = _pyserial_port(path, options, found)
        except (OSError, termios.error, ValueError) as error:
            raise _NotUsable(f'Unable to open [{self.name}] device "{path}": {_cause(error)}') from error
        finally:
            os.close(first)
        try:
            # Again after the close above: POSIX locks of a file end when the process closes any descriptor of it.
            self._lock(port.fileno())
            termios.tcsetattr(port.fileno(), termios.TCSAFLUSH, line_settings(found, options))
        except termios.error as error:
            port.close()
            raise _NotUsable(f'Unable to open [{self.name}] device "{path}": {_cause(error)}') from error
        except _NotUsable:
            port.close()
            raise
        self._found = found
        return port

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
        port, self._port = self._port, None
        assert port is not None
        try:
            if self._found is not None:
                termios.tcsetattr(fd, termios.TCSANOW, self._found)
                termios.tcflush(fd, termios.TCIOFLUSH)
        except termios.error:
            pass  # the port is gone, and its settings with it
        port.close()

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
        if self._port is not None:
            try:
                self._lock(self._port.fileno())
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
