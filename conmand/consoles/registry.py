"""Which class serves which kind of device.

A new kind is one file, one line here, one row in ``conmand.config.devices``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Type

from conmand.config.model import (
    ConsoleSettings,
    Device,
    IpmiDevice,
    IpmiScriptDevice,
    ProcessDevice,
    ScriptDevice,
    SerialDevice,
    TelnetDevice,
    TestDevice,
    UnixDevice,
)
from conmand.consoles.base import Console, Services, Sink

# By name, so that a kind's own imports (pyserial) are loaded only where a configuration has such a console.
_CLASSES = {
    UnixDevice: "unixsock:UnixConsole",
    TelnetDevice: "telnet:TelnetConsole",
    SerialDevice: "serialport:SerialConsole",
    ProcessDevice: "process:ProcessConsole",
    ScriptDevice: "script:ScriptConsole",
    IpmiDevice: "ipmi:IpmiConsole",
    IpmiScriptDevice: "ipmi_script:IpmiScriptConsole",
    TestDevice: "testconsole:TestConsole",
}
_loaded: dict[type, Type[Console]] = {}


def console_class(device: Device) -> Type[Console]:
    kind = type(device)
    if kind not in _loaded:
        module, _, name = _CLASSES[kind].partition(":")
        _loaded[kind] = getattr(import_module(f"conmand.consoles.{module}"), name)
    return _loaded[kind]


def create_console(settings: ConsoleSettings, sink: Sink, services: Services) -> Console:
    """The console that ``settings`` describe; it does nothing before its ``start``."""
    return console_class(settings.device)(settings, sink, services)
