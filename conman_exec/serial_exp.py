"""``serial_exp.py DEVICE [SPEED [FRAMING [FLOW [USER [PSWD]]]]]``: a serial port, here or across the network.

DEVICE is whatever pyserial opens: ``/dev/ttyS0``, ``rfc2217://host:port``, ``socket://host:port``. It has no original.
With a user, or ``login = yes`` in the settings, it logs in to what is on the line.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import sys
import termios
import threading
from typing import Any

from conman.text import encode
from conman_exec import relay, tools
from conman_exec.arguments import Arguments
from conman_exec.dialogue import Dialogue, Open, Opened, Rules
from conman_exec.program import Login, run
from conman_exec.sessions import KINDS

ARGUMENTS = Arguments(
    ("host", "speed", "framing", "flow", "user", "pswd"),
    login_optional=True,
    settings=("speed", "framing", "flow"),
    text="<device> [<speed> [<framing> [<flow> [<user> [<pswd>]]]]]",
)

# How often a port without a descriptor looks whether its session is over.
POLL_SECONDS = 0.5

# How often a break looks whether the keys before it have gone.
DRAIN_SECONDS = 0.005


class SerialDialogue(Dialogue):
    """Without a login the session is open at once. With one, a CR asks what is on the line for its prompt."""

    tool = "serial"
    rules = Rules(
        (rb"(?i)login incorrect|authentication failure|permission denied|access denied", "deny"),
        (rb"(?i)(?:login|username): *\Z", "give_user"),
        (rb"(?i)password: *\Z", "give_password"),
        (rb"[#$%>] \Z", "prompted"),
    )

    def start(self) -> None:
        self.password_given = False
        self.do(Open(self.target.host))
        if self.target.user is None:
            self.open("Line")
        else:
            self.keep()
            self.say(b"\r")

    def give_user(self, match: re.Match[bytes]) -> None:
        self.say(encode(self.target.user or "") + b"\r")

    def give_password(self, match: re.Match[bytes]) -> None:
        self.password_given = True
        self.keep()
        self.tell(self.target.password)

    def prompted(self, match: re.Match[bytes]) -> None:
        self._kept += match[0]
        self.open("Line")

    def at_timeout(self) -> None:
        if self.password_given:  # silent after it: who is there has no prompt that we know
            self.open("Line")
        else:
            super().at_timeout()


class SerialLogin(Login):
    """A port with a descriptor goes to the relay like a tool; any other stays here, behind a socket and two threads."""

    port: Any = None
    bridge: Bridge

    def _open(self, event: Open) -> None:
        import serial

        settings = self.dialogue.settings
        framing = settings.framing
        try:
            self.port = serial.serial_for_url(
                event.url,
                do_not_open=True,
                baudrate=settings.speed,
                bytesize=int(framing[0]),
                parity=framing[1],
                stopbits=float(framing[2:]) if framing[2:] == "1.5" else int(framing[2:]),
                xonxoff=settings.flow == "xonxoff",
                rtscts=settings.flow == "rtscts",
                dsrdtr=settings.flow == "dsrdtr",
                timeout=POLL_SECONDS,
            )
            if "://" not in event.url:
                self.port.exclusive = True
            self.port.open()
        except (serial.SerialException, ValueError, OSError) as error:
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error)
            raise tools.ToolError(f"cannot open {event.url}: {reason}") from error
        if isinstance(self.port, serial.Serial):
            self.tool = tools.Tool(self.port.fileno())
        else:
            self.bridge = Bridge(self.port)
            self.tool = tools.Tool(self.bridge.descriptor)

    def hand_over(self, opened: Opened) -> int:
        import serial

        if isinstance(self.port, serial.Serial):
            return super().hand_over(opened)
        assert self.tool is not None
        self.announce(opened)
        session = KINDS[opened.kind](*opened.options)
        link = relay.Relay(session, self.tool.descriptor, None)
        link.make_break = self.bridge.send_break
        try:
            relay.catch_signals()
            os.set_blocking(1, False)
            link.begin(opened.output)
            link.run()
        except relay.Stopped:
            pass
        self.port.close()
        os._exit(0)  # the threads may be waiting for the network


class Bridge:
    """Two threads between ``port`` and ``descriptor``, whose end of file is the port's end."""

    def __init__(self, port: Any) -> None:
        import socket

        ours, self._theirs = socket.socketpair()
        ours.setblocking(False)
        self.descriptor = ours.detach()
        self._port = port
        self._writing = threading.Lock()
        self._ended = False
        _keep_alive(port)
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def send_break(self) -> None:
        """After all that was written to ``descriptor`` before. Of a port that has ended the relay reads the end."""
        while not self._ended:
            with self._writing:
                # Whoever holds the lock sees each byte either still in the socket or already in the port.
                if not _unread_bytes(self.descriptor):
                    self._port.send_break()
                    return
            select.select([], [], [], DRAIN_SECONDS)

    def _read(self) -> None:
        try:
            while True:
                data = self._port.read(1)
                if data:
                    self._theirs.sendall(data + self._port.read(self._port.in_waiting))
        except Exception:  # pyserial's URLs raise what their sockets do, and more; all of it is the end
            self._end()

    def _write(self) -> None:
        try:
            while True:
                select.select([self._theirs], [], [])
                with self._writing:
                    data = self._theirs.recv(4096)
                    if not data:
                        break
                    self._port.write(data)
        except Exception:  # as above
            self._end()

    def _end(self) -> None:
        import socket

        self._ended = True
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)


def _unread_bytes(descriptor: int) -> int:
    """Not zero as long as the other end of a socket pair has not read everything (unix(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _keep_alive(port: Any) -> None:
    """Have the network notice a peer that has vanished. The attribute is pyserial's own, in every release so far."""
    connection = getattr(port, "_socket", None)
    if connection is not None:
        tools.set_keepalive(connection)


def main() -> int:
    return run("serial", ARGUMENTS, SerialDialogue, sys.argv, SerialLogin)


if __name__ == "__main__":
    sys.exit(main())
