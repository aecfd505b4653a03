"""The process that stays with an open session: it joins the daemon to the tool, and does nothing else.

The login needed regular expressions, settings and the password file. This runs in a fresh interpreter, started in the
same process by :func:`command_line`, that has none of that: 2.6 MB private instead of 5. So it imports only what is
built in: ``_signal`` and ``posix`` instead of ``signal`` and ``os``, whose classes and tables cost as much again.

It ends when either side does, at SIGTERM, SIGHUP and SIGINT. Then it closes the tool's side first, as ipmitool
deactivates its SOL payload at end of file, but not when a signal kills it; and waits a moment for the tool to go.
"""

from __future__ import annotations

import posix
import select
import sys
from time import monotonic

from conman_exec.sessions import BREAK, KINDS, Session

TYPE_CHECKING = False

if TYPE_CHECKING:
    import signal as _signal
    from typing import Callable

    from conman_exec.telnet import TelnetCodec
else:
    import _signal

# Read at most this much at once, and stop reading a side while more than this waits for the other.
CHUNK_BYTES = 65536

# How long a tool may take to end after its side was closed. The daemon kills us as soon as it has seen our end.
FAREWELL_SECONDS = 0.8

# How long a break waits for the keys before it.
READ_SECONDS = 0.5


class Stopped(Exception):
    """A signal asked us to end."""


class Relay:
    """``tool`` and ``daemon_in`` are read; ``tool`` and ``daemon_out``, which may be ``daemon_in``, are written."""

    def __init__(
        self, session: Session, tool: int, codec: TelnetCodec | None, daemon_in: int = 0, daemon_out: int = 1
    ) -> None:
        self.session, self.codec = session, codec
        self.tool, self.daemon_in, self.daemon_out = tool, daemon_in, daemon_out
        self.make_break: Callable[[], object] = lambda: line_break(tool)
        self._for_tool: list[bytes | None] = []
        self._for_daemon = b""
        self._tool_ended = False

    def begin(self, output: bytes) -> None:
        """What the device said during the login, to be shown first."""
        self.session.output(output, monotonic())
        self._collect()

    def run(self) -> int:
        """Relay until one side ends; the exit status. The tool's side is closed by then."""
        try:
            while not self._finished():
                self._turn()
        except OSError:
            pass  # the daemon's side is gone: its end, like end of file
        return self.session.ended or 0

    def _finished(self) -> bool:
        return (self._tool_ended or self.session.ended is not None) and not self._for_daemon

    def _turn(self) -> None:
        poll = select.poll()
        ending = self._tool_ended or self.session.ended is not None
        tool_events = 0 if ending or len(self._for_daemon) > CHUNK_BYTES else select.POLLIN
        if self._for_tool and not ending:
            tool_events |= select.POLLOUT
        if not ending:
            poll.register(self.tool, tool_events)
        # Once keys cannot be delivered we do not read on; that the daemon has closed is seen all the same.
        full = sum(len(piece or b"") for piece in self._for_tool) + self.session.waiting() > CHUNK_BYTES
        in_events = 0 if full or ending else select.POLLIN
        if self._for_daemon:
            poll.register(self.daemon_out, select.POLLOUT | (in_events if self.daemon_in == self.daemon_out else 0))
        if self.daemon_in != self.daemon_out or not self._for_daemon:
            poll.register(self.daemon_in, in_events)
        due = self.session.deadline()
        timeout = None if due is None or ending else max(0.0, due - monotonic()) * 1000 + 1
        for descriptor, events in poll.poll(timeout):
            if descriptor == self.daemon_out and events & (select.POLLOUT | select.POLLERR) and self._for_daemon:
                self._write_daemon()
            if descriptor == self.daemon_in and events & ~select.POLLOUT:
                self._read_daemon(bool(in_events))
            if descriptor == self.tool:
                self._serve_tool(events)
        if due is not None and not ending:
            self.session.expire(monotonic())
        self._collect()

    def _serve_tool(self, events: int) -> None:
        try:
            if events & select.POLLOUT:
                self._write_tool()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = posix.read(self.tool, CHUNK_BYTES)
                self._tool_ended = not data
                if self.codec is not None:
                    data = self.codec.receive(data)
                    replies = self.codec.replies()
                    if replies:
                        self._for_tool.append(replies)
                self.session.output(data, monotonic())
        except BlockingIOError:
            pass
        except OSError:  # EIO is how a closed terminal reads
            self._tool_ended = True

    def _read_daemon(self, readable: bool) -> None:
        if not readable:  # no more is asked for, so this is a hang-up
            raise OSError
        try:
            data = posix.read(self.daemon_in, CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise OSError
        self.session.keys(data, monotonic())

    def _write_daemon(self) -> None:
        try:
            written = posix.write(self.daemon_out, self._for_daemon)
        except BlockingIOError:
            return
        self._for_daemon = self._for_daemon[written:]

    def _write_tool(self) -> None:
        while self._for_tool:
            piece = self._for_tool[0]
            if piece is BREAK:
                self.make_break()
            else:
                if piece == self.session.break_keys and self.codec is None:
                    wait_until_read(self.tool)
                written = posix.write(self.tool, piece)
                if written < len(piece):
                    self._for_tool[0] = piece[written:]
                    return
            del self._for_tool[0]

    def _collect(self) -> None:
        self._for_daemon += self.session.for_daemon()
        for piece in self.session.for_tool():
            if self.codec is None:
                self._for_tool.append(piece)
            elif piece is BREAK:
                self._for_tool.append(b"\xff\xf3")
            else:
                self._for_tool.append(self.codec.encode(piece))


def wait_until_read(descriptor: int) -> None:
    """Until the tool has taken all that was written to it, if it is on a socket; for a moment at most.

    What ipmitool reads together with a break it sends after the break: SysRq would take the wrong key.
    """
    import fcntl
    import termios

    due = monotonic() + READ_SECONDS
    while fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)) != bytes(4) and monotonic() < due:
        select.poll().poll(2)


def line_break(descriptor: int) -> None:
    """A break on a serial port: 0.25 s or more, by the system's choice (tcsendbreak(3))."""
    import termios

    termios.tcdrain(descriptor)
    termios.tcsendbreak(descriptor, 0)


def end_tool(tool: int, pid: int, farewell: bytes) -> None:
    """Close the tool's side and wait for its end, for at most ``FAREWELL_SECONDS``.

    A tool that has a terminal is killed after that. One on a socket (ipmitool) is left to finish: it has seen the end
    of file, and goes by itself as soon as its BMC has answered or given up.
    """
    on_terminal = posix.isatty(tool)
    if pid <= 0:
        posix.close(tool)
        return
    if farewell:
        try:
            posix.write(tool, farewell)
            poll = select.poll()
            poll.register(tool, select.POLLIN)
            due = monotonic() + FAREWELL_SECONDS / 2
            while monotonic() < due and poll.poll(max(0.0, due - monotonic()) * 1000):
                if not posix.read(tool, CHUNK_BYTES):
                    break
        except OSError:
            pass
    posix.close(tool)
    if not _ended_in_time(pid) and on_terminal:
        posix.kill(pid, 9)


def _ended_in_time(pid: int) -> bool:
    _signal.signal(_signal.SIGALRM, _stop)
    try:
        _signal.setitimer(_signal.ITIMER_REAL, FAREWELL_SECONDS)
        posix.waitpid(pid, 0)
    except Stopped:
        return False
    except OSError:
        pass  # it was not our child, or has been waited for
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
    return True


def _stop(number: int, frame: object) -> None:
    raise Stopped


_SIGNALS = (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT)


def hold_signals() -> None:
    """Until :func:`catch_signals`, also across exec: a session that is open is not to be left without its farewell."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGNALS)


def catch_signals(handler: object = _stop) -> None:
    for number in _SIGNALS:
        _signal.signal(number, handler)  # type: ignore[arg-type]
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _SIGNALS)


def drain(descriptor: int) -> bytes:
    """All that is in a pipe whose other end is closed; the pipe is closed."""
    data = b""
    while True:
        more = posix.read(descriptor, CHUNK_BYTES)
        if not more:
            posix.close(descriptor)
            return data
        data += more


def main() -> None:
    """``KIND TOOL-FD TOOL-PID BEGIN-FD CODEC-STATE OPTION...``, as :func:`command_line` wrote it.

    TOOL-PID is 0 where there is no process; CODEC-STATE is in hexadecimal, or ``-`` for no telnet.
    """
    kind, tool, pid, begin, state, *options = sys.argv[1:]
    session = KINDS[kind](*options)
    codec = None
    if state != "-":
        from conman_exec.telnet import TelnetCodec

        codec = TelnetCodec(bytes.fromhex(state))
    status = 0
    try:
        catch_signals()
        relay = Relay(session, int(tool), codec)
        posix.set_blocking(int(tool), False)
        if not posix.isatty(1):
            posix.set_blocking(1, False)
        relay.begin(drain(int(begin)))
        status = relay.run()
    except Stopped:
        pass
    try:
        catch_signals(_signal.SIG_IGN)
        end_tool(int(tool), int(pid), session.farewell)
    except OSError:
        pass
    # No tidying up: the interpreter's own end takes longer than all of the above.
    posix._exit(status)


def command_line(
    python: str, package_parent: str, kind: str, options: tuple[str, ...], tool: int, pid: int, begin: int, state: str
) -> list[str]:
    """The arguments that make a process this relay; nothing in them is secret, for everybody can read them.

    ``-I -S`` skips the site's start-up files; the package is found by ``package_parent``, the directory it is in.
    """
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from conman_exec.relay import main; main()"
    return [python, "-I", "-S", "-c", code, package_parent, kind, str(tool), str(pid), str(begin), state, *options]
