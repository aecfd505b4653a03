"""Passwords that everybody may read are warned of, and nothing else is."""

from __future__ import annotations

import pytest

from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiDevice,
    IpmiOptions,
    ProcessDevice,
    ServerSettings,
    TelnetDevice,
)
from conmand.config.secrecy import consoles_with_secrets, exposed_configuration


def configuration(*devices: Device) -> Configuration:
    consoles = tuple(ConsoleSettings(f"n{number}", device) for number, device in enumerate(devices, 1))
    return Configuration("/etc/conman.conf", ServerSettings(), consoles)


SECRET = IpmiDevice("h", IpmiOptions(username=b"u", password=b"hidden"))


@pytest.mark.parametrize(
    "device, holds",
    [
        (TelnetDevice("h", 23), False),
        (IpmiDevice("h", IpmiOptions(username=b"u")), False),
        (SECRET, True),
        (IpmiDevice("h", IpmiOptions(kg=b"\0k")), True),
        (ProcessDevice(("/x/ipmitool.exp", "h", "u")), False),
        (ProcessDevice(("/x/ipmitool.exp", "h", "u", "p")), True),
        (ProcessDevice(("/x/ipmiconsole_exp.py", "h", "u", "p", "kg")), True),
        (ProcessDevice(("/x/ssh.exp", "h", "22", "u")), False),
        (ProcessDevice(("/x/ssh_exp.py", "h", "22", "u", "p")), True),
        (ProcessDevice(("/x/hp_ilo_exp.py", "h", "23", "u", "p")), True),
        (ProcessDevice(("/x/hp-ilo.exp", "h", "23", "u", "")), False),
        (ProcessDevice(("/x/ipmitool_exp.py", "-c", "/etc/my.conf", "h", "u")), False),
        (ProcessDevice(("/x/ipmitool_exp.py", "-c", "/etc/my.conf", "h", "u", "p")), True),
        (ProcessDevice(("/x/own.exp", "h", "u", "p", "q")), False),
        (ProcessDevice(("/bin/cat", "a", "b", "c", "d")), False),
    ],
)
def test_where_a_configuration_holds_a_password(device: Device, holds: bool) -> None:
    assert consoles_with_secrets(configuration(device)) == (["n1"] if holds else [])


@pytest.mark.parametrize("mode", [0o100600, 0o100640, 0o100660, 0o100630])
def test_a_file_that_not_everybody_may_read_is_well(mode: int) -> None:
    assert exposed_configuration(configuration(SECRET), mode) is None


def test_a_readable_configuration_without_passwords_is_well() -> None:
    assert exposed_configuration(configuration(TelnetDevice("h", 23)), 0o100644) is None


def test_a_readable_password_is_warned_of_and_not_shown() -> None:
    one = exposed_configuration(configuration(TelnetDevice("h", 23), SECRET), 0o100644)
    assert one == (
        'Everybody can read the passwords in "/etc/conman.conf" (console [n2]); its mode is 0644 and should be 0640'
    )
    three = exposed_configuration(configuration(SECRET, SECRET, SECRET), 0o100604)
    assert three is not None and "(console [n1] and 2 more); its mode is 0604 and should be 0600" in three
    assert "hidden" not in one + three
