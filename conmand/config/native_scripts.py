"""Which ipmitool device scripts the daemon replaces by sessions of its own: ``engine = freeipmi`` in conman-exec.conf.

Only the choice is made here, when the daemon starts. User and password are read for each attempt to connect, as the
script would read them (``conmand.consoles.ipmi_script``).
"""

from __future__ import annotations

import os.path
from dataclasses import replace
from typing import Callable, Dict, List, Optional, Tuple

from conmand.config.model import Configuration, ConsoleSettings, IpmiScriptDevice, ProcessDevice

SCRIPTS = ("ipmitool_exp.py", "ipmitool.exp")


def serve_natively(configuration: Configuration, complain: Callable[[str], None]) -> Configuration:
    """``configuration`` with the consoles of those scripts made IPMI consoles, where the settings want that.

    A settings file that cannot be used is complained of, once; the scripts that need it will say so too.
    """
    if not any(_is_script(settings) for settings in configuration.consoles):
        return configuration
    engines: Dict[Optional[str], str] = {}
    consoles: List[ConsoleSettings] = []
    for settings in configuration.consoles:
        device = settings.device
        if isinstance(device, ProcessDevice) and _is_script(settings):
            path, words = script_arguments(device.argv)
            if path not in engines:
                engines[path] = _engine(path, complain)
            if engines[path] == "freeipmi" and words:
                settings = replace(settings, device=IpmiScriptDevice(words[0], argv=device.argv))
        consoles.append(settings)
    return replace(configuration, consoles=tuple(consoles))


def script_arguments(argv: Tuple[str, ...]) -> Tuple[Optional[str], Tuple[str, ...]]:
    """The settings file that ``-c`` names, and the positional arguments."""
    if argv[1:2] == ("-c",) and len(argv) >= 3:
        return argv[2], argv[3:]
    return None, argv[1:]


def _is_script(settings: ConsoleSettings) -> bool:
    device = settings.device
    return isinstance(device, ProcessDevice) and os.path.basename(device.argv[0]) in SCRIPTS


def _engine(path: Optional[str], complain: Callable[[str], None]) -> str:
    try:
        from conman_exec.settings import SettingsError, load
    except ImportError:  # packaged apart, and not installed: these are the original's scripts
        return ""
    try:
        return str(load("ipmitool", path).engine)
    except SettingsError as error:
        complain(str(error))
        return ""
