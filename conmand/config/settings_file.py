"""Reads ``/etc/conmand-py.conf`` into ``DaemonSettings``: what may stand in it, and what is wrong with what does.

What a setting may be stands in one table, the ConfigObj specification below; its default is the dataclass's. ConfigObj
is imported only when there is a file: without one, everything is as with the original's daemon, and costs nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from conman.text import decode, encode
from conmand.config.settings import (
    AUTO,
    DEFAULT_PATH,
    FIELDS,
    DaemonSettings,
    ListenSettings,
    RotationSettings,
    ScriptSettings,
    UnixSocketSettings,
)

MAX_PORT = 65535
MAX_WORKERS = 1024
MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7) holds 108, with its NUL

# Absent is None, and then the dataclass's default counts. The checks that ConfigObj does not know are below.
_SPECIFICATION = """\
[daemon]
workers = workers(default=None)
[listen]
tcp = yes_no(default=None)
addresses = addresses(default=None)
unix_socket = path(default=None)
unix_mode = mode(default=None)
unix_group = text(default=None)
[rotation]
size = size(default=None)
age = age(default=None)
keep = number(0, 10000, default=None)
compress = one_of("none", "gzip", "zstd", default=None)
quota = size(default=None)
roll_over = yes_no(default=None)
[scripts]
in_daemon = yes_no(default=None)
logins_at_once = number(1, 10000, default=None)
"""

_SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_YES_NO = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
_AGES = {"hourly": 3600, "daily": 86400, "weekly": 7 * 86400}


@dataclass(frozen=True)
class SettingsProblem:
    """One mistake. ``line`` is ``None`` where it cannot be told."""

    path: str
    line: Optional[int]
    text: str

    def __str__(self) -> str:
        return f"SETTINGS[{self.path}{'' if self.line is None else f':{self.line}'}]: {self.text}"


class SettingsError(Exception):
    """The file cannot be used; ``problems`` has every mistake, in the order of its lines."""

    def __init__(self, path: str, problems: Sequence[SettingsProblem]) -> None:
        super().__init__(path, problems)
        self.path, self.problems = path, tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        return f'Unable to use settings "{self.path}": {count} problem{"" if count == 1 else "s"}'


def load(path: Optional[str] = None) -> DaemonSettings:
    """The settings in ``path``, which must exist, or for ``None`` in the default file, which need not.

    Raises :class:`SettingsError`.
    """
    if path is None:
        if not os.path.exists(DEFAULT_PATH):
            return DaemonSettings()
        path = DEFAULT_PATH
    return _settings(path, _read(path))


def _settings(path: str, values: Dict[str, Dict[str, Any]]) -> DaemonSettings:
    """``values`` are the sections with the keys that have a value."""
    listen, rotation = values["listen"], values["rotation"]
    unix_values = {key[len("unix_") :]: listen.pop(key) for key in ("unix_mode", "unix_group") if key in listen}
    if listen.get("unix_socket"):
        listen["unix_socket"] = UnixSocketSettings(listen["unix_socket"], **unix_values)
    for key, field in FIELDS.items():
        if key in rotation:
            rotation[field] = rotation.pop(key)
    return DaemonSettings(
        path=path,
        listen=ListenSettings(**listen),
        rotation=RotationSettings(**rotation),
        scripts=ScriptSettings(**values["scripts"]),
        **values["daemon"],
    )


# The file.


def _read(path: str) -> Dict[str, Dict[str, Any]]:
    configobj, validate = _import_configobj()
    lines = _read_lines(path)
    try:
        config = configobj.ConfigObj(
            lines, configspec=_SPECIFICATION.splitlines(), interpolation=False, list_values=True, _inspec=False
        )
    except configobj.ConfigObjError as error:
        errors = getattr(error, "errors", None) or [error]
        raise SettingsError(path, [_parse_problem(path, one) for one in errors]) from error
    places = _places(lines)
    problems = [
        SettingsProblem(path, places.get((section, key)), text)
        for section, key, text in _mistakes(configobj, config, _validator(validate))
    ]
    if problems:
        raise SettingsError(path, sorted(problems, key=lambda problem: problem.line or 0))
    return {
        section: {key: value for key, value in config[section].items() if value not in (None, "")}
        for section in config.configspec
    }


def _read_lines(path: str) -> List[str]:
    try:
        with open(encode(path), "rb") as file:
            content = file.read()
    except OSError as error:
        problem = SettingsProblem(path, None, f"cannot read the file: {error.strerror}")
        raise SettingsError(path, [problem]) from error
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise SettingsError(path, [SettingsProblem(path, line, "it holds a NUL byte")])
    return [line.rstrip("\r") for line in decode(content).split("\n")]


def _import_configobj() -> Tuple[Any, Any]:
    import configobj  # type: ignore[import-untyped]

    try:
        from configobj import validate
    except ImportError:  # up to 5.0.6, RHEL 9's, it is a module of its own
        import validate  # type: ignore[import-untyped]
    return configobj, validate


def _parse_problem(path: str, error: Any) -> SettingsProblem:
    line = getattr(error, "line_number", None)
    text = re.sub(r" at line \d+\.$", "", str(error)).rstrip(".")
    return SettingsProblem(path, line, f"{text[:1].lower()}{text[1:]}")


def _places(lines: Sequence[str]) -> Dict[Tuple[str, str], int]:
    """The line of each section, as ``(section, "")``, and of each key; that of one before any section has ``""``."""
    places: Dict[Tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[+\s*(.*?)\s*\]+\s*(#.*)?$", line)
        if header:
            section = header[1].strip("\"'")
            places.setdefault((section, ""), number)
            continue
        entry = re.match(r"""\s*(".*?"|'.*?'|[^'"=#].*?)\s*=""", line)
        if entry:
            places.setdefault((section, entry[1].strip("\"'")), number)
    return places


def _mistakes(configobj: Any, config: Any, validator: Any) -> Iterator[Tuple[str, str, str]]:
    """Each as section, key (empty: the section itself) and text."""
    known = {section: list(config.configspec[section]) for section in config.configspec}
    # What is of the wrong shape leaves the object: ConfigObj's own check fails on some of it.
    yield from _misplaced(config, known)
    for section, keys in known.items():
        for key in [key for key in config.get(section, {}) if key not in keys]:
            yield section, key, f"[{section}] {key}: no such setting{_meant(key, keys) or _home(key, known)}"
    result = config.validate(validator, preserve_errors=True)
    if result is not True:
        for sections, key, error in configobj.flatten_errors(config, result):
            yield sections[-1], key, f"[{sections[-1]}] {key}: {error}"


def _misplaced(config: Any, known: Dict[str, List[str]]) -> Iterator[Tuple[str, str, str]]:
    for name in list(config.scalars):
        del config[name]
        if name in known:
            config[name] = {}
            yield "", name, f"[{name}] is a section, not a value"
        else:
            yield "", name, f"{name}: it stands before the first section{_home(name, known)}"
    for name in list(config.sections):
        if name not in known:
            del config[name]
            yield name, "", f"[{name}]: no such section{_meant(name, known)}"
            continue
        for inner in list(config[name].sections):
            del config[name][inner]
            yield inner, "", f"[[{inner}]]: [{name}] has no sections in it"


def _meant(name: str, known: Any) -> str:
    import difflib  # only for those who make mistakes

    near = difflib.get_close_matches(name.lower(), list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _home(name: str, known: Dict[str, List[str]]) -> str:
    homes = [section for section, keys in known.items() if name in keys]
    return f"; it belongs under [{homes[0]}]" if homes else ""


# Values.


def _validator(validate: Any) -> Any:
    """ConfigObj's checks and ours, each of which raises ``ValueError`` with the reason."""

    def check(parse: Callable[..., Any]) -> Callable[..., Any]:
        def checked(value: Any, *arguments: str) -> Any:
            if not isinstance(value, str):
                raise validate.ValidateError("one value is wanted, not a list: quote what contains a comma")
            try:
                return parse(value, *arguments)
            except ValueError as error:
                raise validate.ValidateError(str(error)) from error

        return checked

    def check_addresses(value: Any) -> Any:
        words = value if isinstance(value, list) else [value] if value else []
        try:
            return tuple(parse_listen_address(word) for word in words)
        except ValueError as error:
            raise validate.ValidateError(str(error)) from error

    return validate.Validator(
        {
            "workers": check(parse_workers),
            "addresses": check_addresses,
            "yes_no": check(_parse_yes_no),
            "number": check(_parse_number),
            "one_of": check(_parse_one_of),
            "text": check(lambda text: text),
            "path": check(_parse_socket_path),
            "mode": check(_parse_mode),
            "size": check(parse_size),
            "age": check(parse_age),
        }
    )


def parse_workers(text: str) -> Union[int, str]:
    """``auto``, or a number from 1 to ``MAX_WORKERS``. Raises ``ValueError``."""
    if text.lower() == AUTO:
        return AUTO
    if not re.fullmatch("[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_WORKERS:
        raise ValueError(f'"{text}" is neither "{AUTO}" nor a number from 1 to {MAX_WORKERS}')
    return int(text)


def parse_size(text: str) -> Optional[int]:
    """The bytes of ``10 MB``, ``512k`` or ``4096``: k is 1024, as for logrotate. Empty is ``None``.

    Raises ``ValueError``, also for less than 1 KiB.
    """
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found:
        raise ValueError(f'"{text}" is no size: a number, and k, M, G or T')
    size = int(float(found[1]) * _SIZE_UNITS[found[2]])
    if size < 1024:
        raise ValueError(f'"{text}" is less than 1k')
    return size


def parse_age(text: str) -> Optional[int]:
    """The seconds of ``12h``, ``1 day`` or ``weekly``. Empty is ``None``. Raises ``ValueError``."""
    if not text:
        return None
    word = text.strip().lower()
    if word in _AGES:
        return _AGES[word]
    found = re.fullmatch(
        r"([0-9]{1,9})\s*(?:(s)(?:ec|econds?)?|(m)(?:in|inutes?)?|(h)(?:ours?)?|(d)(?:ays?)?|(w)(?:eeks?)?)", word
    )
    if not found:
        raise ValueError(f'"{text}" is no age: a number and s, m, h, d or w; hourly, daily or weekly')
    seconds = int(found[1]) * next(_AGE_UNITS[unit] for unit in found.groups()[1:] if unit)
    if not seconds:
        raise ValueError(f'"{text}" is no time at all')
    return seconds


def parse_listen_address(text: str) -> Tuple[str, Optional[int]]:
    """``ADDRESS``, ``ADDRESS:PORT``, ``[ADDRESS]`` or ``[ADDRESS]:PORT``, with IPv6 only in brackets before a port.

    Raises ``ValueError`` for what is no literal address: names may change, and mean several.
    """
    found = re.fullmatch(r"\[([^\]]*)\](?::([0-9]+))?|([^:]*):([0-9]+)|(.*)", text.strip(), re.DOTALL)
    assert found is not None, "the last branch takes everything"
    host = found[1] or found[3] or found[5] or ""
    port = found[2] or found[4]
    if not _is_address(host) or (found[1] is not None and ":" not in host):
        raise ValueError(f'"{text}" is no IPv4 or IPv6 address')
    if port is not None and (len(port) > 5 or int(port) > MAX_PORT):
        raise ValueError(f'"{text}" has an invalid port')
    return host, None if port is None else int(port)


def _is_address(text: str) -> bool:
    host, percent, scope = text.partition("%")
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return False
    return not percent or (version == 6 and re.fullmatch(r"[\w.@:-]+", scope, re.ASCII) is not None)


def _parse_yes_no(text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise ValueError(f'"{text}" is neither "yes" nor "no"')
    return _YES_NO[text.lower()]


def _parse_number(text: str, minimum: str, maximum: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not int(minimum) <= int(text) <= int(maximum):
        raise ValueError(f'"{text}" is no number from {minimum} to {maximum}')
    return int(text)


def _parse_one_of(text: str, *choices: str) -> str:
    if text not in choices:
        raise ValueError(f'"{text}" is none of {", ".join(choices)}')
    return text


def _parse_mode(text: str) -> int:
    """A mode of a file as chmod(1) takes it in octal."""
    if not re.fullmatch("[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise ValueError(f'"{text}" is no octal mode up to 0777')
    return int(text, 8)


def _parse_socket_path(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f'"{text}" is no absolute path')
    if len(encode(text)) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f'"{text}" exceeds the {MAX_SOCKET_PATH_BYTES} bytes of a socket\'s path')
    return text
