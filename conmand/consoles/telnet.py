"""Telnet consoles (``dev="HOST:PORT"``): a port of a terminal server. The protocol is ``conmand.proto.telnet``."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from typing import Callable, Optional

from conman.address import joined
from conmand.config.model import ConsoleSettings, LogLevel, TelnetDevice
from conmand.consoles.base import DescriptorConsole, Services, Sink, State
from conmand.proto import telnet

_LEVELS = {
    telnet.OptionRefused: LogLevel.NOTICE,
    telnet.CommandIgnored: LogLevel.INFO,
    telnet.InvalidCommand: LogLevel.DEBUG,
}


class TelnetConsole(DescriptorConsole):
    """Retries after 15 s, doubling to 1800 s, at once after 15 s connected. Source: ConMan 0.3.1."""

    __slots__ = ("_core", "_attempt", "_complaint")

    retries = (15, 1800, 15, 0)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._core: Optional[telnet.TelnetCore] = None
        self._attempt: Optional[asyncio.Task[None]] = None
        self._complaint: Optional[str] = None

    @property
    def _device(self) -> TelnetDevice:
        device = self.settings.device
        assert isinstance(device, TelnetDevice)
        return device

    @property
    def label(self) -> str:
        return f"<{joined(self._device.host, self._device.port)}>"

    def stop(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        super().stop()

    def retry_now(self) -> None:
        if self.state is not State.UP and self._backoff is not None:
            self._backoff.reset()
        super().retry_now()

    def _adopt_device(self, settings: ConsoleSettings) -> bool:
        device = settings.device
        if not isinstance(device, TelnetDevice) or replace(self._device, keepalive=device.keepalive) != device:
            return False
        if self._fd >= 0:
            with socket.socket(fileno=os.dup(self._fd)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(device.keepalive))
        return True

    def _open(self) -> None:
        self.state = State.PENDING
        self._attempt = self.services.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            sock = await self._connected_socket()
        except OSError as error:
            self._attempt = None
            self._failed(error)
            return
        self._attempt = None
        self._complaint = None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if self._device.keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._core = telnet.TelnetCore()
        self._attach(sock.detach())
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}")
        self._write(self._core.start())

    async def _connected_socket(self) -> socket.socket:
        """Try the host's addresses in turn; raises the last one's error."""
        loop = self.services.loop
        failure: Optional[OSError] = None
        for family, address in await self.services.resolver.resolve(self._device.host, self._device.port):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as error:  # the machine has no such family
                failure = failure or error
                continue
            try:
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure or OSError("the host has no address")

    def _failed(self, error: OSError) -> None:
        # The original is silent about refused connections (errata D8); we say each new reason once.
        if isinstance(error, socket.gaierror):
            reason = f'Unable to resolve hostname "{self._device.host}" for [{self.name}]'
            level = LogLevel.WARNING
        else:
            # asyncio words the error "Connect call failed ..."; users know strerror(3)'s words.
            cause = os.strerror(error.errno) if error.errno else str(error)
            reason = f"Unable to connect to {self.label} for [{self.name}]: {cause}"
            level = LogLevel.INFO
        if reason != self._complaint:
            self._complaint = reason
            self.sink.report(level, reason)
        self._went_down(was_up=False)

    def _receiver(self) -> Callable[[bytes], None]:
        return self._strip

    def _strip(self, data: bytes) -> None:
        core = self._core
        assert core is not None, "bytes arrive only on a connection"
        text = core.receive(data)
        if text is not data:  # there was protocol in it
            output = core.take_output()
            if output:
                self._write(output)
            for event in core.take_events():
                self._tell(event)
        if text:
            self.sink.publish(text)

    def _tell(self, event: telnet.Event) -> None:
        self.sink.report(_LEVELS[type(event)], f"{event} from console [{self.name}]")

    def _lost(self) -> None:
        self._core = None
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label}")
        self._went_down(was_up=True)

    def send(self, data: bytes) -> None:
        if self._core is not None and self.state is State.UP:
            self._write(telnet.escape(data))

    def send_break(self) -> None:
        if self.state is State.UP:
            self._write(telnet.BREAK)
