"""Which consoles of device scripts the daemon serves itself."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import pytest

from conman_exec import settings as exec_settings
from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiScriptDevice,
    ProcessDevice,
    ServerSettings,
    TestDevice,
)
from conmand.config.native_scripts import serve_natively


def served(*devices: Device) -> Tuple[List[Device], List[str]]:
    complaints: List[str] = []
    consoles = tuple(ConsoleSettings(f"n{number}", device) for number, device in enumerate(devices))
    result = serve_natively(Configuration("conman.conf", ServerSettings(), consoles), complaints.append)
    assert [console.name for console in result.consoles] == [console.name for console in consoles]
    return [console.device for console in result.consoles], complaints


def settings_file(directory: Path, text: str) -> str:
    path = directory / "exec.conf"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("script", ["/usr/share/conman/exec/ipmitool.exp", "/usr/bin/ipmitool_exp.py"])
def test_an_ipmitool_script_becomes_a_session_where_the_settings_say_so(script: str, tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[ipmitool]\nengine = freeipmi\n")
    argv = (script, "-c", path, "bmc1", "admin")
    (device,), complaints = served(ProcessDevice(argv))
    assert device == IpmiScriptDevice("bmc1", argv=argv)
    assert complaints == []


def test_the_default_settings_file_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_settings, "DEFAULT_FILE", settings_file(tmp_path, "[ipmitool]\nengine = freeipmi\n"))
    (device,), _ = served(ProcessDevice(("/x/ipmitool.exp", "bmc1", "admin", "pw")))
    assert isinstance(device, IpmiScriptDevice)
    assert "pw" not in repr(device)


def test_by_default_and_for_other_programs_nothing_changes(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[ipmitool]\nengine = freeipmi\n")
    devices = [
        ProcessDevice(("/x/ipmitool_exp.py", "bmc1", "admin")),
        ProcessDevice(("/x/ipmitool_exp.py", "-c", path)),  # without a host: the script explains its usage
        ProcessDevice(("/x/ipmiconsole_exp.py", "-c", path, "bmc1", "admin")),
        ProcessDevice(("/x/my-ipmitool.exp", "-c", path, "bmc1", "admin")),
        TestDevice(),
    ]
    assert served(*devices) == (devices, [])


def test_a_bad_settings_file_is_complained_of_once_and_the_scripts_run(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[ipmitool]\nengine = steam\n")
    devices = [ProcessDevice(("/x/ipmitool.exp", "-c", path, f"bmc{number}", "admin")) for number in range(3)]
    unchanged, (complaint,) = served(*devices)
    assert unchanged == devices
    assert complaint.startswith(f"cannot use settings file {path}: ")
