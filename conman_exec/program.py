"""A device script as a program: logs in on behalf of a daemon, then leaves its process to the relay.

Standard input and output are the daemon's, or whatever a user runs it on. Here are the waiting and the writing; what is
said to the device is the dialogue's affair. No asyncio: its import alone would take as long as the whole login.
"""

from __future__ import annotations

import os
import select
import sys
import time

from conman.text import encode
from conman_exec import dialogue, relay, tools
from conman_exec.arguments import Arguments, UsageError, parse
from conman_exec.dialogue import Become, Connect, Dialogue, Failed, Open, Opened, Run, Send

# Not all builds of Python have the name; the value is Linux's.
_HANG_UP = getattr(select, "POLLRDHUP", 0x2000) | select.POLLHUP | select.POLLERR


class DaemonGone(Exception):
    """The daemon closed its side during the login: nobody wants the session any more."""


def run(script: str, form: Arguments, make: type[Dialogue], argv: list[str], kind: type[Login] | None = None) -> int:
    """Do what the script's command line asks for; the exit status, if the process has not become another by then."""
    try:
        invocation = parse(script, form, argv)
    except UsageError as error:
        say(error.text)
        return 1
    for warning in invocation.warnings:
        say(f"Warning: {warning}.")
    os.umask(0o077)
    login = (kind or Login)(make(invocation.target, invocation.settings), getattr(invocation.settings, "path", ""))
    try:
        end = login.run()
        if isinstance(end, Failed):
            say(f"Error: {end.reason}")
        elif isinstance(end, Become):
            login.drop_tool()
            tools.become(end.run, login.path)
        elif isinstance(end, Opened):
            return login.hand_over(end)
    except tools.ToolError as error:
        say(f"Error: {error}.")
    except (DaemonGone, BrokenPipeError, ConnectionError):
        pass
    login.drop_tool()
    return 1


class Login:
    """Carries out a dialogue's events, and feeds it what comes of them. One tool at a time."""

    def __init__(self, conversation: Dialogue, path: str) -> None:
        self.dialogue, self.path = conversation, path
        self.tool: tools.Tool | None = None
        self._unsent = b""

    def run(self) -> dialogue.Event:
        """Until the dialogue is over: its last event. Raises ToolError, DaemonGone."""
        self.dialogue.begin(time.monotonic())
        while True:
            for event in self.dialogue.events():
                if self._carry_out(event):
                    return event
            if not self.dialogue.over:  # else its last event has just been made, by words of ours
                self._wait()

    def _carry_out(self, event: dialogue.Event) -> bool:
        """True for the events that end the login."""
        if isinstance(event, Run):
            self.drop_tool()
            self.tool = tools.start(event, self.path)
        elif isinstance(event, Connect):
            self._connect(event)
        elif isinstance(event, Open):
            self._open(event)
        elif isinstance(event, Send):
            codec = self.tool.codec if self.tool else None
            self._unsent += codec.encode(event.data) if codec else event.data
            self._write()
        return isinstance(event, (Opened, Become, Failed))

    def _connect(self, event: Connect) -> None:
        deadline = self.dialogue.deadline()
        self.tool, words = tools.connect(event, (deadline or time.monotonic()) - time.monotonic())
        self.dialogue.receive(words, time.monotonic())
        if self.tool is None:
            self.dialogue.receive_eof(time.monotonic())

    def _open(self, event: Open) -> None:
        raise NotImplementedError  # of serial_exp alone

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(0, _HANG_UP)
        if self.tool:
            poll.register(self.tool.descriptor, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        deadline = self.dialogue.deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
        for descriptor, events in poll.poll(timeout):
            if descriptor == 0:
                raise DaemonGone
            if events & select.POLLOUT:
                self._write()
            if events & ~select.POLLOUT:
                self._read()
        self.dialogue.expire(time.monotonic())

    def _read(self) -> None:
        assert self.tool is not None
        try:
            data = os.read(self.tool.descriptor, relay.CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: how a closed terminal reads
            data = b""
        if not data:
            self.drop_tool()
            self.dialogue.receive_eof(time.monotonic())
            return
        if self.tool.codec:
            data = self.tool.codec.receive(data)
            self._unsent += self.tool.codec.replies()
            self._write()
        self.dialogue.receive(data, time.monotonic())

    def _write(self) -> None:
        if self.tool is None:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self.tool.descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # its end will be read
            self._unsent = b""

    def drop_tool(self) -> None:
        """Close what is open, and wait a moment for the process: until then its session is not over either."""
        self._unsent = b""
        tool, self.tool = self.tool, None
        if tool is not None:
            relay.end_tool(tool.descriptor, tool.pid, b"")

    def announce(self, opened: Opened) -> None:
        """Send what is left of the dialogue, and say that the session is open."""
        assert self.tool is not None
        while self._unsent:
            self._wait()
        relay.hold_signals()
        if opened.notice:
            say(opened.notice)
        say(f"Connection established via {opened.tool} (pid {self.tool.pid or os.getpid()}).")

    def hand_over(self, opened: Opened) -> int:
        """Say that the session is open, and become the relay; where that cannot be, return the exit status at its end.

        The relay gets what the device has said by a pipe, which its output must fit in, and which it reads empty.
        """
        assert self.tool is not None
        self.announce(opened)
        reading, writing = os.pipe()
        os.write(writing, opened.output)
        os.close(writing)
        for descriptor in (reading, self.tool.descriptor):
            os.set_inheritable(descriptor, True)
        package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        state = self.tool.codec.state().hex() if self.tool.codec else "-"
        argv = relay.command_line(
            sys.executable,
            package_parent,
            opened.kind,
            opened.options,
            self.tool.descriptor,
            self.tool.pid,
            reading,
            state,
        )
        os.execv(argv[0], argv)  # does not return


def say(line: str) -> None:
    """A line to the user and the console's log. The daemon's descriptor may be one that does not block."""
    data = encode(line) + b"\r\n"
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:
            poll.poll()
