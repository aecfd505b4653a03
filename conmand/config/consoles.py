"""The consoles that a configuration has defined so far, and what must not occur twice among them.

Hard here: ConMan compares each new console with every earlier one, and a site with thousands waits for that. Names,
devices and logs are indexed instead, and the index remembers the order, which decides what is reported.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, Optional, Tuple

from conmand.config.errors import ConfigurationError, DeviceError, ExpansionTooLong
from conmand.config.model import ConsoleSettings, Device, IpmiDevice, SerialDevice, UnixDevice
from conmand.config.specifiers import device_text, expand


class ConsoleList:
    """The consoles so far, in order, with what must not occur twice among them."""

    def __init__(self) -> None:
        self.in_order: List[ConsoleSettings] = []
        self._numbers: Dict[str, int] = {}  # console name -> its place in the order
        self._devices: Dict[Tuple[type, str], int] = {}
        self._patterns: Dict[str, str] = {}  # log name as written -> the console that owns it
        self._expansions: Dict[str, str] = {}
        self._now = time.localtime()
        self._epoch_seconds = int(time.time())

    def add(self, console: ConsoleSettings) -> None:
        number = len(self.in_order)
        self.in_order.append(console)
        self._numbers[console.name] = number
        unique = _unique_device(console.device)
        if unique:
            self._devices[unique] = number

    def refuse_duplicate(self, name: str, device: Device) -> None:
        """Raises for the earliest console with this name or device; for its name, if it has both."""
        none = len(self.in_order)
        unique = _unique_device(device)
        same_name = self._numbers.get(name, none)
        same_device = self._devices.get(unique, none) if unique else none
        if unique and same_device < same_name:
            what = "hostname" if isinstance(device, IpmiDevice) else "device"
            raise DeviceError(f'console [{name}] specifies duplicate {what} "{unique[1]}"')
        if same_name < none:
            raise DeviceError(f"console [{name}] specifies duplicate console name")

    def claim_log(self, log: str, name: str, device: Device) -> str:
        """Records that ``name`` logs to ``log``; returns what to warn of, or an empty string.

        Raises where ConMan refuses: the log, expanded now, is one already given in just these bytes. ConMan does not
        notice names that are the same only once both are expanded. Both consoles are logged, as ever; mend: we warn.
        """
        try:
            expanded = expand(
                log,
                now=self._now,
                epoch_seconds=self._epoch_seconds,
                pid=os.getpid(),
                name=name,
                device=device_text(device),
            )
        except ExpansionTooLong:  # said when the log is opened, which may be at a time with shorter names
            expanded = log
        if expanded in self._patterns:
            raise ConfigurationError(f'console [{self._patterns[expanded]}] already logging to "{expanded}"')
        self._patterns.setdefault(log, name)
        owner = self._expansions.setdefault(expanded, name)
        return "" if owner == name else f'console [{name}] shares log "{expanded}" with console [{owner}]'


def _unique_device(device: Device) -> Optional[Tuple[type, str]]:
    """What no two consoles of a type may share; telnet hosts and commands may be used by many."""
    if isinstance(device, (SerialDevice, UnixDevice)):
        return type(device), device.path
    if isinstance(device, IpmiDevice):
        return type(device), device.host
    return None
