"""What can be wrong with a configuration, as exceptions inside this package.

``str()`` is the message alone; ``grammar`` adds file and line and turns each into a :class:`~.model.Problem`, so that
none of these leaves ``parse_configuration``. That a file defines no console at all is for its caller to judge.
"""

from __future__ import annotations


class ConfigurationError(Exception):
    """One directive cannot be used; ``str()`` says why, in ConMan's words where ConMan has some."""


class OptionError(ConfigurationError):
    """``logopts``, ``seropts``, ``ipmiopts`` or ``testopts`` are wrong; never quotes what may be a password."""


class DeviceError(ConfigurationError):
    """A ``dev`` string is wrong, or its device cannot be used by a second console."""


class ExpansionTooLong(ConfigurationError):
    """Conversion specifiers expand to more than ``specifiers.MAX_EXPANSION_BYTES``; callers word the message."""


def no_consoles_defined(path: str) -> str:
    """The message with which a daemon refuses a configuration that has no usable console."""
    return f'Configuration "{path}" has no consoles defined'
