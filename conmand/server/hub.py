"""Who reads from whom: one console's device, its log and its clients brought together.

What a device prints goes to the log and to every reader; what a writer types goes to the device; notices go to all.
Source of the order of messages: ConMan 0.3.1 (PROTOCOL, "becoming a writer").
"""

from __future__ import annotations

import time
from typing import Callable, Optional, Protocol, Tuple

from conmand.config.model import ConsoleSettings, LogLevel
from conmand.consoles.base import Services, State
from conmand.consoles.registry import create_console
from conmand.server import notices
from conmand.server.daemonlog import DaemonLog
from conmand.server.logs.console_log import ConsoleLog


class Participant(notices.Person, Protocol):
    """A client as a console sees it."""

    force: bool

    @property
    def mode(self) -> str: ...

    @property
    def idle_seconds(self) -> float: ...

    @property
    def has_left(self) -> bool: ...

    def deliver(self, data: bytes) -> None: ...

    def inform(self, block: bytes) -> None: ...

    def hold_input(self, console: SharedConsole) -> None: ...

    def release_input(self, console: SharedConsole) -> None: ...

    def robbed_of(self, console: SharedConsole) -> None: ...


class SharedConsole:
    """One console as the daemon has it. It is the ``Sink`` of its device.

    ``readers`` and ``writers`` are tuples, replaced and never changed, so that a client may leave while bytes are being
    handed out. A R/W client is in both, a R/O client reads, a broadcast client writes.
    """

    __slots__ = ("name", "device", "log", "readers", "writers", "_holders", "_daemon_log")

    def __init__(
        self, settings: ConsoleSettings, services: Services, daemon_log: DaemonLog, log: Optional[ConsoleLog]
    ) -> None:
        self.name = settings.name
        self.log = log
        self.readers: Tuple[Participant, ...] = ()
        self.writers: Tuple[Participant, ...] = ()  # in the order they attached
        self._holders: Tuple[Participant, ...] = ()  # readers that the device waits for
        self._daemon_log = daemon_log
        self.device = create_console(settings, self, services)

    # From the device.

    @property
    def record(self) -> Callable[[bytes], None]:
        return _discard if self.log is None else self.log.write

    def publish(self, data: bytes) -> None:
        if self.log is not None:
            self.log.write(data)
        for client in self.readers:
            client.deliver(data)

    def announce(self, level: LogLevel, text: str) -> None:
        self._daemon_log.write(level, text)
        self.notify(text)

    def report(self, level: LogLevel, text: str) -> None:
        self._daemon_log.write(level, text)

    def congested(self) -> None:
        for client in self.writers:
            client.hold_input(self)

    def relieved(self) -> None:
        for client in self.writers:
            client.release_input(self)

    # To everything attached.

    def notify(self, text: str) -> None:
        """A ``<ConMan>`` line to the log and to each attached client that is not quiet."""
        if self.log is not None:
            self.log.notice(text)
        if self.readers or self.writers:
            block = notices.framed(text)
            for client in self.readers:
                client.inform(block)
            for client in self.writers:
                if client not in self.readers:
                    client.inform(block)

    # From the configuration, when it is read again.

    def reconfigure(self, settings: ConsoleSettings, services: Services) -> bool:
        """Go on with ``settings``. Returns whether that took another device, which is to be started then.

        Clients stay, and so does the log, which is looked after elsewhere.
        """
        if self.device.adopt(settings):
            return False
        if self.is_up:
            self.announce(LogLevel.NOTICE, notices.reconfigured(self.name, self.device.label))
        self.device.stop()
        self.device = create_console(settings, self, services)
        self._note_attendance()
        if self._holders:
            self.device.hold_output()
        return True

    def change_log(self, log: Optional[ConsoleLog]) -> None:
        """Log to ``log`` from now on; what was the log before is the caller's."""
        self.log = log
        self.device.sink_changed()

    def remove(self) -> None:
        """There is no such console any more: say so to all that are attached, end their sessions, close the device."""
        text = notices.removed(self.name)
        self.report(LogLevel.NOTICE, text)
        if self.log is not None:
            self.log.notice(text)
        attached = [*self.readers, *(writer for writer in self.writers if writer not in self.readers)]
        self.readers = self.writers = ()  # so that nobody's leaving is told to the others, who leave as well
        self.device.stop()
        for client in attached:
            client.deliver(notices.framed(text))  # also to those who want no notices: their session ends
            client.robbed_of(self)

    # From clients.

    def add_reader(self, client: Participant) -> None:
        self.readers += (client,)
        self._note_attendance()

    def remove_reader(self, client: Participant) -> None:
        self.readers = tuple(reader for reader in self.readers if reader is not client)
        self._note_attendance()

    def add_writer(self, client: Participant) -> None:
        """Make ``client`` a writer: tell everybody, and if it forces its way in, detach the writers it found."""
        now = time.time()
        others = self.writers
        stolen = client.force and bool(others)
        self.notify(notices.arrived(self.name, client, stolen=stolen, now=now))
        for other in others:
            client.inform(notices.framed(notices.met(self.name, other, stolen=stolen, now=now)))
        if stolen:
            for victim in others:
                victim.robbed_of(self)
        if client.has_left:  # its connection failed on the words above; it must not stay as a writer for ever
            self.notify(notices.departed(self.name, client, now=now))
            return
        self.writers += (client,)

    def remove_writer(self, client: Participant) -> None:
        """``client`` no longer writes; tell whoever is still attached. Nothing is said of one that did not write."""
        if client not in self.writers:
            return
        self.writers = tuple(writer for writer in self.writers if writer is not client)
        self.notify(notices.departed(self.name, client, now=time.time()))

    def hold_device(self, client: Participant) -> None:
        """``client`` is behind: read no more from the device until it lets go. It has to, within a time."""
        self._holders += (client,)
        self.device.hold_output()

    def release_device(self, client: Participant) -> None:
        self._holders = tuple(holder for holder in self._holders if holder is not client)
        if not self._holders:
            self.device.release_output()

    def _note_attendance(self) -> None:
        self.device.set_attended(bool(self.readers))

    def forget(self, client: Participant) -> None:
        """``client`` is closed because the daemon stops: no word of it, neither to others nor in the log."""
        self.readers = tuple(reader for reader in self.readers if reader is not client)
        self.writers = tuple(writer for writer in self.writers if writer is not client)

    def greet(self, client: Participant) -> None:
        """A client has attached: if the console is down tell it so, and try at once to bring the console up."""
        text = self.device.client_attached()
        if text is not None:
            client.inform(notices.framed(text))
            self.device.retry_now()

    @property
    def is_up(self) -> bool:
        return self.device.state is State.UP


def _discard(_data: bytes) -> None:
    """A console without a log is still read, so that its device never waits."""
