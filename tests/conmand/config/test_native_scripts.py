"""Which consoles of device scripts the daemon serves itself."""

from __future__ import annotations

import sys
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
    ScriptDevice,
    ServerSettings,
    TestDevice,
)
from conmand.config.native_scripts import serve_natively
from conmand.config.settings import ScriptSettings
from tests.fakes.installed import Installed


def served(*devices: Device, in_daemon: bool = True) -> Tuple[List[Device], List[str]]:
    complaints: List[str] = []
    consoles = tuple(ConsoleSettings(f"n{number}", device) for number, device in enumerate(devices))
    configuration = Configuration("conman.conf", ServerSettings(), consoles)
    result = serve_natively(configuration, complaints.append, ScriptSettings(in_daemon=in_daemon))
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
    assert complaint.endswith("; without it ipmitool is the engine")


@pytest.fixture
def scripts(tmp_path: Path) -> str:
    return str(Installed(tmp_path).directory)


def test_our_scripts_run_inside_the_daemon(scripts: str) -> None:
    devices = [
        ProcessDevice((f"{scripts}/ipmitool.exp", "bmc1", "admin")),
        ProcessDevice((f"{scripts}/sun_ilom_exp.py", "host", "root")),
        ProcessDevice(("/bin/cat",)),
        TestDevice(),
    ]
    (ipmitool, ilom, *others), complaints = served(*devices)
    assert ipmitool == ScriptDevice((f"{scripts}/ipmitool.exp", "bmc1", "admin"), script="ipmitool")
    assert ilom == ScriptDevice((f"{scripts}/sun_ilom_exp.py", "host", "root"), script="sun_ilom")
    assert others == devices[2:]
    assert complaints == []


def test_they_run_as_programs_where_that_is_wanted(scripts: str) -> None:
    devices = [ProcessDevice((f"{scripts}/ipmitool.exp", "bmc1", "admin"))]
    assert served(*devices, in_daemon=False) == (devices, [])


def test_serial_script_changed_scripts_and_those_on_a_terminal_run_as_programs(scripts: str) -> None:
    with open(f"{scripts}/ssh.exp", "a") as file:
        file.write("echo changed\n")
    devices = [
        ProcessDevice((f"{scripts}/serial_exp.py", "/dev/ttyS0")),
        ProcessDevice((f"{scripts}/ssh.exp", "h", "22", "me")),
        ProcessDevice((f"{scripts}/ipmitool.exp", "bmc1", "admin"), pty=True),
    ]
    assert served(*devices) == (devices, [])


def test_engine_comes_before_the_dialogue(scripts: str, tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[ipmitool]\nengine = freeipmi\n")
    (device,), _ = served(ProcessDevice((f"{scripts}/ipmitool.exp", "-c", path, "bmc1", "admin")))
    assert isinstance(device, IpmiScriptDevice)


def test_without_a_pexpect_that_works_they_run_as_programs(scripts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pexpect", None)
    monkeypatch.setitem(sys.modules, "pexpect._async", None)
    devices = [ProcessDevice((f"{scripts}/{name}.exp", "h", "u")) for name in ("ipmitool", "sun-ilom")]
    unchanged, (complaint,) = served(*devices)
    assert unchanged == devices
    assert complaint.startswith("Unable to run device scripts inside the daemon, so they run as programs: pexpect: ")
