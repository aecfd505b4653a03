"""Device scripts: programs that log in to a device and join its console to standard input and output.

Each ``*_exp`` module is one of them. This package file stays nearly empty because every console's relay process
imports it: what it imports is paid for once per console.
"""

from __future__ import annotations

# The original's name of each script, and our program that takes the same arguments. serial_exp.py has no original.
PROGRAMS = {
    "cyclades-ssh.exp": "cyclades_ssh_exp.py",
    "cyclades-telnet.exp": "cyclades_telnet_exp.py",
    "hp-ilo.exp": "hp_ilo_exp.py",
    "hp-lo100.exp": "hp_lo100_exp.py",
    "ibm-bc.exp": "ibm_bc_exp.py",
    "ipmiconsole.exp": "ipmiconsole_exp.py",
    "ipmitool.exp": "ipmitool_exp.py",
    "ssh.exp": "ssh_exp.py",
    "sun-elom.exp": "sun_elom_exp.py",
    "sun-ilom.exp": "sun_ilom_exp.py",
    "sun-v20z-v40z.exp": "sun_v20z_v40z_exp.py",
}


def script_directory() -> str | None:
    """The directory that holds the installed ``*_exp.py`` programs, or None where they are not installed.

    First the environment's ``share/conman/exec``, then the commands beside the interpreter: both name the same
    programs, and either serves as one more directory of ``execpath``.
    """
    import os
    import site
    import sys
    import sysconfig

    bases = [sysconfig.get_path("data"), sys.prefix]
    if site.ENABLE_USER_SITE:
        bases.append(site.getuserbase())
    directories = [os.path.join(base, "share", "conman", "exec") for base in bases]
    directories += [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]
    for directory in directories:
        if os.access(os.path.join(directory, "ipmitool_exp.py"), os.X_OK):
            return directory
    return None
