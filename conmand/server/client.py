"""One client's session after its request was granted: keys in, console output and notices out, and its end.

The session core (which bytes are commands) is ``conman.escapes``; who hears of what is the hub's. This module is the
I/O between: a socket, a bounded buffer for a client that does not keep up, and what each command does.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Callable, List, Optional

from conman import escapes
from conman.address import joined
from conmand.errors import reason
from conmand.server import notices
from conmand.server.daemonlog import DaemonLog
from conmand.server.farewell import Farewells

if TYPE_CHECKING:
    from conmand.server.hub import SharedConsole
    from conmand.server.reset import ResetCommands

READ_BYTES = 65536
MAX_UNSENT_BYTES = 256 * 1024
"""What may wait for a slow or suspended client; then its oldest bytes go. The original's ring holds 16383."""

HOLD_BYTES = MAX_UNSENT_BYTES // 2
HOLD_SECONDS = 2.0
"""A client that is so far behind holds its console's device, which is read no further until half of that is sent. One
that does not come so far within the time is slow: it holds nothing and loses bytes, until it has caught up entirely. So
whoever takes 64 KiB a second gets all of a flood, and whoever takes nothing delays the others once, and by no more."""

FLUSH_SECONDS = 10.0
"""How long a closed session may take to accept its last bytes."""

DELETE = b"\x7f"


class ClientContext:
    """What all sessions of a daemon share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        daemon_log: DaemonLog,
        resets: ResetCommands,
        closed: Callable[[Client], None],
    ) -> None:
        self.loop = loop
        self.daemon_log = daemon_log
        self.resets = resets
        self.closed = closed
        self.farewells = Farewells(loop)


class Client:
    """A session in mode R/O (a reader), R/W (reader and writer) or B/C (a writer only)."""

    __slots__ = (
        "user",
        "tty",
        "host",
        "fqdn",
        "port",
        "broadcast",
        "quiet",
        "force",
        "last_input",
        "consoles",
        "writing",
        "_sock",
        "_context",
        "_decoder",
        "_unsent",
        "_reply_bytes",
        "_lost_bytes",
        "_hold_timer",
        "_slow",
        "_suspended",
        "_held",
        "_leaving",
        "_peer_is_there",
        "_is_closed",
        "_flush_timer",
    )

    def __init__(
        self,
        sock: socket.socket,
        context: ClientContext,
        *,
        user: str,
        tty: Optional[str],
        host: str,
        fqdn: str,
        port: int,
        broadcast: bool = False,
        quiet: bool = False,
        force: bool = False,
    ) -> None:
        self.user = user
        self.tty = tty
        self.host = host
        self.fqdn = fqdn
        self.port = port
        self.broadcast = broadcast
        self.quiet = quiet
        self.force = force
        self.last_input = context.loop.time()
        self.consoles: List[SharedConsole] = []
        self.writing = False
        self._sock = sock
        self._context = context
        self._decoder = escapes.EscapeDecoder()
        self._unsent: Optional[bytearray] = None  # exists only while bytes wait for the socket
        self._reply_bytes = 0  # at the front of what waits, the reply: it is never lost, whatever comes behind it
        self._lost_bytes = 0
        self._hold_timer: Optional[asyncio.TimerHandle] = None  # exists while the console's device waits for us
        self._slow = False
        self._suspended = False
        self._held = False
        self._leaving = False
        self._peer_is_there = True  # as far as we know: it has not closed, and the connection has not failed
        self._is_closed = False
        self._flush_timer: Optional[asyncio.TimerHandle] = None

    # Identity, as messages show it.

    @property
    def label(self) -> str:
        """``USER@HOST:PORT`` with the short host name."""
        return f"{self.user}@{joined(self.host, self.port)}"

    @property
    def full_label(self) -> str:
        return f"{self.user}@{joined(self.fqdn, self.port)}"

    @property
    def mode(self) -> str:
        return "B/C" if self.broadcast else "R/W"

    @property
    def idle_seconds(self) -> float:
        return self._context.loop.time() - self.last_input

    @property
    def has_left(self) -> bool:
        return self._leaving

    # The session's start.

    def start(self, consoles: List[SharedConsole], reply: bytes, rest: bytes, *, writing: bool) -> None:
        """Send the reply, attach to ``consoles``, and take input; ``rest`` is input that came with the request."""
        self.consoles = list(consoles)
        self._reply_bytes = len(reply)
        self.deliver(reply)
        self._reply_bytes = len(self._unsent or b"")
        if self._leaving:
            return
        self.writing = writing
        for console in consoles if writing else ():
            console.add_writer(self)
            if self._leaving:
                return
        if not self.broadcast:
            consoles[0].add_reader(self)
        for console in consoles:
            console.greet(self)
        self._context.daemon_log.info(f"Client <{self.full_label}> connected to {self._where()}")
        if self._leaving:
            return
        self._context.loop.add_reader(self._sock.fileno(), self._on_readable)
        if rest:
            self._received(rest)

    def _where(self) -> str:
        if self.broadcast:
            return f"{len(self.consoles)} consoles (broadcast)"
        return f"[{self.consoles[0].name}]" + ("" if self.writing else " (read-only)")

    # To the client.

    def deliver(self, data: bytes) -> None:
        """Send ``data`` at once if the client takes it, else let it wait; never blocks."""
        if self._unsent is None and not self._suspended:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._broken("write to", error)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._keep(data)

    def inform(self, block: bytes) -> None:
        """Send an informational notice, unless the client wants none."""
        if not self.quiet:
            self.deliver(block)

    def _keep(self, data: bytes) -> None:
        if self._leaving:
            return
        if self._unsent is None:
            self._unsent = bytearray()
            if not self._suspended:
                self._context.loop.add_writer(self._sock.fileno(), self._on_writable)
        self._unsent += data
        behind = len(self._unsent) - self._reply_bytes
        if behind > MAX_UNSENT_BYTES:
            excess = behind - MAX_UNSENT_BYTES
            del self._unsent[self._reply_bytes : self._reply_bytes + excess]
            self._lost_bytes += excess
        if behind > HOLD_BYTES:
            self._hold_device()

    def _on_writable(self) -> None:
        if self._lost_bytes:
            self._confess()
        unsent = self._unsent
        assert unsent is not None, "a writer is registered only while bytes wait"
        try:
            sent = self._sock.send(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broken("write to", error)
            return
        del unsent[:sent]
        self._reply_bytes = max(self._reply_bytes - sent, 0)
        if len(unsent) - self._reply_bytes <= HOLD_BYTES // 2:
            self._release_device()
        if not unsent:
            self._unsent = None
            self._slow = False
            self._context.loop.remove_writer(self._sock.fileno())
            if self._leaving:
                self._close()

    def _hold_device(self) -> None:
        if self._hold_timer is None and not (self._slow or self._suspended or self.broadcast):
            self._hold_timer = self._context.loop.call_later(HOLD_SECONDS, self._held_for_long)
            self.consoles[0].hold_device(self)

    def _held_for_long(self) -> None:
        self._slow = True
        self._release_device()

    def _release_device(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
            self.consoles[0].release_device(self)

    def _confess(self) -> None:
        """Tell the client, in the place where bytes are missing, how many; and the daemon's log."""
        lost, self._lost_bytes = self._lost_bytes, 0
        self._context.daemon_log.notice(f'Overwrote {lost} bytes for "{self.label}"')
        assert self._unsent is not None
        place = self._reply_bytes
        self._unsent[place:place] = notices.framed(notices.output_lost(lost))

    # From the client.

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broken("read from", error)
            return
        if data:
            self._received(data)
        else:
            self._peer_is_there = False
            self.leave()

    def _received(self, data: bytes) -> None:
        self.last_input = self._context.loop.time()
        for event in self._decoder.receive(data):
            if self._leaving:
                return
            if type(event) is escapes.Data:
                self._type(event.data)
            elif type(event) is escapes.Invalid:
                self._context.daemon_log.warning(
                    f"Received invalid escape '{_printable(event.byte)}' from {self.label}"
                )
            else:
                _ACTIONS[event](self)  # type: ignore[index]

    def _type(self, data: bytes) -> None:
        if self.writing:
            for console in self.consoles:
                console.device.send(data)

    def hold_input(self, console: SharedConsole) -> None:
        """The console takes less than we type. A broadcast is not held: one slow console must not stop the others."""
        if not self.broadcast and not self._held and not self._leaving:
            self._held = True
            self._context.loop.remove_reader(self._sock.fileno())

    def release_input(self, console: SharedConsole) -> None:
        if self._held and not self._leaving:
            self._held = False
            self._context.loop.add_reader(self._sock.fileno(), self._on_readable)

    # Commands.

    def _break(self) -> None:
        if self.writing:
            for console in self.consoles:
                console.device.send_break()

    def _delete(self) -> None:
        self._type(DELETE)

    def _become_forcing_writer(self) -> None:
        self._become_writer(force=True)

    def _become_joining_writer(self) -> None:
        self._become_writer(force=False)

    def _become_writer(self, *, force: bool) -> None:
        # The original toggles blindly, so that modes can get out of step with the client's (errata B3).
        if not self.broadcast and not self.writing:
            self.force = force
            self.writing = True
            self.consoles[0].add_writer(self)

    def _become_reader(self) -> None:
        if not self.broadcast and self.writing:
            self.force = False
            self.writing = False
            self._release_own_hold()
            self.consoles[0].remove_writer(self)

    def _release_own_hold(self) -> None:
        if self._held:
            self.release_input(self.consoles[0])

    def _replay(self) -> None:
        if self.broadcast:
            return
        console = self.consoles[0]
        tail = console.log.replay() if console.log is not None else None
        if tail is None:
            self.deliver(notices.framed(notices.not_logged(console.name)))
        else:
            self.deliver(
                notices.framed(notices.replay_begin(console.name))
                + tail
                + notices.framed(notices.replay_end(console.name))
            )

    def _toggle_quiet(self) -> None:
        self.quiet = not self.quiet
        self.deliver(notices.framed(notices.QUIET_ENABLED if self.quiet else notices.QUIET_DISABLED))

    def _reset(self) -> None:
        if self.writing:
            for console in self.consoles:
                self._context.resets.reset(console, self)

    def _toggle_suspension(self) -> None:
        self._suspended = not self._suspended
        state = "suspended" if self._suspended else "resumed"
        self._context.daemon_log.info(f"Client <{self.label}> {state}")
        self._release_device()
        if self._unsent is not None:
            if self._suspended:
                self._context.loop.remove_writer(self._sock.fileno())
            else:
                self._context.loop.add_writer(self._sock.fileno(), self._on_writable)

    # The session's end.

    def robbed_of(self, console: SharedConsole) -> None:
        """Another writer took ``console``. A broadcast goes on with its other consoles (errata B13)."""
        self._release_device()
        self.consoles.remove(console)
        console.remove_reader(self)
        console.remove_writer(self)
        if not self.consoles:
            self.leave()

    def leave(self) -> None:
        """End the session in steps: detach, tell, send what waits, close. Idempotent."""
        if self._leaving:
            return
        # 1. No more input, no more output than what waits already.
        self._leaving = True
        self._context.loop.remove_reader(self._sock.fileno())
        # 2. Detach, and let those who stay know.
        self._release_device()
        for console in self.consoles:
            if not self.broadcast:
                console.remove_reader(self)
            if self.writing:
                console.remove_writer(self)
        self._context.daemon_log.info(f"Client <{self.full_label}> disconnected")
        # 3. Send what waits, within a time limit; a suspended client too gets what it missed.
        if self._unsent is None:
            self._close()
        else:
            self._context.loop.add_writer(self._sock.fileno(), self._on_writable)
            self._flush_timer = self._context.loop.call_later(FLUSH_SECONDS, self._close)

    def _broken(self, action: str, error: OSError) -> None:
        """The connection failed: nothing more can be sent."""
        self._peer_is_there = False
        if not self._leaving and error.errno != errno.EPIPE:
            self._context.daemon_log.info(f"Unable to {action} [{self.label}]: {reason(error)}")
        self._discard_unsent()
        if self._leaving:
            self._close()
        else:
            self.leave()

    def _discard_unsent(self) -> None:
        if self._unsent is not None:
            self._unsent = None
            self._context.loop.remove_writer(self._sock.fileno())

    def _close(self) -> None:
        """4. Close."""
        if self._is_closed:
            return
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        if self._lost_bytes:
            self._context.daemon_log.notice(f'Overwrote {self._lost_bytes} bytes for "{self.label}"')
        self._discard_unsent()
        if self._peer_is_there:
            self._context.farewells.say(self._sock)
        else:
            self._sock.close()
        self._is_closed = True
        self._context.closed(self)

    def abort(self) -> None:
        """Close at once and tell nobody that stays; the daemon stops."""
        self._release_device()
        for console in self.consoles:
            console.forget(self)
        self.consoles = []
        self._peer_is_there = False  # or need not be waited for
        self.leave()
        self._close()


def _printable(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


_ACTIONS = {
    escapes.Command.BREAK: Client._break,
    escapes.Command.DELETE: Client._delete,
    escapes.Command.FORCE: Client._become_forcing_writer,
    escapes.Command.JOIN: Client._become_joining_writer,
    escapes.Command.MONITOR: Client._become_reader,
    escapes.Command.REPLAY: Client._replay,
    escapes.Command.QUIET: Client._toggle_quiet,
    escapes.Command.RESET: Client._reset,
    escapes.Command.SUSPEND: Client._toggle_suspension,
}
