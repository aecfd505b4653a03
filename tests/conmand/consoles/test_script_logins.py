"""What device scripts inside the daemon share: turns, and files that are read again when they have changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import List

import pytest

from conman_exec import settings as exec_settings
from conman_exec.arguments import UsageError
from conmand.config.model import ScriptDevice
from conmand.config.settings import ScriptSettings
from conmand.consoles import script_logins
from conmand.consoles.script_logins import READ_SECONDS, KeptFiles, ScriptLogins, shared_logins
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices


def rewritten(path: Path, text: str) -> None:
    """As an editor does: a new file in the place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


def test_settings_are_kept_until_their_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "exec.conf"
    monkeypatch.setattr(exec_settings, "DEFAULT_FILE", str(path))
    monkeypatch.setattr(script_logins, "DEFAULT_FILE", str(path))
    files = KeptFiles()
    for given in (None, str(path)):
        path.unlink(missing_ok=True)
        if given is None:
            assert files.settings("ssh", None).port == 0
        rewritten(path, "[ssh]\nport = 1\n")
        found = files.settings("ssh", given)
        assert found.port == 1
        assert files.settings("ssh", given) is found
        assert files.settings("hp_ilo", given).port == 0
        rewritten(path, "[ssh]\nport = 2\n")
        assert files.settings("ssh", given).port == 2


def test_passwords_are_kept_until_their_file_changes(tmp_path: Path) -> None:
    path, files = tmp_path / "pswd", KeptFiles()
    assert files.passwords(str(path)).look_up(b"n1") is None
    rewritten(path, "n1:admin:one\n")
    found = files.passwords(str(path))
    assert found.look_up(b"n1") is not None
    assert files.passwords(str(path)) is found
    os.chmod(path, 0o644)
    assert files.passwords(str(path)).warnings
    path.unlink()
    assert files.passwords(str(path)).look_up(b"n1") is None


def test_mistake_in_the_settings_is_found_each_time(tmp_path: Path) -> None:
    path, files = tmp_path / "exec.conf", KeptFiles()
    rewritten(path, "[ssh]\nport = many\n")
    for _ in range(2):
        with pytest.raises(exec_settings.SettingsError):
            files.settings("ssh", str(path))


def test_prepared_login_is_the_scripts_own(tmp_path: Path) -> None:
    path = tmp_path / "exec.conf"
    rewritten(path, "[ipmitool]\nrelay = no\npath = /opt/bin\n")

    async def test(loop: ManualLoop) -> None:
        logins = ScriptLogins(FakeServices(loop))
        device = ScriptDevice(("/x/ipmitool.exp", "-c", str(path), "bmc1", "admin", "pw"), script="ipmitool")
        prepared = await logins.prepare(device)
        assert prepared.path == "/opt/bin"
        assert prepared.dialogue.target.host == "bmc1"
        assert prepared.dialogue.settings.relay  # the daemon is it
        with pytest.raises(UsageError):
            await logins.prepare(ScriptDevice(("/x/ipmitool.exp",), script="ipmitool"))

    run(test)


def test_files_that_hang_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        logins = ScriptLogins(FakeServices(loop))
        reading, writing = os.pipe()
        monkeypatch.setattr(logins, "_prepare", lambda device: os.read(reading, 1))
        preparing = loop.create_task(logins.prepare(ScriptDevice(("/x/ssh.exp",), script="ssh")))
        await loop.advance(READ_SECONDS)
        with pytest.raises(OSError, match="takes more than 30 s"):
            await preparing
        os.write(writing, b"x")
        for end in (reading, writing):
            await loop.run_in_executor(logins._thread, os.close, end)

    run(test)


def test_all_consoles_of_a_process_share_one() -> None:
    async def test(loop: ManualLoop) -> None:
        services = FakeServices(loop)
        services.scripts = ScriptSettings(logins_at_once=3)
        logins = shared_logins(services)
        assert shared_logins(services) is logins
        asked: List[asyncio.Future[None]] = [logins.turns.ask().come for _ in range(4)]
        assert [turn.done() for turn in asked] == [True] * 3 + [False]

    run(test)
