from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conman_exec import settings
from conman_exec.settings import SCRIPTS, Settings, SettingsError, load


def write(path: Path, text: str) -> str:
    (path / "exec.conf").write_text(text)
    return str(path / "exec.conf")


def test_defaults_without_a_file() -> None:
    chosen = load("ipmitool")
    assert (chosen.command, chosen.cipher_suites, chosen.relay) == ("ipmitool", (17, 3), True)
    assert load("ssh").timeout == 10.0


def test_file_and_defaults_agree(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    for script, table in SCRIPTS.items():
        assert [getattr(load(script, path), s.name) for s in table] == [s.default for s in table]


def test_values_have_their_types(tmp_path: Path) -> None:
    path = write(tmp_path, '[ipmitool]\nrelay = no\ntimeout = 7\ncipher_suites = 3,\nextra_arguments = a, "b c"\n')
    chosen = load("ipmitool", path)
    assert (chosen.relay, chosen.timeout, chosen.cipher_suites) == (False, 7.0, (3,))
    assert chosen.extra_arguments == ("a", "b c")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[ipmitool]\nrelay = maybe\n", ["section [ipmitool]: key 'relay'", "maybe"]),
        ("[ssh]\nport = 99999\n", ["section [ssh]: key 'port'", "too big"]),
        ("[ssh]\nhost_keys = never\n", ["section [ssh]: key 'host_keys'", "unacceptable"]),
        ("[ssh]\nfoo = 1\n", ["section [ssh]: unknown key or section 'foo'"]),
        ("[nothing]\nfoo = 1\n", ["unknown key or section 'nothing'", "ipmitool"]),
        ("timeout = 1\n", ["unknown key or section 'timeout'"]),
        ("[ssh\n", ["Invalid line", "line 1"]),
        ("[serial]\nframing = 9X1\n", ["section [serial]: key 'framing'"]),
        ("[ssh]\ntimeout = nan\n", ["section [ssh]: key 'timeout'", "wrong type"]),
        ("[ipmitool]\ncipher_suites = 17, 256\n", ["section [ipmitool]: key 'cipher_suites'", "too big"]),
        ("[ipmitool]\ncipher_suites = -1,\n", ["section [ipmitool]: key 'cipher_suites'", "too small"]),
    ],
)
def test_mistakes_name_file_section_key_and_reason(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:  # whichever script asks
        load("hp_ilo", path)
    assert str(caught.value).startswith(f"cannot use settings file {path}: ")
    for part in parts:
        assert part in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load("ssh", write(tmp_path, "[ssh]\nport = x\ntimeout = x\n[bad]\n"))
    assert len(caught.value.problems) == 3


def test_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load("ssh", str(tmp_path / "none"))


def test_override_is_checked_like_the_file() -> None:
    assert load("serial").override("speed", "115200").speed == 115200
    with pytest.raises(ValueError, match="too big"):
        load("serial").override("speed", "99999999")


def test_settings_cannot_be_changed_or_invented() -> None:
    with pytest.raises(AttributeError):
        load("ssh").port = 3
    with pytest.raises(AttributeError):
        _ = load("ssh").bmc
    with pytest.raises(ValueError):
        Settings("ssh", {"bmc": 1})


def test_configobj_is_not_imported_without_a_file() -> None:
    code = "import sys, conman_exec.settings as s; s.load('ssh'); sys.exit('configobj' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pprint_is_the_real_one_afterwards(tmp_path: Path) -> None:
    load("ssh", write(tmp_path, ""))
    import pprint

    assert pprint.pformat([1]) == "[1]"


def test_specification_lists_every_setting() -> None:
    assert len(settings.specification()) == sum(len(table) + 1 for table in SCRIPTS.values())
