"""What the files may say and is probably not meant: told at the start, by ``--check``, and after a reload if it is new.

Pure. Nothing of this keeps anything from working as it is written; what does is an error.
"""

from __future__ import annotations

from typing import Optional, Tuple

from conmand.config.model import Configuration
from conmand.config.secrecy import exposed_configuration
from conmand.config.settings import DaemonSettings, RotationSettings

_ROTATION_DEFAULTS = RotationSettings()


def remarks(configuration: Configuration, mode: int, settings: DaemonSettings) -> Tuple[str, ...]:
    """``mode`` is the configuration file's. Device scripts must still be programs: see ``native_scripts``."""
    found = (exposed_configuration(configuration, mode), _idle_rotation(settings))
    return tuple(text for text in found if text is not None)


def _idle_rotation(settings: DaemonSettings) -> Optional[str]:
    """Somebody who sets how many files are kept may think that there will be some."""
    rotation = settings.rotation
    values = {"keep": rotation.keep, "compress": rotation.compress, "quota": rotation.quota_bytes}
    defaults = (_ROTATION_DEFAULTS.keep, _ROTATION_DEFAULTS.compress, _ROTATION_DEFAULTS.quota_bytes)
    idle = [key for (key, value), default in zip(values.items(), defaults) if value != default]
    if rotation.is_on or not idle:
        return None
    return f"SETTINGS[{settings.path}]: [rotation] {', '.join(idle)}: without size or age no log is rotated"
