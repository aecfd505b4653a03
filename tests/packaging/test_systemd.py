"""The unit files, where they are installed: systemd understands them, and they say what the documents say."""

from __future__ import annotations

import configparser
import re
from typing import Dict, List

import pytest

from tests.fakes.rpm_root import RpmRoot
from tests.packaging.conftest import REPOSITORY

UNITS = ["conmand-py.service", "conmand-py@.service", "conmand-py.socket", "conmand-py.target", "conman.service"]
FORBIDDEN = ["PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock", "MemoryDenyWriteExecute"]


def settings(root: RpmRoot, unit: str) -> Dict[str, List[str]]:
    """All values of each key, whatever its section."""
    found: Dict[str, List[str]] = {}
    for line in root.path(f"/usr/lib/systemd/system/{unit}").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_unit(fresh: RpmRoot, unit: str) -> None:
    unit = unit.replace("@.", "@site.")
    assert fresh.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{unit}").stdout == ""


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_the_service_is_not_exposed_more_than_documented(fresh: RpmRoot, unit: str) -> None:
    path = f"/usr/lib/systemd/system/{unit.replace('@.', '@site.')}"
    if "@" in unit:
        fresh.run("cp", f"/usr/lib/systemd/system/{unit}", path)
    exposed = fresh.run("systemd-analyze", "--no-pager", "security", "--offline=yes", path).stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", exposed)
    documented = re.search(r"exposure level +([0-9.]+)", (REPOSITORY / "docs" / "installing.md").read_text())
    assert level and documented and float(level[1]) <= float(documented[1]), exposed


def test_device_programs_find_what_they_need(fresh: RpmRoot) -> None:
    """Serial ports, also those that are plugged in later; and compilers in time."""
    for unit in UNITS:
        assert not set(FORBIDDEN) & settings(fresh, unit).keys()
    service = settings(fresh, "conmand-py.service")
    assert service["SupplementaryGroups"] == ["dialout"]
    assert set(service["RestrictAddressFamilies"][0].split()) >= {"AF_UNIX", "AF_INET", "AF_INET6"}


def test_the_template_is_the_service_but_for_names_of_files(fresh: RpmRoot) -> None:
    one, many = settings(fresh, "conmand-py.service"), settings(fresh, "conmand-py@.service")
    different = {key for key in one if one[key] != many.get(key)}
    assert different == {
        "Description", "Environment", "EnvironmentFile", "ExecReload", "ExecStart", "RuntimeDirectory", "WantedBy"
    }  # fmt: skip
    assert many.keys() - one.keys() == {"PartOf"}
    for key in ("ExecStart", "ExecReload"):
        assert [value.replace("-%i", "") for value in many[key]] == one[key]


def test_the_original_s_unit_is_ours_by_another_name(fresh: RpmRoot) -> None:
    ours, theirs = settings(fresh, "conmand-py.service"), settings(fresh, "conman.service")
    different = {key for key in ours if ours[key] != theirs.get(key)}
    assert different == {"Description", "EnvironmentFile", "ExecStartPre", "ExecStart", "ExecReload"}
    assert theirs["ExecStart"][0].replace("/usr/sbin/conmand ", "/usr/bin/conmand-py ") == ours["ExecStart"][0]
    assert theirs["Conflicts"] == ["conmand-py.service"]


def test_the_socket_is_where_clients_look(fresh: RpmRoot) -> None:
    assert settings(fresh, "conmand-py.socket")["ListenStream"] == ["127.0.0.1:7890", "[::1]:7890"]


def test_programs_named_in_units_are_installed(fresh: RpmRoot) -> None:
    for unit in UNITS:
        for key, values in settings(fresh, unit).items():
            if key.startswith("Exec"):
                for value in values:
                    program = value.lstrip("+").split()[0]
                    fresh.run("test", "-x", program)


def test_every_unit_has_only_known_sections(fresh: RpmRoot) -> None:
    for unit in UNITS:
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        parser.read_string(fresh.path(f"/usr/lib/systemd/system/{unit}").read_text())
        assert set(parser.sections()) <= {"Unit", "Service", "Socket", "Install"}
