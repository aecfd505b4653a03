"""Unix-socket consoles (``dev="unix:PATH"``): the serial port of a virtual machine, mostly.

The directory is watched, so that a socket that appears is connected to at once; the timer is only the second line.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Optional

from conman.text import encode
from conmand.config.model import ConsoleSettings, LogLevel, UnixDevice
from conmand.consoles.base import DescriptorConsole, Services, Sink, State

APPEARED_RETRY_SECONDS = (0.02, 0.1, 0.3)
"""A socket file appears at bind(2), a moment before listen(2): refusals just after are retried this soon."""


class UnixConsole(DescriptorConsole):
    """Retries after 1 s, doubling to 60 s, from 1 s again after 60 s connected. Source: ConMan 0.3.1."""

    __slots__ = ("_complaint", "_quick_retries")

    retries = (1, 60, 60, 1)

    @property
    def _path(self) -> str:
        device = self.settings.device
        assert isinstance(device, UnixDevice)
        return device.path

    @property
    def label(self) -> str:
        return f'"{self._path}"'

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._complaint: Optional[str] = None
        self._quick_retries = len(APPEARED_RETRY_SECONDS)  # none are left until the socket appears

    def start(self) -> None:
        self.services.watcher.watch(self._path, self._appeared)
        super().start()

    def stop(self) -> None:
        self.services.watcher.unwatch(self._path, self._appeared)
        super().stop()

    def _appeared(self) -> None:
        # A live connection is kept: the file's new inode says nothing about the old one's peer (errata D9).
        if self.state is State.DOWN:
            self._quick_retries = 0
            self.retry_now()

    def _open(self) -> None:
        path = encode(self._path)
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                self._failed(LogLevel.NOTICE, f"device {self.label} is not a socket")
                return
        except OSError as error:
            self._failed(LogLevel.DEBUG, f"cannot stat device {self.label}: {error.strerror}")
            return
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._failed(LogLevel.INFO, f"cannot create socket: {error.strerror}")
            return
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            self._failed(LogLevel.INFO, f"cannot connect to device {self.label}: {error.strerror}")
            return
        self._complaint = None
        self._attach(sock.detach())
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}")

    def _failed(self, level: LogLevel, reason: str) -> None:
        if reason != self._complaint:  # said when it changes, not at every attempt
            self._complaint = reason
            self.sink.report(level, f"Console [{self.name}] {reason}")
        if self._quick_retries < len(APPEARED_RETRY_SECONDS):
            self._retry_in(APPEARED_RETRY_SECONDS[self._quick_retries])
            self._quick_retries += 1
            if self._backoff is not None:
                self._backoff.reset()
        else:
            self._went_down(was_up=False)

    def _lost(self) -> None:
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label}")
        self._went_down(was_up=True)
