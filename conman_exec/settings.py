"""The settings of the device scripts: ``/etc/conman-exec.conf``, one section for each script.

What a setting is called, its kind, range and default stand in one table, from which the ConfigObj specification, the
checks and the documentation are derived. ConfigObj itself is imported only when there is a file: without one, starting
a script does not pay for it, and the defaults are the originals' behaviour.
"""

from __future__ import annotations

import os
import sys

from conman_exec.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import Any

DEFAULT_FILE = "/etc/conman-exec.conf"

MAX_CIPHER_SUITE = 255  # what ipmitool takes; those from 128 up are manufacturers'


class SettingsError(Exception):
    """The settings file is wrong: which file, and for each mistake its section, key and reason."""

    def __init__(self, path: str, problems: list[str]) -> None:
        super().__init__(path, problems)
        self.path, self.problems = path, problems

    def __str__(self) -> str:
        return f"cannot use settings file {self.path}: " + "; ".join(self.problems)


class Setting(Record):
    """``check`` is a ConfigObj check without its default; ``about`` is the line of the documentation."""

    name: str
    check: str
    default: Any
    about: str

    def specification(self) -> str:
        """The line of the configspec."""
        arguments = self.check if self.check.endswith(")") else self.check + "()"
        comma = "" if arguments.endswith("()") else ", "
        return f"{self.name} = {arguments[:-1]}{comma}default={_written(self.default)})"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "list(" + ", ".join(_written(item) for item in value) + ")"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _common(timeout: float) -> tuple[Setting, ...]:
    return (
        Setting("password_file", "string(min=1)", "/etc/conman.pswd", "where passwords are looked up"),
        Setting("user", "string", "", "user when none is given; empty: that of the password file's record"),
        Setting("timeout", "float(min=0.1, max=600)", timeout, "seconds for the whole login"),
    )


def _tool(command: str, timeout: float) -> tuple[Setting, ...]:
    return (
        *_common(timeout),
        Setting("command", "string(min=1)", command, "the program, by name or path"),
        Setting("path", "string(min=1)", "/usr/bin:/bin:/usr/sbin:/sbin", "where it is searched"),
        Setting("extra_arguments", "string_list", (), "more arguments, after our own options"),
    )


_PORT = Setting("port", "integer(min=0, max=65535)", 0, "port when none is given; 0: it must be given")
_OVERRIDE = Setting("session_override", "boolean", True, "take the console over from another session")
_ESCAPES = Setting("escapes", "boolean", False, "leave the tool's own escapes (&. and others) to the users")


def _ssh(*more: Setting) -> tuple[Setting, ...]:
    return (
        *_tool("ssh", 10.0),
        Setting("known_hosts", "string", "", "file of host keys; empty: ssh's own"),
        Setting("host_keys", 'option("accept-new", "yes", "no")', "accept-new", "ssh's StrictHostKeyChecking"),
        Setting("connect_timeout", "integer(min=1, max=600)", 8, "seconds until ssh gives an unanswering host up"),
        Setting("keepalive", "integer(min=0, max=600)", 15, "seconds between ssh's questions; it ends after 3"),
        _ESCAPES,
        *more,
    )


_SETTLE = Setting(
    "settle", "float(min=0, max=60)", 1.0, "seconds in which the server may still say that the line is in use"
)

_FRAMINGS = tuple(bits + parity + stop for bits in "5678" for parity in "NEOMS" for stop in ("1", "1.5", "2"))

SCRIPTS: dict[str, tuple[Setting, ...]] = {
    "ipmitool": (
        *_tool("ipmitool", 20.0),
        Setting("port", "integer(min=1, max=65535)", 623, "the BMC's UDP port"),
        Setting("interface", "string(min=1)", "lanplus", "ipmitool's interface"),
        Setting("cipher_suites", "suites", (17, 3), "suites to try in turn; empty: ipmitool asks the BMC"),
        Setting("retries", "integer(min=1, max=20)", 2, "ipmitool's -R: how soon it gives up"),
        Setting("keepalive", "boolean", True, "notice a lost or stolen session while idle"),
        Setting("session_override", "boolean", True, "deactivate a payload that is active elsewhere, and retry"),
        Setting("relay", "boolean", True, "no: become ipmitool, without a process between; breaks at line start only"),
        _ESCAPES,
        Setting(
            "engine",
            'option("ipmitool", "freeipmi")',
            "ipmitool",
            "freeipmi: under conmand-py, a session of the daemon's own, without any process",
        ),
        Setting("workarounds", "string_list", (), "for freeipmi: as ipmiopts' W in conman.conf (solpayloadsize, ...)"),
    ),
    "ipmiconsole": (
        *_tool("ipmiconsole", 30.0),
        Setting("cipher_suite", "integer(min=-1, max=17)", -1, "the suite; -1: ipmiconsole's own"),
        Setting("session_timeout", "integer(min=20, max=600)", 25, "seconds until a silent BMC is given up"),
        _OVERRIDE,
        Setting("workarounds", "string_list", (), "ipmiconsole's -W flags"),
        _ESCAPES,
    ),
    "ssh": _ssh(_PORT),
    "cyclades_ssh": _ssh(_PORT, _SETTLE, Setting("ssh_port", "integer(min=1, max=65535)", 22, "the server's port")),
    "cyclades_telnet": (*_common(10.0), _PORT, _SETTLE),
    "hp_ilo": (*_common(10.0), _PORT),
    "hp_lo100": (*_common(10.0), _PORT),
    "ibm_bc": (
        *_common(10.0),
        Setting("port", "integer(min=1, max=65535)", 23, "the management module's telnet port"),
        Setting("bcmm_timeout", "integer(min=-1, max=65535)", 0, "the modules' telnet time-out to set; -1: leave it"),
        Setting("idle_timeout", "integer(min=0, max=86400)", 0, "seconds without output until a key is sent; 0: never"),
        _OVERRIDE,
    ),
    "sun_ilom": _ssh(_OVERRIDE, Setting("ssh_port", "integer(min=1, max=65535)", 22, "the server's port")),
    "sun_elom": _ssh(_OVERRIDE, Setting("ssh_port", "integer(min=1, max=65535)", 22, "the server's port")),
    "sun_v20z_v40z": _ssh(_OVERRIDE, Setting("ssh_port", "integer(min=1, max=65535)", 22, "the server's port")),
    "serial": (
        *_common(10.0),
        Setting("speed", "integer(min=50, max=4000000)", 9600, "bits per second when none is given"),
        Setting(
            "framing", 'option("' + '", "'.join(_FRAMINGS) + '")', "8N1", "data bits, parity (N, E, O, M, S), stop bits"
        ),
        Setting("flow", 'option("none", "rtscts", "xonxoff", "dsrdtr")', "none", "flow control"),
        Setting("login", "boolean", False, "log in to what is on the line, with the user and password"),
    ),
}


class Settings:
    """One script's settings, as attributes of the table's names. Immutable."""

    def __init__(self, script: str, values: dict[str, Any]) -> None:
        unknown = values.keys() - {setting.name for setting in SCRIPTS[script]}
        if unknown:
            raise ValueError(f"no setting of {script}: {sorted(unknown)}")
        self.__dict__["script"] = script
        for setting in SCRIPTS[script]:
            self.__dict__[setting.name] = values.get(setting.name, setting.default)

    def __getattr__(self, name: str) -> Any:  # for type checkers, and the names that are not in the table
        raise AttributeError(f"script {self.script!r} has no setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("settings are immutable")

    def replace(self, **values: Any) -> Settings:
        return Settings(self.script, {**self._values(), **values})

    def override(self, name: str, text: str) -> Settings:
        """With one value given as text on a command line. Raises ValueError, worded by ConfigObj's check."""
        _, validate = _import_configobj()
        (setting,) = (setting for setting in SCRIPTS[self.script] if setting.name == name)
        try:
            return self.replace(**{name: _validator(validate).check(setting.check, text)})
        except validate.ValidateError as error:
            raise ValueError(str(error).rstrip(".")) from error

    def _values(self) -> dict[str, Any]:
        return {setting.name: self.__dict__[setting.name] for setting in SCRIPTS[self.script]}


def specification() -> list[str]:
    """The configspec, line by line."""
    lines = []
    for script, settings in SCRIPTS.items():
        lines += [f"[{script}]", *(setting.specification() for setting in settings)]
    return lines


def load(script: str, path: str | None = None) -> Settings:
    """The settings of a script from ``path``, which must exist, or for None from the default file, which need not.

    The whole file is checked, whichever script asks. Raises :class:`SettingsError`.
    """
    if path is None and not os.path.exists(DEFAULT_FILE):
        return Settings(script, {})
    return Settings(script, _read(path or DEFAULT_FILE).get(script, {}))


def _read(path: str) -> dict[str, dict[str, Any]]:
    configobj, validate = _import_configobj()
    try:
        with open(path, "rb") as file:
            lines = file.read().decode("utf-8", "surrogateescape").splitlines()
        config = configobj.ConfigObj(
            lines, configspec=specification(), interpolation=False, list_values=True, file_error=True, _inspec=False
        )
    except OSError as error:
        raise SettingsError(path, [error.strerror or str(error)]) from error
    except configobj.ConfigObjError as error:
        raise SettingsError(path, [str(problem) for problem in getattr(error, "errors", None) or [error]]) from error
    problems = _problems(config, config.validate(_validator(validate), preserve_errors=True))
    if problems:
        raise SettingsError(path, problems)
    return {
        section: {key: tuple(value) if isinstance(value, list) else value for key, value in config[section].items()}
        for section in SCRIPTS
    }


def _import_configobj() -> tuple[Any, Any]:
    """ConfigObj, and its validation.

    That imports pprint for a debugging aid, and with it 13 ms of dataclasses and inspect; so not the real one.
    """
    real = sys.modules.get("pprint")
    if real is None:
        sys.modules["pprint"] = type(sys)("pprint")
        sys.modules["pprint"].pprint = print  # type: ignore[attr-defined]
    try:
        import configobj  # type: ignore[import-untyped]

        try:
            from configobj import validate
        except ImportError:  # up to 5.0.6, RHEL 9's, it is a module of its own
            import validate  # type: ignore[import-untyped]
    finally:
        if real is None:
            del sys.modules["pprint"]
    return configobj, validate


def _validator(validate: Any) -> Any:
    """ConfigObj's checks, and what they let through: ``nan`` is within any limits, and lists have none."""

    def is_float(value: Any, min: Any = None, max: Any = None) -> float:
        number: float = validate.is_float(value, min, max)
        if number != number:
            raise validate.VdtTypeError(value)
        return number

    def is_suites(value: Any) -> list[int]:
        return [validate.is_integer(suite, 0, MAX_CIPHER_SUITE) for suite in validate.is_int_list(value)]

    return validate.Validator({"float": is_float, "suites": is_suites})


def _problems(config: Any, result: Any) -> list[str]:
    configobj, _ = _import_configobj()
    problems = []
    if result is not True:
        for sections, key, error in configobj.flatten_errors(config, result):
            problems.append(f"section [{'/'.join(sections)}]: key {key!r}: {error or 'missing'}")
    for sections, name in configobj.get_extra_values(config):
        place = f"section [{'/'.join(sections)}]: " if sections else ""
        known = ", ".join(sorted(SCRIPTS)) if not sections else "see the documentation"
        problems.append(f"{place}unknown key or section {name!r} (known: {known})")
    return problems
