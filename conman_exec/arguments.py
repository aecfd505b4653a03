"""The command line of the device scripts, and where what it leaves out comes from.

Positional arguments in the originals' order, after an optional ``-c FILE``. An argument given as an empty string counts
as given; extra arguments are ignored; so do the originals.
"""

from __future__ import annotations

import os

from conman.text import decode, encode
from conman_exec import settings
from conman_exec.record import TYPE_CHECKING, Record
from conman_exec.secret import Secret
from conman_exec.settings import Settings

if TYPE_CHECKING:
    from conman_exec.pswd import PasswordFile

_MISSING = {
    "host": "Unspecified hostname.",
    "port": "Unspecified port number.",
    "blade": "Unspecified blade number.",
    "user": "Unspecified username.",
    "pswd": "Unspecified password.",
}


class UsageError(Exception):
    """The script cannot run with these arguments. ``text`` is what it prints, without the line end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Target(Record):
    """What a login needs. ``user`` None: the device asks for none."""

    host: str
    port: str = ""
    blade: str = ""
    user: str | None = None
    password: Secret = Secret()
    kg: Secret | None = None


class Arguments(Record):
    """One script's positional arguments: names from ``host port blade user pswd keyg``, and how usage shows them.

    ``login_optional``: without a user there is no login (the terminal servers). ``settings``: names of further
    arguments, each in the place of the setting of that name. ``text``: the usage where the names do not tell it.
    """

    names: tuple[str, ...]
    login_optional: bool = False
    settings: tuple[str, ...] = ()
    text: str = ""

    def usage(self) -> str:
        if self.text:
            return self.text
        words = [f"<{name}>" for name in self.names]
        if self.login_optional:
            at = self.names.index("user")
            words[at:] = ["[" + " ".join(words[at:]) + "]"]
        elif self.names[-1] == "keyg":
            words[-1] = "[<keyg>]"
        return " ".join(words)


class Invocation(Record):
    target: Target
    settings: Settings
    warnings: tuple[str, ...] = ()


class Files:
    """Where settings and passwords come from. A daemon, which starts many scripts, keeps what it has read."""

    def settings(self, script: str, path: str | None) -> Settings:
        return settings.load(script, path)

    def passwords(self, path: str) -> PasswordFile:
        from conman_exec import pswd  # with its expressions, only where they are needed

        return pswd.read(path)


def parse(script: str, form: Arguments, argv: list[str], files: Files | None = None) -> Invocation:
    """What ``argv`` (program name first, as the system gave it) asks for.

    Raises :class:`UsageError`, also for a wrong settings file.
    """
    files = files or Files()
    words = [decode(os.fsencode(word)) for word in argv]
    program, given = os.path.basename(words[0]), words[1:]
    path = None
    if given[:1] == ["-c"] and len(given) >= 2:
        path, given = given[1], given[2:]
    if not given:
        raise UsageError(f"Usage: {program} {form.usage()}")
    try:
        chosen = files.settings(script, path)
    except settings.SettingsError as error:
        raise UsageError(f"Error: {error}.") from error
    values = dict(zip(form.names, given))
    for name in ("host", "port", "blade"):
        if name in form.names and name not in values:
            default = str(getattr(chosen, name, 0) or "")
            if not default:
                raise UsageError(f"Error: {_MISSING[name]}")
            values[name] = default
    for name in form.settings:
        if values.get(name):
            chosen = _override(chosen, name, values[name])
    return _with_login(form, values, chosen, files)


def _override(chosen: Settings, name: str, value: str) -> Settings:
    try:
        return chosen.override(name, value)
    except ValueError as error:
        raise UsageError(f"Error: Invalid {name} '{value}': {error}.") from error


def _with_login(form: Arguments, values: dict[str, str], chosen: Settings, files: Files) -> Invocation:
    user = values.get("user") if "user" in values else (chosen.user or None)
    place = Target(values.get("host", ""), values.get("port", ""), values.get("blade", ""))
    if user is None and form.login_optional and not getattr(chosen, "login", False):
        return Invocation(place, chosen)
    if "pswd" in values:
        kg = Secret(encode(values["keyg"])) if values.get("keyg") else None
        assert user is not None  # it stands before the password
        return Invocation(place._replace(user=user, password=Secret(encode(values["pswd"])), kg=kg), chosen)
    file = files.passwords(chosen.password_file)
    found = file.look_up(encode(values["host"]), None if user is None else encode(user))
    if user is None and found is None:
        raise UsageError(f"Error: {_MISSING['user']}")
    if found is None or found.password is None:
        raise UsageError(f"Error: {_MISSING['pswd']}")
    target = place._replace(user=decode(found.user), password=found.password, kg=found.kg)
    return Invocation(target, chosen, tuple(file.warnings))
