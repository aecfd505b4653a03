"""Whether a configuration that everybody may read holds passwords. Pure; the original does not look.

Many sites have a ``conman.conf`` of mode 0644, and may: it is warned of only if there is something to hide. The
password file is looked at by those who read it (``conman_exec.pswd``).
"""

from __future__ import annotations

import os.path
import stat
from typing import List, Optional

from conmand.config.model import Configuration, Device, IpmiDevice, ProcessDevice
from conmand.config.native_scripts import script_arguments

_PASSWORD_ARGUMENT = {
    "ipmitool": 3,
    "ipmiconsole": 3,
    "sun-ilom": 3,
    "sun-elom": 3,
    "sun-v20z-v40z": 3,
    "ssh": 4,
    "cyclades-ssh": 4,
    "cyclades-telnet": 4,
    "hp-ilo": 4,
    "hp-lo100": 4,
    "ibm-bc": 4,
}
"""Where device scripts, the original's and ours, take a password from their command line. Source: their usage."""


def exposed_configuration(configuration: Configuration, mode: int) -> Optional[str]:
    """A warning if the configuration file, whose permissions are ``mode``, shows passwords to everybody."""
    if not mode & stat.S_IROTH:
        return None
    names = consoles_with_secrets(configuration)
    if not names:
        return None
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f'Everybody can read the passwords in "{configuration.path}" (console [{names[0]}]{others}); '
        f"its mode is {stat.S_IMODE(mode):04o} and should be {stat.S_IMODE(mode) & ~0o007:04o}"
    )


def consoles_with_secrets(configuration: Configuration) -> List[str]:
    """Names of the consoles whose password or K_g stands in the configuration."""
    return [console.name for console in configuration.consoles if _has_secret(console.device)]


def _has_secret(device: Device) -> bool:
    if isinstance(device, IpmiDevice):
        return device.options.password is not None or device.options.kg is not None
    if not isinstance(device, ProcessDevice):
        return False
    name = os.path.basename(device.argv[0])
    for ending in ("_exp.py", ".exp"):
        if name.endswith(ending):
            position = _PASSWORD_ARGUMENT.get(name[: -len(ending)].replace("_", "-"))
            _, arguments = script_arguments(device.argv)
            return position is not None and len(arguments) >= position and bool(arguments[position - 1])
    return False
