"""Starting what a login talks to: a tool on a socket or a terminal, or a TCP connection.

Tools are started by ``posix_spawn``: no Python runs between fork and exec, so a large or threaded process may do it.
The modules ``signal`` and ``socket`` take 8 ms to import; a script starts for every console, so it uses what is below
them, and ``socket`` only to connect.
"""

from __future__ import annotations

import _socket
import fcntl
import os

from conman.text import encode
from conman_exec.dialogue import Connect, Run
from conman_exec.record import TYPE_CHECKING
from conman_exec.telnet import TelnetCodec

if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

_SECRET_DESCRIPTOR = 3


class ToolError(Exception):
    """A tool cannot be started; worded as expect words it, without the full stop."""


class Tool:
    """What the login is talking to: a descriptor of ours, non-blocking, and the process behind it (0: none)."""

    def __init__(
        self, descriptor: int, pid: int = 0, codec: TelnetCodec | None = None, on_terminal: bool = False
    ) -> None:
        self.descriptor, self.pid, self.codec, self.on_terminal = descriptor, pid, codec, on_terminal


def find(name: str, path: str) -> str:
    """The program of that name in the directories of ``path``; a name with a slash is one already."""
    for directory in path.split(":") if "/" not in name else [""]:
        candidate = os.path.join(directory, name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise ToolError(f'couldn\'t execute "{name}": no such file or directory')


def command(run: Run, path: str) -> list[bytes]:
    """The complete command line: on a socket, where C programs buffer whole blocks, stdbuf makes that lines.

    stdbuf becomes the tool, so it costs no process.
    """
    tool = find(run.argv[0], path)
    prefix = [] if run.terminal else [find("stdbuf", path), "-oL"]
    return [encode(word) for word in [*prefix, tool, *run.argv[1:]]]


def environment(run: Run, path: str) -> dict[bytes, bytes]:
    """Ours, in the C locale: with any other, ipmitool makes two bytes of one that is above 127, both ways."""
    variables = {key: value for key, value in os.environb.items() if not key.startswith((b"LC_", b"LANG"))}
    variables.update({b"PATH": encode(path), b"LC_ALL": b"C"})
    if run.home:
        variables[b"HOME"] = encode(run.home)
    return variables


def start(run: Run, path: str) -> Tool:
    """Start a tool in a session of its own, so that a signal to the daemon's process group does not reach it.

    Raises :class:`ToolError`.
    """
    argv = command(run, path)
    secret = secret_descriptor(run.secret)
    ours = theirs = -1
    try:
        actions: list[tuple[object, ...]] = []
        if run.terminal:
            # Its modes stay as they are: ssh hands them on to the terminal at the other end.
            ours, theirs = os.openpty()
            actions.append((os.POSIX_SPAWN_OPEN, 0, os.ttyname(theirs), os.O_RDWR, 0))
        else:
            # The tool's end blocks, as tools expect; where it did not, ipmitool would drop output that does not fit.
            ours, theirs = (end.detach() for end in _socket.socketpair())
            actions.append((os.POSIX_SPAWN_DUP2, theirs, 0))
        actions += [(os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
        if secret >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, secret, _SECRET_DESCRIPTOR))
        # SIGPIPE stays ignored for a tool on a socket: it is to deactivate its session when we are gone, not to die.
        defaults = [_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, *([_signal.SIGPIPE] if run.terminal else [])]
        pid = os.posix_spawn(
            argv[0],
            argv,
            environment(run, path),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=defaults,
        )
        os.set_blocking(ours, False)
        return Tool(ours, pid, None, run.terminal)
    except (OSError, ValueError) as error:
        if ours >= 0:
            os.close(ours)
        raise _not_started(run, error) from error
    finally:
        for descriptor in (theirs, secret):
            if descriptor >= 0:
                os.close(descriptor)


def become(run: Run, path: str) -> None:
    """Replace this process by the tool, on this process's standard input and output; returns only by ToolError.

    The tool gets what :func:`start` gives it. The signals that the daemon sends at its end are ignored, as ipmitool
    dies of them without deactivating its session; it ends when the daemon closes the socket, which comes with them.
    """
    argv, variables = command(run, path), environment(run, path)
    secret = secret_descriptor(run.secret)
    if secret >= 0:
        os.dup2(secret, _SECRET_DESCRIPTOR)
    for descriptor in (0, 1, 2):
        os.set_blocking(descriptor, True)
    for number in (_signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_IGN)
    try:
        os.execve(argv[0], argv, variables)
    except (OSError, ValueError) as error:
        raise _not_started(run, error) from error


def _not_started(run: Run, error: OSError | ValueError) -> ToolError:
    """ValueError: a NUL in an argument, which a user in the password file may contain."""
    reason = getattr(error, "strerror", None) or str(error)
    return ToolError(f'couldn\'t execute "{run.argv[0]}": {reason.lower()}')


def secret_descriptor(secret: bytes | None) -> int:
    """A descriptor from which the secret can be read once; -1 for None. Never one of 0 to 3."""
    if secret is None:
        return -1
    reading, writing = os.pipe()
    os.write(writing, secret)  # far less than a pipe holds
    os.close(writing)
    high = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(reading)
    return high


# An idle connection whose peer has vanished is noticed after 20 s and 4 questions, 5 s apart.
KEEPALIVE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_COUNT = 20, 5, 4
UNACKNOWLEDGED_MILLISECONDS = 40000


def set_keepalive(connection: _socket.socket) -> None:
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
    for option, value in (
        (_socket.TCP_NODELAY, 1),
        (_socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS),
        (_socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS),
        (_socket.TCP_KEEPCNT, KEEPALIVE_COUNT),
        (_socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS),
    ):
        connection.setsockopt(_socket.IPPROTO_TCP, option, value)


def telnet_words(host: str, error: OSError | None, port: str = "") -> bytes:
    """How a telnet program tells that it has connected, or why not; the dialogues' rules are written for its words."""
    if error is None:
        return b"Connected to " + encode(host) + b".\r\n"
    if isinstance(error, _socket.gaierror):
        return b"telnet: could not resolve " + encode(f"{host}/{port}: {error.strerror}") + b"\r\n"
    reason = "Connection timed out" if isinstance(error, _socket.timeout) else error.strerror or str(error)
    return b"telnet: Unable to connect to remote host: " + encode(reason) + b"\r\n"


def connect(wanted: Connect, seconds: float) -> tuple[Tool | None, bytes]:
    """A connection within ``seconds``, or None; and what to tell the dialogue. Blocks meanwhile."""
    import socket

    try:
        # The port may be a service's name, as with a telnet program.
        address = (wanted.host, int(wanted.port) if wanted.port.isdigit() else wanted.port)
        connection = socket.create_connection(address, timeout=max(0.1, seconds))  # type: ignore[arg-type]
        set_keepalive(connection)
    except (OSError, OverflowError) as error:
        failure = error if isinstance(error, OSError) else OSError(0, str(error))
        return None, telnet_words(wanted.host, failure, wanted.port)
    connection.setblocking(False)
    return Tool(connection.detach(), 0, TelnetCodec()), telnet_words(wanted.host, None)
