"""An interactive session: the user's terminal on one side, the daemon on the other, until one of them ends it.

What keys mean is ``conman.keys``'s, and the terminal's settings ``conman.terminal``'s; this is the I/O between. Both
directions go through small buffers and neither waits for the other: a paste that the daemon does not take yet is not
read further, a flood that the terminal does not show yet is not received further, and keys are seen in between.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import termios
from types import FrameType
from typing import Dict, List, Optional, Union

from conman.connection import Connection
from conman.errors import ConmanError
from conman.keys import Action, Echo, Keyboard, KeyEvent, Send, Show
from conman.session_log import SessionLog
from conman.terminal import Terminal

READ_BYTES = 65536
SCREEN_BYTES = 4096
"""A write to the terminal, which blocks if it shows less: keys are looked at between two."""

MAX_UNSENT_BYTES = 65536
"""What may wait for the daemon; beyond it the keyboard is not read, and its own buffer fills up."""

FLUSH_SECONDS = 2.0
"""For the daemon to take the last keys. One that holds them back (a slow device) must not keep the user."""

LINGER_SECONDS = 5.0
"""For the daemon to say more, or to close, after the user has closed; one that has died must not keep the user."""

STDIN, STDOUT = 0, 1

_CLOSED_ALREADY = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE)
_SUSPEND = b"\xffZ"
_IGNORED = (signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT)
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """We are asked to end; the text says by whom. No ``Exception``: nothing may take it for a failure and carry on."""


class Session:
    """Takes over the connection. ``run`` returns at a normal end and raises ``ConmanError`` at any other."""

    def __init__(self, connection: Connection, keyboard: Keyboard, log: SessionLog) -> None:
        self._sock = connection.sock
        self._server = connection.endpoint.label
        self._rest = connection.rest
        self._keyboard = keyboard
        self._log = log
        self._terminal = Terminal(STDIN)
        self._signals = _Signals(self._terminal)
        self._to_server = bytearray()
        self._to_screen = memoryview(b"")
        self._closed_by_user = False
        self._keys_end = False  # the keyboard has hung up, or the daemon takes nothing more

    def run(self) -> None:
        self._sock.setblocking(False)
        signals = self._signals
        try:
            with self._terminal:
                try:
                    try:
                        signals.take()
                        self._converse()
                    finally:
                        signals.ignore()
                    if not self._closed_by_user:
                        self._show(self._keyboard.status("terminated by server"))
                except Terminated as end:
                    self._show_if_possible(self._keyboard.status(f"terminated by {end}"))
                    self._terminal.restore(at_once=True)
        finally:
            signals.give_back()
            self._sock.close()

    def _converse(self) -> None:
        self._terminal.make_raw()
        self._show(self._keyboard.status("opened"))
        self._receive(self._rest)
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Wait for something and do it; false at the end."""
        reading: List[Union[int, socket.socket]] = [self._signals.wakeup]
        writing: List[Union[int, socket.socket]] = []
        if not self._to_screen:
            reading.append(self._sock)
        if not self._keys_end and len(self._to_server) < MAX_UNSENT_BYTES:
            reading.append(STDIN)
        if self._to_server:
            writing.append(self._sock)
        if self._to_screen:
            writing.append(STDOUT)
        patience = LINGER_SECONDS if self._closed_by_user else None
        readable, writable, _ = select.select(reading, writing, [], patience)
        if not readable and not writable:
            return False
        if self._signals.wakeup in readable:
            self._signals.woken()
        if STDIN in readable:
            self._read_keys()
        if self._to_server and (self._sock in writable or STDIN in readable):
            self._send()
        if STDOUT in writable:
            self._write_screen()
        return self._sock not in readable or self._read_server()

    # From the daemon to the screen.

    def _read_server(self) -> bool:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError as error:
            if self._closed_by_user:
                return False  # what we sent last was not wanted any more
            raise ConmanError(f"Unable to read from <{self._server}>: {error.strerror}") from error
        self._receive(data)
        return bool(data)

    def _receive(self, data: bytes) -> None:
        self._log.write(data)
        self._to_screen = memoryview(data)
        if len(data) <= SCREEN_BYTES:
            self._flush_screen()

    def _write_screen(self) -> None:
        try:
            written = os.write(STDOUT, self._to_screen[:SCREEN_BYTES])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._to_screen = memoryview(b"")
            raise ConmanError(f"Unable to write to stdout: {error.strerror}") from error
        self._to_screen = self._to_screen[written:]

    def _flush_screen(self) -> None:
        while self._to_screen:
            self._write_screen()
            if self._to_screen:
                select.select([], [STDOUT], [], 1.0)  # somebody has made the terminal non-blocking

    def _show(self, text: bytes) -> None:
        """Our own words, after all that came before them."""
        self._flush_screen()
        self._to_screen = memoryview(text)
        self._flush_screen()

    def _show_if_possible(self, text: bytes) -> None:
        """Our last words, on a terminal that may have gone away or be stuck."""
        self._to_screen = memoryview(b"")
        with contextlib.suppress(OSError):
            if select.select([], [STDOUT], [], 0)[1]:
                os.write(STDOUT, text)

    # From the keys to the daemon.

    def _read_keys(self) -> None:
        try:
            data = os.read(STDIN, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise ConmanError(f"Unable to read from stdin: {error.strerror}") from error
        if not data:
            raise Terminated("server")  # so the original words the end of its input
        for event in self._keyboard.receive(data):
            self._perform(event)

    def _perform(self, event: KeyEvent) -> None:
        if isinstance(event, Send):
            self._to_server += event.data
        elif isinstance(event, Show):
            self._show(event.data)
        elif isinstance(event, Echo):
            self._terminal.set_echo(event.on)
        elif event is Action.SUSPEND:
            self._suspend()
        else:
            self._close()

    def _send(self) -> None:
        try:
            sent = self._sock.send(self._to_server)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # Why will be known when reading comes to the end: what the daemon said last is still to be shown.
            self._to_server.clear()
            self._keys_end = True
            return
        del self._to_server[:sent]

    def _send_all(self) -> None:
        """Before we stop: wait until the daemon has taken everything, but not for ever."""
        while self._to_server and select.select([], [self._sock], [], FLUSH_SECONDS)[1]:
            self._send()

    def _close(self) -> None:
        self._show(self._keyboard.status("closed"))
        self._send_all()
        self._closed_by_user = self._keys_end = True
        try:
            self._sock.shutdown(1)
        except OSError as error:
            if error.errno not in _CLOSED_ALREADY:
                raise ConmanError(f"Unable to shutdown connection to <{self._server}>: {error.strerror}") from error

    def _suspend(self) -> None:
        self._to_server += _SUSPEND
        self._send_all()
        self._show(self._keyboard.status("suspended"))
        self._terminal.restore()
        try:
            os.kill(os.getpid(), signal.SIGTSTP)
        except OSError as error:
            raise ConmanError(f"Unable to suspend client (pid {os.getpid()}): {error.strerror}") from error
        # Here the user has been in the shell.
        self._terminal.make_raw(echo=self._keyboard.echo)
        self._show(self._keyboard.status("resumed"))
        self._to_server += _SUSPEND


class _Signals:
    """Ours during a session, and as before afterwards. A signal that was ignored, as by nohup(1), stays so.

    One that comes just before select(2) blocks would not be acted on until something else happens: so each also makes
    ``wakeup`` readable.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._before: Dict[int, object] = {}
        self.wakeup, self._waker = socket.socketpair()
        self.wakeup.setblocking(False)
        self._waker.setblocking(False)

    def woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.wakeup.recv(4096)

    def take(self) -> None:
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _IGNORED:
            self._set(number, signal.SIG_IGN)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._set(number, self._ended)
        self._set(signal.SIGCONT, self._continued)

    def ignore(self) -> None:
        """We are on the way out: once is enough."""
        for number in _ENDING:
            if number in self._before:
                signal.signal(number, signal.SIG_IGN)

    def give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(-1)
        self.wakeup.close()
        self._waker.close()

    def _set(self, number: int, handler: object) -> None:
        self._before[number] = signal.signal(number, handler)  # type: ignore[arg-type]

    def _ended(self, _number: int, _frame: Optional[FrameType]) -> None:
        raise Terminated("signal")

    def _continued(self, _number: int, _frame: Optional[FrameType]) -> None:
        with contextlib.suppress(termios.error):
            self._terminal.refresh()
