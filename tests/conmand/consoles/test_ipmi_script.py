"""IPMI consoles that read the arguments of an ipmitool script."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import pytest

from conmand.config.model import ConsoleSettings, IpmiOptions, IpmiScriptDevice, LogLevel
from conmand.consoles.ipmi_engine import ConnectFailed
from conmand.consoles.ipmi_script import IpmiScriptConsole, read_target
from conmand.consoles.registry import console_class
from tests.conmand.consoles.test_ipmi import FakeEngine
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink


def command(directory: Path, *words: str, settings: str = "") -> Tuple[str, ...]:
    """A command line whose settings and password file are in ``directory``."""
    path = directory / "exec.conf"
    path.write_text(f"[ipmitool]\nengine = freeipmi\npassword_file = {directory}/conman.pswd\n{settings}")
    return ("/x/ipmitool_exp.py", "-c", str(path), *words)


def passwords(directory: Path, text: str) -> None:
    (directory / "conman.pswd").write_text(text)
    (directory / "conman.pswd").chmod(0o600)


def test_arguments_are_used_as_the_script_would_use_them(tmp_path: Path) -> None:
    host, options, warnings = read_target(command(tmp_path, "bmc1", "admin", "secret", "key"))
    assert (host, warnings) == ("bmc1", ())
    assert options == IpmiOptions(username=b"admin", password=b"secret", kg=b"key")


def test_the_password_file_gives_password_and_k_g(tmp_path: Path) -> None:
    passwords(tmp_path, "bmc1 : admin : p\xe4ss : k\n")
    _host, options, _warnings = read_target(command(tmp_path, "bmc1", "admin"))
    assert (options.password, options.kg) == ("p\xe4ss".encode(), b"k")
    assert read_target(command(tmp_path, "bmc1"))[1].username == b"admin"


def test_settings_of_the_script_apply(tmp_path: Path) -> None:
    settings = "port = 1623\ncipher_suites = 17,\nworkarounds = solpayloadsize, opensesspriv\n"
    host, options, _warnings = read_target(command(tmp_path, "bmc1", "admin", "pw", settings=settings))
    assert host == "bmc1:1623"
    assert (options.cipher_suite, options.workarounds) == (17, 0x01000010)
    assert read_target(command(tmp_path, "::1", "admin", "pw", settings=settings))[0] == "[::1]:1623"


@pytest.mark.parametrize(
    "settings, reason",
    [
        ("", "Error: Unspecified password."),
        ("workarounds = rubberband,\n", 'invalid IPMI workaround flag "rubberband"'),
    ],
)
def test_what_the_script_would_refuse_is_refused(settings: str, reason: str, tmp_path: Path) -> None:
    password = [] if not settings else ["pw"]
    with pytest.raises(ConnectFailed) as caught:
        read_target(command(tmp_path, "bmc1", "admin", *password, settings=settings))
    assert str(caught.value) == reason


def test_a_mended_password_file_is_read_at_the_next_attempt(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        device = IpmiScriptDevice("bmc1", argv=command(tmp_path, "bmc1", "admin"))
        assert console_class(device) is IpmiScriptConsole
        sink, services, engine = RecordingSink(), FakeServices(loop), FakeEngine(None)
        services.ipmi = engine  # type: ignore[assignment]
        console = IpmiScriptConsole(ConsoleSettings("n1", device), sink, services)
        console.start()
        await sink.until(lambda: bool(sink.reported))
        refused = "Unable to connect to <bmc1> via IPMI for [n1]: Error: Unspecified password."
        assert sink.reported == [(LogLevel.INFO, refused)]
        passwords(tmp_path, "bmc1:admin:secret\n")
        (tmp_path / "conman.pswd").chmod(0o644)
        console.retry_now()
        await sink.until(lambda: bool(sink.announced))
        assert sink.announced == ["Console [n1] connected to <bmc1>"]
        assert engine.asked == [("bmc1", IpmiOptions(username=b"admin", password=b"secret"))]
        level, warning = sink.reported[-1]
        assert level is LogLevel.WARNING
        assert warning.startswith("Console [n1]: ") and warning.endswith("readable by others; its mode should be 0600")
        assert "secret" not in repr((sink.announced, sink.reported, console.settings))
        console.stop()

    run(test)
