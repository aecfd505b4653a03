"""What is legal and probably not meant."""

from __future__ import annotations

import pytest

from conmand.config.model import Configuration, ConsoleSettings, IpmiDevice, IpmiOptions, ServerSettings
from conmand.config.remarks import remarks
from conmand.config.settings import DaemonSettings, RotationSettings

SECRET = IpmiDevice("bmc", IpmiOptions(password=b"pw"))
CONFIGURATION = Configuration("/etc/conman.conf", ServerSettings(), (ConsoleSettings("n", SECRET),))


def of(mode: int = 0o640, **rotation: object) -> tuple[str, ...]:
    settings = DaemonSettings("/etc/conmand-py.conf", rotation=RotationSettings(**rotation))  # type: ignore[arg-type]
    return remarks(CONFIGURATION, mode, settings)


@pytest.mark.parametrize(
    "rotation, keys",
    [
        ({"keep": 100}, "keep"),
        ({"compress": "none"}, "compress"),
        ({"quota_bytes": 4096, "keep": 1}, "keep, quota"),
        ({"quota_bytes": 4096, "roll_over": True}, "quota"),
    ],
)
def test_old_files_are_limited_where_none_are_made(rotation: dict[str, object], keys: str) -> None:
    text = f"SETTINGS[/etc/conmand-py.conf]: [rotation] {keys}: without size or age no log is rotated"
    assert of(**rotation) == (text,)


@pytest.mark.parametrize(
    "rotation", [{}, {"roll_over": True}, {"size_bytes": 1024, "keep": 9}, {"age_seconds": 60, "quota_bytes": 1024}]
)
def test_what_may_be_meant_is_not_remarked_on(rotation: dict[str, object]) -> None:
    assert of(**rotation) == ()


def test_each_thing_is_remarked_on() -> None:
    assert [text.partition(" ")[0] for text in of(0o644, keep=1)] == ["Everybody", "SETTINGS[/etc/conmand-py.conf]:"]
