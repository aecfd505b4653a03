"""What every kind of console shares: its states, its retry timer, and the descriptor that its bytes pass through.

A console here is the device end only. It knows nothing of clients or logs: what the device says goes to its ``Sink``,
what users type comes in through ``send``. The hub (``conmand.server.hub``) is on the other side of both.
"""

from __future__ import annotations

import asyncio
import enum
import os
from typing import TYPE_CHECKING, Callable, Optional, Protocol, Union

from conmand.config.model import ConsoleSettings, LogLevel
from conmand.config.settings import ScriptSettings
from conmand.proto.backoff import Backoff

if TYPE_CHECKING:
    from conmand.consoles.ipmi_engine import SolEngine
    from conmand.consoles.script_logins import ScriptLogins

READ_BYTES = 65536
"""One read takes at most this much. The original reads 8191; a flood then costs eight times the wake-ups."""

MAX_UNSENT_BYTES = 65536
"""What may wait for a slow device. Beyond it the typing client is made to wait (the original overwrites at 16383)."""

STALL_SECONDS = 10.0
"""A device that takes nothing for this long loses its oldest waiting bytes, so that its clients can go on."""


class State(enum.Enum):
    """Whether bytes can pass. ``PENDING`` is a connection being made."""

    DOWN = "down"
    PENDING = "pending"
    UP = "up"


class Sink(Protocol):
    """Where a console puts what its device says; implemented by the hub."""

    def publish(self, data: bytes) -> None:
        """Hand on bytes the device printed, to the log and to every client."""

    @property
    def record(self) -> Callable[[bytes], None]:
        """What ``publish`` comes to while no client is attached, without its detours."""

    def announce(self, level: LogLevel, text: str) -> None:
        """Tell the daemon's log, the console's log and every attached client (the (N) messages of conmand(8))."""

    def report(self, level: LogLevel, text: str) -> None:
        """Tell the daemon's log only."""

    def congested(self) -> None:
        """The device takes less than is typed: hold the writers back."""

    def relieved(self) -> None:
        """The device takes bytes again."""


class Children(Protocol):
    """Starts programs and learns of their end; implemented by ``conmand.server.children``."""

    def spawn(
        self,
        argv: list[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        on_exit: Callable[[int], None] | None = None,
    ) -> int: ...

    def adopt(self, pid: int, on_exit: Callable[[int], None] | None = None) -> None: ...

    def kill(self, pid: int, signal_number: int) -> None: ...


class Resolver(Protocol):
    async def resolve(self, host: str, port: int) -> list[tuple[int, tuple[object, ...]]]: ...


class SocketWatcher(Protocol):
    """Tells when a path comes into being; implemented by ``conmand.server.inotify``."""

    def watch(self, path: str, appeared: Callable[[], None]) -> None: ...

    def unwatch(self, path: str, appeared: Callable[[], None]) -> None: ...


class Readable(Protocol):
    """What a poller reads for: it is given the bytes, or told of the end."""

    received: Callable[[bytes], None]

    def ended(self, error: Optional[OSError]) -> None: ...


class Poller(Protocol):
    """Reads descriptors in batches; implemented by ``conmand.server.poller``."""

    def add(self, fd: int, reader: Readable) -> None: ...

    def remove(self, fd: int) -> None: ...


class Services:
    """What the daemon lends its consoles. One object for all of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        children: Children,
        resolver: Resolver,
        watcher: SocketWatcher,
        ipmi: Optional[SolEngine] = None,
        scripts: Optional[ScriptSettings] = None,
    ) -> None:
        self.loop = loop
        self.poller = poller
        self.children = children
        self.resolver = resolver
        self.watcher = watcher
        self.ipmi = ipmi  # only where a configuration has IPMI consoles
        self.scripts = scripts or ScriptSettings()
        self.script_logins: Optional[ScriptLogins] = None  # made by the first console that is a device script


class Console:
    """One console's device. Subclasses implement ``_open``, ``_shut`` and ``label``.

    Life: ``start`` once, ``stop`` once; between them the console looks after its own connection.
    """

    __slots__ = ("settings", "sink", "services", "state", "up_since", "down_since", "_backoff", "_timer", "_is_held")

    retries: tuple[float, float, float, float] = (60, 1800, 60, 0)
    """First delay, longest delay, uptime that counts as stable, delay after a stable connection; all in seconds."""

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        self.settings = settings
        self.sink = sink
        self.services = services
        self.state = State.DOWN
        self.up_since = 0.0
        self.down_since = services.loop.time()  # failed attempts in between do not count
        self._backoff: Optional[Backoff] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_held = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def label(self) -> str:
        """The device as messages show it: ``"PROG"``, ``<HOST:PORT>``, ``"PATH"``."""
        raise NotImplementedError

    @property
    def state_seconds(self) -> float:
        """How long the console has been up, or not been up."""
        since = self.up_since if self.state is State.UP else self.down_since
        return self.services.loop.time() - since

    @property
    def retry_seconds(self) -> Optional[float]:
        """When the next attempt is due; ``None`` if none is planned."""
        if self.state is not State.DOWN or self._timer is None:
            return None
        return max(0.0, self._timer.when() - self.services.loop.time())

    def hold(self) -> None:
        """Not even a client brings the console up before ``start``: somebody else may still have its device."""
        self._is_held = True

    def start(self) -> None:
        self._is_held = False
        # While consoles are being started, one after another, a client may come and bring this one up before its turn.
        if self.state is State.DOWN:
            self._cancel_timer()
            self._open()

    def stop(self) -> None:
        """Close the device for good, saying nothing."""
        self._cancel_timer()
        self._shut()
        self.state = State.DOWN

    def send(self, data: bytes) -> None:
        """Pass on what users typed. A console that is down discards it: keys that arrive late do harm (errata B5)."""

    def send_break(self) -> None:
        """Make a serial break, where the device has such a thing."""

    def set_attended(self, attended: bool) -> None:
        """A first client has come, or the last has gone: what the device says is wanted at once, or may be batched."""

    def hold_output(self) -> None:
        """Read no more for a while: a client is behind. A device that cannot be made to wait is not held."""

    def release_output(self) -> None:
        """Go on reading."""

    def adopt(self, settings: ConsoleSettings) -> bool:
        """Go on with ``settings`` from now on; returns whether that can be done without a new connection."""
        if settings.device != self.settings.device and not self._adopt_device(settings):
            return False
        self.settings = settings
        return True

    def _adopt_device(self, settings: ConsoleSettings) -> bool:
        """Make what differs between the devices true of the connection; returns whether that was possible."""
        return False

    def sink_changed(self) -> None:
        """The sink's ``record`` is another one now."""

    def programs(self) -> tuple[int, ...]:
        """The programs that run for this console; each is the leader of its group, and goes when the console does."""
        return ()

    def client_attached(self) -> Optional[str]:
        """A client came. Returns what to tell it alone when the console is down; call ``retry_now`` then."""
        if self.state is State.UP:
            return None
        return f"Console [{self.name}] is currently disconnected from {self.label}"

    def retry_now(self) -> None:
        """Try at once to connect a console that is down, leaving the sequence of delays as it is."""
        if self.state is State.DOWN and not self._is_held:
            self._cancel_timer()
            self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _shut(self) -> None:
        raise NotImplementedError

    def _came_up(self) -> None:
        self._cancel_timer()
        self.state = State.UP
        self.up_since = self.services.loop.time()

    def _went_down(self, *, was_up: bool) -> float:
        """Schedule the next attempt; returns the seconds the connection had lasted."""
        now = self.services.loop.time()
        up_seconds = now - self.up_since if was_up else 0.0
        self.state = State.DOWN
        if was_up:
            self.down_since = now
        if self._backoff is None:
            self._backoff = Backoff(*self.retries)
        self._retry_in(self._backoff.next_delay(up_seconds))
        return up_seconds

    def _retry_in(self, delay_seconds: float) -> None:
        self._cancel_timer()
        self._timer = self.services.loop.call_later(delay_seconds, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self.state is State.DOWN:
            self._open()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class DescriptorConsole(Console):
    """A console whose device is one non-blocking descriptor: read when readable, written when it takes bytes.

    Subclasses call ``_attach(fd)`` when connected and implement ``_lost`` for its end.
    """

    __slots__ = ("_fd", "_attended", "_on_hold", "received", "_unsent", "_stall_timer")

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._fd = -1
        self._attended = False
        self._on_hold = False
        # What takes the bytes read, bound once: this is the hot path.
        self.received = self._receiver()
        self._unsent: Optional[bytearray] = None  # exists only while the device is slow
        self._stall_timer: Optional[asyncio.TimerHandle] = None

    def _attach(self, fd: int) -> None:
        self._fd = fd
        self._came_up()
        self._start_reading()

    def _receiver(self) -> Callable[[bytes], None]:
        """What takes the bytes read, as things are; a kind with a protocol takes them itself first."""
        return self.sink.publish if self._attended else self.sink.record

    def _start_reading(self) -> None:
        if self._on_hold:
            return
        if self._attended:
            self.services.loop.add_reader(self._fd, self._on_readable)
        else:
            self.services.poller.add(self._fd, self)

    def _stop_reading(self) -> None:
        if self._on_hold:
            return
        if self._attended:
            self.services.loop.remove_reader(self._fd)
        else:
            self.services.poller.remove(self._fd)

    def set_attended(self, attended: bool) -> None:
        if attended == self._attended:
            return
        if self._fd >= 0:
            self._stop_reading()
        self._attended = attended
        self.received = self._receiver()
        if self._fd >= 0:
            self._start_reading()

    def sink_changed(self) -> None:
        self.received = self._receiver()

    def hold_output(self) -> None:
        if self._fd >= 0:
            self._stop_reading()
        self._on_hold = True

    def release_output(self) -> None:
        if not self._on_hold:
            return
        self._on_hold = False
        if self._fd >= 0:
            self._start_reading()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.ended(error)
            return
        if data:
            self.received(data)
        else:
            self.ended(None)

    def ended(self, error: Optional[OSError], last_words: bytes = b"") -> None:
        """The device closed (``None``) or failed: say so, and schedule the next attempt."""
        if error is not None and not self._is_end_of_file(error):
            self.sink.report(LogLevel.INFO, f"Unable to read from [{self.name}]: {error.strerror}")
        self._shut()
        if last_words:
            self.received(last_words)
        self._lost()

    def _is_end_of_file(self, error: OSError) -> bool:
        return False

    def _lost(self) -> None:
        raise NotImplementedError

    def _shut(self) -> None:
        if self._fd < 0:
            return
        self._stop_reading()
        if self._unsent is not None:
            self._stop_waiting_for_room()
        unsent = len(self._unsent) if self._unsent else 0
        if unsent:
            plural = "" if unsent == 1 else "s"
            self.sink.report(LogLevel.WARNING, f"Flushed {unsent} byte{plural} of unwritten data from [{self.name}]")
        self._forget_unsent()
        fd, self._fd = self._fd, -1
        self._close(fd)

    def _close(self, fd: int) -> None:
        os.close(fd)

    def send(self, data: bytes) -> None:
        if self.state is State.UP:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            return  # an answer to last words
        if self._unsent is not None:
            self._unsent += data
        else:
            try:
                sent = self._send_some(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._write_failed(error)
                return
            if sent == len(data):
                return
            self._unsent = bytearray(data[sent:])
            self._wait_for_room()
        if len(self._unsent) > MAX_UNSENT_BYTES and self._stall_timer is None:
            self._stall_timer = self.services.loop.call_later(STALL_SECONDS, self._stalled)
            self.sink.congested()
        elif len(self._unsent) > 2 * MAX_UNSENT_BYTES:
            # Broadcast clients are not held back, one slow console must not stop their others: the oldest bytes go.
            self._overwrite(len(self._unsent) - MAX_UNSENT_BYTES)

    def _send_some(self, data: Union[bytes, bytearray]) -> int:
        """How much of ``data`` the device took now. Raises ``OSError``."""
        return os.write(self._fd, data)

    def _wait_for_room(self) -> None:
        """Have ``_on_writable`` called when the device takes more."""
        self.services.loop.add_writer(self._fd, self._on_writable)

    def _stop_waiting_for_room(self) -> None:
        self.services.loop.remove_writer(self._fd)

    def _on_writable(self) -> None:
        unsent = self._unsent
        assert unsent is not None, "a writer is registered only while bytes wait"
        try:
            sent = self._send_some(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._write_failed(error)
            return
        del unsent[:sent]
        if not unsent:
            self._stop_waiting_for_room()
            self._forget_unsent()
        elif self._stall_timer is not None:
            self._stall_timer.cancel()
            if len(unsent) > MAX_UNSENT_BYTES // 2:
                self._stall_timer = self.services.loop.call_later(STALL_SECONDS, self._stalled)
            else:
                self._stall_timer = None
                self.sink.relieved()

    def _write_failed(self, error: OSError) -> None:
        """The device takes nothing more. It may have said why, just before: that is read first, then it is closed."""
        self.sink.report(LogLevel.INFO, f"Unable to write to [{self.name}]: {error.strerror}")
        try:
            last_words = os.read(self._fd, READ_BYTES)
        except OSError:
            last_words = b""
        self.ended(None, last_words)

    def _stalled(self) -> None:
        self._stall_timer = None
        if self._unsent is not None:
            if len(self._unsent) > MAX_UNSENT_BYTES // 2:
                self._overwrite(len(self._unsent) - MAX_UNSENT_BYTES // 2)
            self.sink.relieved()

    def _overwrite(self, lost_bytes: int) -> None:
        assert self._unsent is not None
        del self._unsent[:lost_bytes]
        self.sink.report(LogLevel.NOTICE, f'Overwrote {lost_bytes} bytes for "{self.name}"')

    def _forget_unsent(self) -> None:
        self._unsent = None
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
            self.sink.relieved()
