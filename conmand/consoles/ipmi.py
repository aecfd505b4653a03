"""IPMI consoles (``dev="ipmi:HOST"``). Their configuration is complete; connecting them is not built yet.

Until then such a console stays down and says why, at start and to each client, and everything else runs. Device scripts
(``ipmitool_exp.py``) reach the same BMCs today.
"""

from __future__ import annotations

from conmand.config.model import IpmiDevice, LogLevel
from conmand.consoles.base import Console, State

REASON = "native IPMI consoles are not supported yet; use the ipmitool device script"


class IpmiConsole(Console):
    """Always down."""

    __slots__ = ()

    @property
    def label(self) -> str:
        device = self.settings.device
        assert isinstance(device, IpmiDevice)
        return f"<{device.host}>"

    def _open(self) -> None:
        self.state = State.DOWN
        self.sink.announce(LogLevel.INFO, f"Unable to connect to {self.label} via IPMI for [{self.name}]: {REASON}")

    def _shut(self) -> None:
        pass
