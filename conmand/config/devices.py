"""Which device a ``dev`` string means. The only module of the configuration that looks at the file system.

The table at the end gives ConMan's order of recognition; each row looks at the first word and either passes, returns
its device, or raises :class:`~.errors.DeviceError` (or ``OptionError``) because the word is its own but unusable.
Beyond ConMan, ``pty:PROGRAM`` and ``pty: PROGRAM`` run a program on a pseudo-terminal.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from dataclasses import dataclass, field, replace
from typing import Callable, Mapping, Optional, Sequence, Tuple

from conman.text import encode
from conmand.config.errors import ConfigurationError, DeviceError
from conmand.config.model import (
    Device,
    IpmiDevice,
    IpmiOptions,
    ProcessDevice,
    SerialDevice,
    SerialOptions,
    TelnetDevice,
    TestDevice,
    TestOptions,
    UnixDevice,
)
from conmand.config.options import ipmi_options, serial_options, test_options

MAX_PORT = 65535
_BRACKETED = re.compile(r"\[([^\]]*)\]:([0-9]+)")
MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7) holds 108, with its NUL


@dataclass(frozen=True)
class DeviceContext:
    """What the rest of the configuration says about a device: its option strings (None if absent) and what is under
    them, and where relative paths and programs are looked for. ``script_dirs`` come after ``execpath``; ``stand_ins``
    names our program for each of the original's device scripts, for where those are not installed."""

    cwd: str
    execpath: Sequence[str] = ()
    script_dirs: Sequence[str] = ()
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    keepalive: bool = True
    seropts: Optional[str] = None
    ipmiopts: Optional[str] = None
    testopts: Optional[str] = None
    serial: SerialOptions = SerialOptions()
    ipmi: IpmiOptions = IpmiOptions()
    test: TestOptions = TestOptions()


def recognize_device(name: str, words: Sequence[str], context: DeviceContext) -> Device:
    """The device of the console ``name`` whose ``dev`` string splits into ``words`` (one or more)."""
    for recognize in _RECOGNITION_ORDER:
        device = recognize(name, words, context)
        if device is not None:
            return device
    raise DeviceError(f'console [{name}] device "{words[0]}" type unrecognized')


def joined(directory: str, path: str) -> str:
    """``path`` as seen from ``directory``, not normalized: it is compared and shown as written."""
    return path if path.startswith("/") else f"{directory}/{path}"


def coredump_directory(path: str, cwd: str) -> str:
    """The absolute path of an existing directory, without slashes at its end."""
    absolute = joined(cwd, path)
    try:
        mode = os.stat(encode(absolute)).st_mode
    except OSError as error:
        raise ConfigurationError(f'cannot stat COREDUMPDIR "{path}"') from error
    if not stat.S_ISDIR(mode):
        raise ConfigurationError(f'invalid COREDUMPDIR "{path}" not a directory')
    return absolute.rstrip("/") or "/"


def _refuse_more_words(name: str, words: Sequence[str]) -> None:
    if len(words) > 1:
        raise DeviceError(f"console [{name}] dev string has too many args")


def _after_prefix(word: str, prefix: str) -> str:
    """What follows ``prefix`` in any case, or an empty string."""
    return word[len(prefix) :] if word[: len(prefix)].lower() == prefix else ""


def _unix_socket(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    rest = _after_prefix(words[0], "unix:")
    if not rest:
        return None
    _refuse_more_words(name, words)
    path = joined(context.cwd, rest)
    if len(encode(path)) > MAX_SOCKET_PATH_BYTES:
        raise DeviceError(f"console [{name}] exceeds maximum device length of {MAX_SOCKET_PATH_BYTES} bytes")
    return UnixDevice(path)


def _telnet(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    """``HOST:PORT``, even where the host reads like another device's prefix: ``ipmi:623``. Ours: ``[ADDRESS]:PORT``."""
    bracketed = _BRACKETED.fullmatch(words[0])
    host, digits = bracketed.groups() if bracketed else words[0].partition(":")[::2]
    if not (digits.isascii() and digits.isdigit()):
        return None
    _refuse_more_words(name, words)
    if not host:
        raise DeviceError(f'console [{name}] specifies no hostname in "{words[0]}"')
    if bracketed and not _is_ipv6(host):
        raise DeviceError(f'console [{name}] specifies invalid IPv6 address in "{words[0]}"')
    port = int(digits)
    if not 0 < port <= MAX_PORT:
        raise DeviceError(f'console [{name}] specifies invalid port "{port}"')
    return TelnetDevice(host, port, context.keepalive)


def _is_ipv6(text: str) -> bool:
    """Also with the interface of a link-local address: ``fe80::1%eth0``."""
    address, percent, interface = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return bool(interface) or not percent


def _serial(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    path = joined(context.cwd, words[0])
    if not _is_character_device(path):
        return None
    _refuse_more_words(name, words)
    if not os.access(encode(path), os.R_OK | os.W_OK):
        raise DeviceError(f'console [{name}] device "{path}" is not readable/writable')
    return SerialDevice(path, serial_options(context.seropts or "", context.serial))


def _is_character_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(encode(path)).st_mode)
    except OSError:
        return False


def _process(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    pty = words[0].lower().startswith("pty:")
    command = [word for word in (words[0][4:],) if word] + list(words[1:]) if pty else list(words)
    if not command:
        return None
    program = _find_program(command[0], context) or _find_stand_in(command[0], context)
    if program is None:
        return None
    return ProcessDevice((program, *command[1:]), pty)


def _find_program(word: str, context: DeviceContext) -> Optional[str]:
    """The absolute path of an executable file; ``$PATH`` is not searched.

    As in ConMan the first executable thing of that name in the search path decides, even if it turns out to be none.
    """
    path = joined(context.cwd, word)
    if "/" not in word:
        for directory in (*context.execpath, *context.script_dirs):
            candidate = joined(joined(context.cwd, directory), word)
            if os.access(encode(candidate), os.X_OK):
                path = candidate
                break
    return path if os.path.isfile(encode(path)) and os.access(encode(path), os.X_OK) else None


def _find_stand_in(word: str, context: DeviceContext) -> Optional[str]:
    """Our script for one of the original's that is not there."""
    program = context.stand_ins.get(os.path.basename(word))
    if program is None or os.path.lexists(encode(joined(context.cwd, word))):
        return None
    return _find_program(program, replace(context, execpath=()))


def _ipmi(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    host = _after_prefix(words[0], "ipmi:")
    if not host:
        return None
    _refuse_more_words(name, words)
    return IpmiDevice(host, ipmi_options(context.ipmiopts or "", context.ipmi))


def _test(name: str, words: Sequence[str], context: DeviceContext) -> Optional[Device]:
    if words[0].lower() != "test:":
        return None
    _refuse_more_words(name, words)
    return TestDevice(test_options(context.testopts or "", context.test))


_Recognizer = Callable[[str, Sequence[str], DeviceContext], Optional[Device]]

_RECOGNITION_ORDER: Tuple[_Recognizer, ...] = (
    _unix_socket,  # unix:PATH
    _telnet,  # HOST:PORT
    _serial,  # PATH of a character device
    _process,  # PROGRAM [ARGUMENT...], with or without "pty:"
    _ipmi,  # ipmi:HOST
    _test,  # test:
)
