"""What ``conmand-py --check`` prints and returns."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import List, Tuple

import pytest

from conmand.config import settings_file
from conmand.config.check import check_file


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file, "DEFAULT_PATH", "/nonexistent/conmand-py.conf")


def check(path: str, cwd: str) -> Tuple[int, List[str]]:
    out = io.StringIO()
    return check_file(path, out, cwd=cwd), out.getvalue().splitlines()


def checked(tmp_path: Path, text: bytes, mode: int = 0o600) -> Tuple[int, List[str]]:
    file = tmp_path / "c"
    file.write_bytes(text)
    file.chmod(mode)
    return check("c", str(tmp_path))


def test_a_good_file(tmp_path: Path) -> None:
    status, lines = checked(
        tmp_path,
        b"server port=7891\nglobal log='%N'\nconsole name=a dev='test:'\nconsole name=b dev='h:1'\n"
        b"console name=c dev='h:2' log=''\n",
    )
    assert status == 0
    assert lines == [
        "Configuration: c",
        "Consoles: 3 (2 telnet, 1 test)",
        "Logged: 2, not logged: 1",
        "Listening: 127.0.0.1:7891, [::1]:7891",
        "Problems: 0 errors, 0 warnings",
    ]


def test_problems_read_like_the_daemon_s(tmp_path: Path) -> None:
    text = b"foo\nglobal logopts=bar\nserver loopback=off port=0\nconsole name=a dev='test:'\n"
    status, lines = checked(tmp_path, text)
    assert status == 1
    assert lines[:2] == [
        "ERROR:     CONFIG[c:1]: unrecognized token 'foo'",
        "WARNING:   CONFIG[c:2]: ignoring unrecognized token 'bar'",
    ]
    assert "Listening: 0.0.0.0:0, [::]:0 (0: a port chosen at start)" in lines
    assert "Problems: 1 error, 1 warning" in lines


def test_warnings_alone_do_not_fail(tmp_path: Path) -> None:
    status, lines = checked(
        tmp_path, b"console name=a dev='test:' log='x%%'\nconsole name=b dev='test:' log='x%%' logopts=foo\n"
    )
    assert status == 0
    assert lines[-2:] == [
        "Problems: 0 errors, 2 warnings",
        f'Log collision: 2 consoles would write "{tmp_path}/x%": a, b',
    ]


def test_no_console_fails(tmp_path: Path) -> None:
    assert checked(tmp_path, b"") == (
        1,
        [
            'ERROR:     Configuration "c" has no consoles defined',
            "Configuration: c",
            "Consoles: 0",
            "Logged: 0, not logged: 0",
            "Listening: 127.0.0.1:7890, [::1]:7890",
            "Problems: 0 errors, 0 warnings",
        ],
    )


@pytest.mark.parametrize(
    "device", ["'ipmi:h' ipmiopts='P:hush'", "'ipmi:h' ipmiopts='K:hush'", "'ipmitool_exp.py h u hush'"]
)
def test_passwords_that_everyone_can_read_are_pointed_out_as_at_the_start(device: str, tmp_path: Path) -> None:
    script = tmp_path / "ipmitool_exp.py"
    script.write_text("")
    script.chmod(0o755)
    text = f"server execpath='{tmp_path}'\nconsole name=a dev={device}\n".encode()
    hint = 'WARNING:   Everybody can read the passwords in "c" (console [a]); its mode is 0644 and should be 0640'
    status, lines = checked(tmp_path, text, 0o644)
    assert status == 0
    assert lines[0] == hint and "Problems: 0 errors, 1 warning" in lines
    assert "hush" not in "".join(lines)
    assert hint not in checked(tmp_path, text, 0o640)[1]
    assert hint not in checked(tmp_path, b"console name=a dev='ipmi:h'\n", 0o644)[1]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert check("no", str(tmp_path)) == (1, ['ERROR:     Unable to open "no": No such file or directory'])
    assert check(str(tmp_path), "/") == (1, [f'ERROR:     Unable to read "{tmp_path}": Is a directory'])


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    assert check("f", str(tmp_path))[0] == 1


def test_nothing_is_created(tmp_path: Path) -> None:
    checked(tmp_path, b"server logfile='l' pidfile='p'\nconsole name=a dev='unix:u' log=x\n")
    assert os.listdir(tmp_path) == ["c"]


def test_the_command_line_s_port_is_shown(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"server port=1\nconsole name=a dev='test:'")
    out = io.StringIO()
    assert check_file(str(tmp_path / "c"), out, port=7777) == 0
    assert "Listening: 127.0.0.1:7777, [::1]:7777\n" in out.getvalue()


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é\\xff"), ("ascii", "\\xe9\\xff")])
def test_names_print_in_any_locale(encoding: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"console name='\xc3\xa9\xff' dev='zork'")
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    assert check_file("c", out, cwd=str(tmp_path)) == 1
    out.flush()
    assert f'CONFIG[c:1]: console [{shown}] device "zork"'.encode(encoding) in raw.getvalue()


def checked_with_settings(tmp_path: Path, settings: str, server: str = "") -> Tuple[int, List[str]]:
    (tmp_path / "c").write_text(f"{server}\nconsole name=a dev='test:'\n")
    (tmp_path / "settings").write_text(settings)
    out = io.StringIO()
    status = check_file("c", out, cwd=str(tmp_path), settings=str(tmp_path / "settings"))
    return status, out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("listen", "places"),
    [
        ("", "127.0.0.1:7890, [::1]:7890"),
        ("addresses = 192.0.2.1, [::1]:99", "192.0.2.1:7890, [::1]:99"),
        ("addresses = [::1]:0,", "[::1]:0 (0: a port chosen at start)"),
        ("unix_socket = /run/s", "127.0.0.1:7890, [::1]:7890, /run/s"),
        ("tcp = no\nunix_socket = /run/s", "/run/s"),
    ],
)
def test_the_settings_say_where_it_listens(listen: str, places: str, tmp_path: Path) -> None:
    status, lines = checked_with_settings(tmp_path, f"[listen]\n{listen}\n")
    assert status == 0
    assert f"Settings: {tmp_path}/settings" in lines and f"Listening: {places}" in lines


def test_mistakes_in_the_settings_are_errors(tmp_path: Path) -> None:
    status, lines = checked_with_settings(tmp_path, "[listen]\nport = 1\n", "foo")
    assert status == 1
    assert lines[:2] == [
        "ERROR:     CONFIG[c:1]: unrecognized token 'foo'",
        f"ERROR:     SETTINGS[{tmp_path}/settings:2]: [listen] port: no such setting",
    ]
    assert lines[-1] == "Problems: 2 errors, 0 warnings"
