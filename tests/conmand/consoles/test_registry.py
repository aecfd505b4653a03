"""Which class serves which device."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conmand.config.model import (
    ConsoleSettings,
    Device,
    IpmiDevice,
    ProcessDevice,
    ScriptDevice,
    SerialDevice,
    TelnetDevice,
    TestDevice,
    UnixDevice,
)
from conmand.consoles.base import State
from conmand.consoles.registry import console_class, create_console
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink


@pytest.mark.parametrize(
    "device, name",
    [
        (UnixDevice("/s"), "UnixConsole"),
        (TelnetDevice("h", 1), "TelnetConsole"),
        (SerialDevice("/dev/ttyS0"), "SerialConsole"),
        (ProcessDevice(("/bin/cat",)), "ProcessConsole"),
        (ScriptDevice(("/x/ssh_exp.py",), script="ssh"), "ScriptConsole"),
        (IpmiDevice("h"), "IpmiConsole"),
        (TestDevice(), "TestConsole"),
    ],
)
def test_each_kind_of_device_has_its_class(device: Device, name: str) -> None:
    assert console_class(device).__name__ == name


def test_a_console_does_nothing_before_its_start() -> None:
    async def test(loop: ManualLoop) -> None:
        sink = RecordingSink()
        console = create_console(ConsoleSettings("n1", ProcessDevice(("/bin/cat",))), sink, FakeServices(loop))
        assert console.name == "n1"
        assert console.state is State.DOWN
        assert (sink.announced, loop.timers()) == ([], [])
        console.stop()

    run(test)


def test_pyserial_is_not_loaded_for_other_consoles() -> None:
    script = """
import sys
from conmand.config.model import *
from conmand.consoles.registry import console_class
for device in (UnixDevice("/s"), TelnetDevice("h", 1), ProcessDevice(("/bin/cat",)), TestDevice()):
    console_class(device)
sys.exit("serial" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
