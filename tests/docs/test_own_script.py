"""The device script of docs/recipes.md logs in to such a device, run as a daemon runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

from tests.docs.pages import REPOSITORY
from tests.fakes.script import Script
from tests.fakes.telnet_device import TelnetDevice

SCRIPT = REPOSITORY / "examples" / "console_switch_exp.py"


def switch(line: bytes) -> Optional[bytes]:
    answers = {
        b"admin": b"admin\r\nPassword: ",
        b"t0psecret": b"\r\nswitch> ",
        b"wrong": b"\r\nAccess denied\r\n",
        b"console": b"console\r\nConsole opened, ESC leaves it\r\nlogin: ",
    }
    return answers.get(line, line + b"\r\nlogin: ")


def login(device: TelnetDevice, settings: Path, *words: str) -> Script:
    return Script(
        "/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, str(SCRIPT), "-c", str(settings), device.host,
        str(device.port), *words,
    )  # fmt: skip


def test_login_data_and_break(tmp_path: Path) -> None:
    (tmp_path / "conman.pswd").write_text(": admin : t0psecret\n")
    (tmp_path / "conman.pswd").chmod(0o600)
    settings = tmp_path / "conman-exec.conf"
    settings.write_text(f"[cyclades_telnet]\npassword_file = {tmp_path}/conman.pswd\n")
    with TelnetDevice(switch, b"\r\nUsername: ") as device, login(device, settings, "admin") as script:
        script.read_until(b"Connection established via telnet (pid ")
        script.read_until(b"login: ")
        script.send(b"abc&Bx")
        device.wait_for(b"abc<BREAK>x")


def test_refusal_is_told(tmp_path: Path) -> None:
    settings = tmp_path / "conman-exec.conf"
    settings.write_text("")
    with TelnetDevice(switch, b"\r\nUsername: ") as device, login(device, settings, "admin", "wrong") as script:
        script.read_until(b"Error: Permission denied.\r\n")
