"""IPMI consoles (``dev="ipmi:HOST"``): a BMC's serial-over-LAN session, through ``ipmi_engine``. No process, no relay.

Their breaks and their keys go different ways to the library: a break may overtake keys that were typed just before it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Optional, Tuple, Union

from conmand.config.model import ConsoleSettings, IpmiDevice, IpmiOptions, LogLevel
from conmand.consoles.base import DescriptorConsole, Services, Sink, State
from conmand.consoles.ipmi_engine import ConnectFailed, EngineUnavailable, NoContext, SolSession
from conmand.consoles.turns import Turn
from conmand.proto.backoff import Backoff

JITTER = 0.1
"""Each delay is longer by up to this part of it, at random: consoles that failed together do not return together."""

RELAPSES = (1, 60, 60, 0)
"""Delays before a session that was lost is opened again: at once after 60 s or more, else 1 s, doubling to 60 s. The
original never waits, so that two daemons that steal a session from each other do so as fast as the network allows."""

BURST_BYTES = 4096
BYTES_PER_SECOND = 960.0
PACE_SECONDS = 0.1
"""The library takes what is typed faster than its BMC, and gives the session up when some 8 KB wait (1.6.10). It
does not tell how much does, so more than a burst goes at the speed of a line of 9600 bit/s."""


class IpmiConsole(DescriptorConsole):
    """Opens a lost session again at once; fails to after 60 s, doubling to 1800 s. Source: ConMan 0.3.1."""

    __slots__ = (
        "_session",
        "_attempt",
        "_turn",
        "_is_wanted",
        "_relapses",
        "_lasted_seconds",
        "_end_reason",
        "_credit",
        "_paid_at",
        "_pace",
    )

    retries = (60, 1800, 60, 60)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._session: Optional[SolSession] = None
        self._attempt: Optional[asyncio.Task[None]] = None
        self._turn: Optional[Turn] = None
        self._is_wanted = False  # somebody came during the attempt, or brought it about
        self._relapses = Backoff(*RELAPSES)
        self._lasted_seconds = 0.0  # of the session that was lost last, until another attempt has failed
        self._end_reason: Optional[str] = None
        self._credit = float(BURST_BYTES)  # what may be typed at once
        self._paid_at = 0.0  # by the loop's clock
        self._pace: Optional[asyncio.TimerHandle] = None

    @property
    def _device(self) -> IpmiDevice:
        device = self.settings.device
        assert isinstance(device, IpmiDevice)
        return device

    @property
    def label(self) -> str:
        return f"<{self._device.host}>"

    def stop(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        super().stop()

    def retry_now(self) -> None:
        self._is_wanted = True
        if self._turn is not None:
            self._turn.hurry()
        super().retry_now()

    def _open(self) -> None:
        self.state = State.PENDING
        self._attempt = self.services.loop.create_task(self._connect())

    async def _connect(self) -> None:
        engine = self.services.ipmi
        assert engine is not None, "there is one where a configuration has IPMI consoles"
        try:
            host, options = await self._target()
            self._turn = engine.turn()
            if self._attended or self._is_wanted:
                self._turn.hurry()
            session = await engine.connect(host, options, self._turn)
        except ConnectFailed as failure:
            self._attempt = None
            self._failed(failure)
            return
        finally:
            self._turn, self._is_wanted = None, False
        self._attempt = None
        self._session = session
        self._attach(session.fd)
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] connected to {self.label}")

    async def _target(self) -> Tuple[str, IpmiOptions]:
        """The BMC and how to log in to it. Raises ``ConnectFailed``."""
        return self._device.host, self._device.options

    def _failed(self, failure: ConnectFailed) -> None:
        reason = f": {failure}" if str(failure) else ""
        complaint = f"Unable to connect to {self.label} via IPMI for [{self.name}]{reason}"
        if isinstance(failure, EngineUnavailable):
            # No later attempt can succeed. Whoever attaches is told again.
            self.state = State.DOWN
            self.sink.announce(LogLevel.INFO, complaint)
            return
        if isinstance(failure, NoContext):
            complaint = f"Unable to create IPMI context for [{self.name}]{reason}"
        self.sink.report(LogLevel.INFO, complaint)
        self.state = State.DOWN
        if self._backoff is None:
            self._backoff = Backoff(*self.retries)
        self._retry_in(self._backoff.next_delay(self._lasted_seconds))
        self._lasted_seconds = 0.0

    def _close(self, fd: int) -> None:
        session, self._session = self._session, None
        assert session is not None and session.fd == fd, "the descriptor is the session's"
        self._end_reason = session.close()

    def _lost(self) -> None:
        if self._end_reason is not None:
            # The original does not say why.
            self.sink.report(
                LogLevel.INFO, f"IPMI session with {self.label} for [{self.name}] ended: {self._end_reason}"
            )
        self.sink.announce(LogLevel.INFO, f"Console [{self.name}] disconnected from {self.label}")
        self.state = State.DOWN
        self.down_since = self.services.loop.time()
        self._lasted_seconds = self.down_since - self.up_since
        self._retry_in(self._relapses.next_delay(self._lasted_seconds))

    def _retry_in(self, delay_seconds: float) -> None:
        super()._retry_in(delay_seconds * (1 + random.uniform(0, JITTER)))

    # The library has no room to speak of in either direction, and ends the session rather than let anybody wait.

    def hold_output(self) -> None:
        """It cannot be made to wait."""

    def release_output(self) -> None:
        """It was never on hold."""

    def _send_some(self, data: Union[bytes, bytearray]) -> int:
        now = self.services.loop.time()
        self._credit = min(self._credit + (now - self._paid_at) * BYTES_PER_SECOND, BURST_BYTES)
        self._paid_at = now
        sent = super()._send_some(data[: int(self._credit)])
        self._credit -= sent
        return sent

    def _wait_for_room(self) -> None:
        self._pace = self.services.loop.call_later(PACE_SECONDS, self._on_writable)

    def _stop_waiting_for_room(self) -> None:
        if self._pace is not None:
            self._pace.cancel()
            self._pace = None

    def _on_writable(self) -> None:
        super()._on_writable()
        if self._unsent is not None:
            self._wait_for_room()

    def send_break(self) -> None:
        if self._session is not None and not self._session.send_break():
            self.sink.report(LogLevel.WARNING, f"Unable to send serial-break to console [{self.name}]")
