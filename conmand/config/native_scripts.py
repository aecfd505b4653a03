"""Which device scripts the daemon does not start, but serves itself: those that are ours.

Those of ipmitool become IPMI consoles where conman-exec.conf says ``engine = freeipmi`` (``consoles.ipmi_script``); of
all others the dialogue runs in the daemon (``consoles.script``), unless our own settings say ``in_daemon = no``.

Only the choice is made here, when the daemon starts. User and password are read for each login, as the script would
read them.
"""

from __future__ import annotations

import os.path
from dataclasses import replace
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from conmand.config.model import Configuration, ConsoleSettings, IpmiScriptDevice, ProcessDevice, ScriptDevice
from conmand.config.settings import ScriptSettings

SCRIPTS = ("ipmitool_exp.py", "ipmitool.exp")

_DEFAULTS = ScriptSettings()


def serve_natively(
    configuration: Configuration, complain: Callable[[str], None], scripts: ScriptSettings = _DEFAULTS
) -> Configuration:
    """``configuration`` with the consoles of our device scripts made such that the daemon serves them itself.

    A settings file that cannot be used is complained of, once; the scripts that need it will say so too.
    """
    configuration = _with_ipmi_consoles(configuration, complain)
    return _with_dialogues(configuration, complain) if scripts.in_daemon else configuration


def _with_ipmi_consoles(configuration: Configuration, complain: Callable[[str], None]) -> Configuration:
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


def _with_dialogues(configuration: Configuration, complain: Callable[[str], None]) -> Configuration:
    programs = {
        settings.device.argv[0]
        for settings in configuration.consoles
        if isinstance(settings.device, ProcessDevice) and not settings.device.pty
    }
    scripts = _scripts(programs)
    if not scripts:
        return configuration
    try:
        import pexpect._async  # noqa: F401  # not every release has one for every Python
    except Exception as error:
        complain(f"Unable to run device scripts inside the daemon, so they run as programs: pexpect: {error}")
        return configuration
    consoles: List[ConsoleSettings] = []
    for settings in configuration.consoles:
        device = settings.device
        if isinstance(device, ProcessDevice) and not device.pty and device.argv[0] in scripts:
            settings = replace(settings, device=ScriptDevice(device.argv, script=scripts[device.argv[0]]))
        consoles.append(settings)
    return replace(configuration, consoles=tuple(consoles))


def _scripts(programs: Iterable[str]) -> Dict[str, str]:
    """Our script that each of the programs is, of those that are one."""
    candidates = [program for program in programs if _may_be_script(program)]
    if not candidates:
        return {}
    try:
        from conman_exec.programs import script_of
    except ImportError:  # packaged apart, and not installed: these are the original's scripts
        return {}
    found = {program: script_of(program) for program in candidates}
    return {program: script for program, script in found.items() if script is not None}


def _may_be_script(program: str) -> bool:
    """Other programs are not looked into; their file may be large, or on a server that does not answer."""
    return program.endswith(("_exp.py", ".exp"))


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
        complain(f"{error}; without it ipmitool is the engine")
        return ""
