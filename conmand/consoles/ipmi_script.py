"""Consoles of ipmitool device scripts, served without the script: an IPMI console that reads the script's arguments.

Settings, password file and arguments are read for each attempt, by the script's own code, so that a password that was
mended is found without restarting the daemon.
"""

from __future__ import annotations

from typing import Tuple

from conman.text import encode
from conmand.config.errors import OptionError
from conmand.config.model import ConsoleSettings, IpmiOptions, IpmiScriptDevice, LogLevel
from conmand.config.options import ipmi_options
from conmand.consoles.base import Services, Sink
from conmand.consoles.ipmi import IpmiConsole
from conmand.consoles.ipmi_engine import PORT, ConnectFailed


class IpmiScriptConsole(IpmiConsole):
    __slots__ = ("_warnings",)

    def __init__(self, settings: ConsoleSettings, sink: Sink, services: Services) -> None:
        super().__init__(settings, sink, services)
        self._warnings: Tuple[str, ...] = ()  # those that were given already

    async def _target(self) -> Tuple[str, IpmiOptions]:
        device = self._device
        assert isinstance(device, IpmiScriptDevice)
        # In a thread: the files may be on a server that does not answer.
        host, options, warnings = await self.services.loop.run_in_executor(None, read_target, device.argv)
        if warnings != self._warnings:
            self._warnings = warnings
            for warning in warnings:
                self.sink.report(LogLevel.WARNING, f"Console [{self.name}]: {warning}")
        return host, options


def read_target(argv: Tuple[str, ...]) -> Tuple[str, IpmiOptions, Tuple[str, ...]]:
    """The BMC, the login and any warnings that a script's command line leads to. Raises ``ConnectFailed``."""
    from conman_exec.arguments import UsageError, parse
    from conman_exec.ipmitool_exp import ARGUMENTS

    try:
        invocation = parse("ipmitool", ARGUMENTS, list(argv))
    except UsageError as error:
        raise ConnectFailed(error.text) from None
    target, settings = invocation.target, invocation.settings
    try:
        workarounds = ipmi_options(",".join(f"W:{flag}" for flag in settings.workarounds), IpmiOptions()).workarounds
    except OptionError as error:
        raise ConnectFailed(str(error)) from None
    suites = settings.cipher_suites
    options = IpmiOptions(
        username=encode(target.user) if target.user else None,
        password=target.password,
        kg=target.kg,
        cipher_suite=suites[0] if len(suites) == 1 else None,  # the library tries one; by default its own choice
        workarounds=workarounds,
    )
    host = target.host
    if settings.port != PORT:
        host = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    return host, options, invocation.warnings
