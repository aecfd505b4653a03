"""What differs between two configurations, and what that means for a daemon that runs with the first: for each console
what must be done, for each server setting whether it counts at once or only from the next start on.

Pure. A console is known by its name: one that is renamed is removed and added. Lines that moved, and the order of
definition, are no change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Callable, Iterable, List, Mapping, Optional, Sequence, Tuple

from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiDevice,
    Problem,
    SerialDevice,
    TelnetDevice,
    TestDevice,
)
from conmand.config.settings import FIELDS, DaemonSettings, UnixSocketSettings

_SERVER_WORDS = {"timestamp_minutes": "timestamp"}
"""Keys of ``server`` lines whose field has another name."""

_KEYS = {field: key for key, field in FIELDS.items()}

AT_NEXT_START = frozenset(("coredump", "coredumpdir", "loopback", "nofile", "pidfile", "port"))
"""Server settings that a running daemon cannot change: its limits, its port, and where it is found."""

_OPTION_WORDS = {SerialDevice: "seropts", IpmiDevice: "ipmiopts", TestDevice: "testopts"}

SECTIONS_AT_NEXT_START = frozenset(("daemon", "listen"))
"""The same of our own settings file."""


_DEFAULTS = DaemonSettings()


@dataclass(frozen=True)
class ConsoleChange:
    """A console of both configurations that is not the same in both."""

    before: ConsoleSettings
    after: ConsoleSettings

    @property
    def name(self) -> str:
        return self.after.name

    @property
    def device(self) -> bool:
        """The device, or how it is to be talked to."""
        return self.before.device != self.after.device

    @property
    def log(self) -> bool:
        """Whether, or under which name, it is logged."""
        if self.before.log is None and self.after.log is None:
            return False
        return self.before.log != self.after.log or (self.device and _names_device(self.after.log))

    @property
    def log_options(self) -> bool:
        return self.before.log_options != self.after.log_options

    @property
    def words(self) -> Tuple[str, ...]:
        """The keys of the console line that changed, never their values."""
        words = [_device_word(self.before.device, self.after.device)] if self.device else []
        if self.before.log != self.after.log:
            words.append("log")
        if self.log_options:
            words.append("logopts")
        return tuple(words)


def _device_word(before: Device, after: Device) -> str:
    """The key that makes the devices differ."""
    if type(before) is type(after):
        if isinstance(before, TelnetDevice) and isinstance(after, TelnetDevice):
            return "keepalive" if (before.host, before.port) == (after.host, after.port) else "dev"
        option_word = _OPTION_WORDS.get(type(before))
        if option_word is not None and _address(before) == _address(after):
            return option_word
    return "dev"


def _address(device: Device) -> Optional[str]:
    if isinstance(device, SerialDevice):
        return device.path
    return device.host if isinstance(device, (IpmiDevice, TelnetDevice)) else None


def _names_device(log: Optional[str]) -> bool:
    return log is not None and "%D" in log


@dataclass(frozen=True)
class ConsoleChanges:
    """What to do with the consoles. Can be pickled, and divided among processes by name."""

    added: Tuple[ConsoleSettings, ...] = ()
    removed: Tuple[str, ...] = ()
    changed: Tuple[ConsoleChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def only(self, is_wanted: Callable[[str], bool]) -> ConsoleChanges:
        """The part for the consoles whose names are wanted."""
        return ConsoleChanges(
            tuple(settings for settings in self.added if is_wanted(settings.name)),
            tuple(name for name in self.removed if is_wanted(name)),
            tuple(change for change in self.changed if is_wanted(change.name)),
        )


def console_changes(before: Iterable[ConsoleSettings], after: Iterable[ConsoleSettings]) -> ConsoleChanges:
    """In the order of definition: of the new consoles, and for the removed ones of the old."""
    old = {settings.name: settings for settings in before}
    added: List[ConsoleSettings] = []
    changed: List[ConsoleChange] = []
    for settings in after:
        known = old.pop(settings.name, None)
        if known is None:
            added.append(settings)
        elif not _same(known, settings):
            changed.append(ConsoleChange(known, settings))
    return ConsoleChanges(tuple(added), tuple(old), tuple(changed))


def _same(before: ConsoleSettings, after: ConsoleSettings) -> bool:
    """All but the line, and options of a log that there is not."""
    return (
        before.device == after.device
        and before.log == after.log
        and (before.log_options == after.log_options or after.log is None)
    )


@dataclass(frozen=True)
class Changes:
    """All that differs: consoles, and by their names in the files, settings that count at once or later."""

    consoles: ConsoleChanges = ConsoleChanges()
    applied: Tuple[str, ...] = ()
    at_next_start: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.consoles or self.applied or self.at_next_start)

    @property
    def summary(self) -> str:
        """In one line, what was done: ``2 consoles added, 1 removed; server timestamp changed``. Empty if nothing."""
        counts = (
            ("added", len(self.consoles.added)),
            ("removed", len(self.consoles.removed)),
            ("changed", len(self.consoles.changed)),
        )
        parts: List[str] = []
        for word, count in counts:
            if count:
                noun = "" if parts else f" console{'' if count == 1 else 's'}"
                parts.append(f"{count}{noun} {word}")
        consoles = ", ".join(parts)
        settings = f"{', '.join(self.applied)} changed" if self.applied else ""
        return "; ".join(part for part in (consoles, settings) if part)

    @property
    def warnings(self) -> Tuple[str, ...]:
        return tuple(f"{name} has changed: this takes effect at the next start" for name in self.at_next_start)

    @property
    def lines(self) -> Tuple[str, ...]:
        """For whoever asks what changed, a line each."""
        return (
            *(f"Added console [{settings.name}]" for settings in self.consoles.added),
            *(f"Removed console [{name}]" for name in self.consoles.removed),
            *(f"Changed console [{change.name}]: {', '.join(change.words)}" for change in self.consoles.changed),
            *(f"Changed {name}" for name in self.applied),
            *(f"Changed {name}: takes effect at the next start" for name in self.at_next_start),
        )


def changes(
    before: Configuration,
    after: Configuration,
    settings_before: DaemonSettings = _DEFAULTS,
    settings_after: DaemonSettings = _DEFAULTS,
) -> Changes:
    """What differs between the configurations ``before``, which runs, and ``after``, and between our own settings."""
    applied: List[str] = []
    later: List[str] = []
    for name in _different(before.server, after.server):
        word = f"server {_SERVER_WORDS.get(name, name)}"
        (later if name in AT_NEXT_START else applied).append(word)
    for section, name in _different_settings(settings_before, settings_after):
        (later if section in SECTIONS_AT_NEXT_START else applied).append(f"setting {section} {name}")
    return Changes(console_changes(before.consoles, after.consoles), tuple(applied), tuple(later))


def _different(before: object, after: object) -> List[str]:
    """The fields of a dataclass that are not the same, in the order of definition."""
    return [
        field.name
        for field in fields(before)  # type: ignore[arg-type]
        if getattr(before, field.name) != getattr(after, field.name)
    ]


def _different_settings(before: DaemonSettings, after: DaemonSettings) -> List[Tuple[str, str]]:
    """(section, key) of what differs; the path of the file itself is none of them."""
    found: List[Tuple[str, str]] = []
    for name in _different(before, after):
        if name == "path":
            continue
        if name == "workers":
            found.append(("daemon", name))
        else:
            found += [(name, key) for key in _different_keys(getattr(before, name), getattr(after, name))]
    return found


def _different_keys(before: object, after: object) -> List[str]:
    keys: List[str] = []
    for name in _different(before, after):
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, UnixSocketSettings) and isinstance(new, UnixSocketSettings):
            keys += ["unix_socket" if field == "path" else f"unix_{field}" for field in _different(old, new)]
        else:
            keys.append(_KEYS.get(name, name))
    return keys


# What is wrong now and was not before.

KnownProblems = Mapping[Tuple[str, bytes], int]
"""Message and line of each problem, and how often it occurs."""


def known_problems(problems: Sequence[Problem], text: bytes) -> KnownProblems:
    """The problems of a configuration with its ``text``, so that they can be told from those of its next version."""
    lines = text.split(b"\n")
    return Counter(_in_its_line(problem, lines) for problem in problems)


def new_problems(problems: Sequence[Problem], text: bytes, known: KnownProblems) -> Tuple[Problem, ...]:
    """Those of ``problems`` that are not ``known``: their lines are other ones, or were right before.

    A problem that was there at the start costs its line, then and now; that lines have moved is no matter.
    """
    left = Counter(known)
    lines = text.split(b"\n")
    new: List[Problem] = []
    for problem in problems:
        found = _in_its_line(problem, lines)
        if left[found]:
            left[found] -= 1
        else:
            new.append(problem)
    return tuple(new)


def _in_its_line(problem: Problem, lines: Sequence[bytes]) -> Tuple[str, bytes]:
    line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else b""
    return problem.text, line.strip()
