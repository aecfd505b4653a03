"""What is ours to set: ``/etc/conmand-py.conf``. Without the file everything is as with the original's daemon.

Nothing of this may ever stand in ``conman.conf``, which must stay readable by the original.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Tuple, Union

DEFAULT_PATH = "/etc/conmand-py.conf"

AUTO = "auto"
"""As many workers as the site needs and the machine has cores for."""

FIELDS = {"size": "size_bytes", "age": "age_seconds", "quota": "quota_bytes"}
"""Settings whose field has another name, in which the unit is."""


@dataclass(frozen=True)
class UnixSocketSettings:
    """A socket in the file system, whose clients' user names the kernel vouches for."""

    path: str
    mode: int = 0o666  # anybody may ask, as on the TCP port; the name is known for certain
    group: Optional[str] = None


@dataclass(frozen=True)
class ListenSettings:
    """Where clients are accepted.

    ``addresses`` are literal IPv4 or IPv6 addresses, each with the configuration's port or one of its own (``None``:
    the configuration's). Empty means what ``server loopback`` says, both address families. Without ``tcp`` there is no
    port at all, and ``unix_socket`` or the service manager's sockets are the only way in.
    """

    tcp: bool = True
    addresses: Tuple[Tuple[str, Optional[int]], ...] = ()
    unix_socket: Optional[UnixSocketSettings] = None


@dataclass(frozen=True)
class RotationSettings:
    """Rotation of console logs by the daemon itself; off while ``size_bytes`` and ``age_seconds`` are ``None``."""

    size_bytes: Optional[int] = None
    age_seconds: Optional[int] = None
    keep: int = 7
    compress: str = "gzip"  # "none", "gzip" or "zstd"
    quota_bytes: Optional[int] = None  # all rotated files of the daemon together; the oldest go first
    roll_over: bool = False  # names with date specifiers change by themselves when the date does

    @property
    def is_on(self) -> bool:
        return self.size_bytes is not None or self.age_seconds is not None


@dataclass(frozen=True)
class ScriptSettings:
    """Our own device scripts inside the daemon."""

    in_daemon: bool = True
    logins_at_once: int = 50


@dataclass(frozen=True)
class DaemonSettings:
    """The whole file. ``path`` is ``None`` if there is none."""

    path: Optional[str] = None
    workers: Union[int, str] = 1
    listen: ListenSettings = field(default_factory=ListenSettings)
    rotation: RotationSettings = field(default_factory=RotationSettings)
    scripts: ScriptSettings = field(default_factory=ScriptSettings)
