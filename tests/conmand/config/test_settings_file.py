"""Our own settings file: what it gives, and that every mistake in it is told with its line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config import settings_file
from conmand.config.settings import (
    AUTO,
    DaemonSettings,
    ListenSettings,
    RotationSettings,
    ScriptSettings,
    UnixSocketSettings,
)
from conmand.config.settings_file import (
    MAX_SOCKET_PATH_BYTES,
    SettingsError,
    load,
    parse_age,
    parse_listen_address,
    parse_size,
    parse_workers,
)

EXAMPLE = Path(__file__).resolve().parents[3] / "compat" / "conmand-py.conf.example"


def written(directory: Path, text: str) -> str:
    path = directory / "conmand-py.conf"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(path)


def problems(directory: Path, text: str) -> List[str]:
    """Without the name of the file."""
    path = written(directory, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert all(str(problem).startswith(f"SETTINGS[{path}") for problem in caught.value.problems)
    return [str(problem)[len(f"SETTINGS[{path}") :] for problem in caught.value.problems]


def test_without_the_default_file_everything_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file, "DEFAULT_PATH", str(tmp_path / "none"))
    assert load() == DaemonSettings()


def test_the_default_file_is_read_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[daemon]\nworkers = 3\n")
    monkeypatch.setattr(settings_file, "DEFAULT_PATH", path)
    assert load() == DaemonSettings(path=path, workers=3)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(SettingsError) as caught:
        load(missing)
    assert str(caught.value) == f'Unable to use settings "{missing}": 1 problem'
    (problem,) = caught.value.problems
    assert str(problem) == f"SETTINGS[{missing}]: cannot read the file: No such file or directory"


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "\n# nothing\n[listen]\n")
    assert load(path) == DaemonSettings(path=path)


def test_everything_can_be_set(tmp_path: Path) -> None:
    text = """\
[daemon]
workers = auto
[listen]
tcp = No
addresses = 192.0.2.1, "[2001:db8::1]:7891", fe80::1%eth0   # three
unix_socket = "/run/a, b/socket"
unix_mode = 660
unix_group = operators
[rotation]
size = 10 MB
age = daily
keep = 3
compress = zstd
quota = 1.5G
roll_over = yes
[scripts]
in_daemon = off
logins_at_once = 7
"""
    for line_end in ("\n", "\r\n"):
        path = written(tmp_path, text.replace("\n", line_end))
        assert load(path) == DaemonSettings(
            path=path,
            workers=AUTO,
            listen=ListenSettings(
                tcp=False,
                addresses=(("192.0.2.1", None), ("2001:db8::1", 7891), ("fe80::1%eth0", None)),
                unix_socket=UnixSocketSettings("/run/a, b/socket", 0o660, "operators"),
            ),
            rotation=RotationSettings(10 * 2**20, 86400, 3, "zstd", 3 * 2**29, True),
            scripts=ScriptSettings(False, 7),
        )


def test_an_empty_value_sets_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, '[listen]\nunix_socket = ""\nunix_group =\naddresses = ,\n[rotation]\nsize =\nage = ""\n')
    assert load(path) == DaemonSettings(path=path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[daemon]\nworkers = 0\n", ':2]: [daemon] workers: "0" is neither "auto" nor a number from 1 to 1024'),
        ("[listen]\ntcp = maybe\n", ':2]: [listen] tcp: "maybe" is neither "yes" nor "no"'),
        ("[listen]\naddresses = ts1\n", ':2]: [listen] addresses: "ts1" is no IPv4 or IPv6 address'),
        ("[listen]\naddresses = ::1, 1.2.3.4:99999\n", ':2]: [listen] addresses: "1.2.3.4:99999" has an invalid port'),
        ("[listen]\nunix_socket = run\n", ':2]: [listen] unix_socket: "run" is no absolute path'),
        ("[listen]\nunix_mode = 999\n", ':2]: [listen] unix_mode: "999" is no octal mode up to 0777'),
        ("[rotation]\nkeep = -1\n", ':2]: [rotation] keep: "-1" is no number from 0 to 10000'),
        ("[rotation]\ncompress = zip\n", ':2]: [rotation] compress: "zip" is none of none, gzip, zstd'),
        ("[rotation]\nsize = 5 XB\n", ':2]: [rotation] size: "5 XB" is no size: a number, and k, M, G or T'),
        ("[rotation]\nsize = 5\n", ':2]: [rotation] size: "5" is less than 1k'),
        (
            "[rotation]\nage = 5\n",
            ':2]: [rotation] age: "5" is no age: a number and s, m, h, d or w; hourly, daily or weekly',
        ),
        ("[rotation]\nage = 0 h\n", ':2]: [rotation] age: "0 h" is no time at all'),
        (
            "[rotation]\nsize = 1k, 2k\n",
            ":2]: [rotation] size: one value is wanted, not a list: quote what contains a comma",
        ),
        ("[listen]\n\nunix_soket = /x\n", ":3]: [listen] unix_soket: no such setting; did you mean 'unix_socket'?"),
        ("[scripts]\nworkers = 2\n", ":2]: [scripts] workers: no such setting; it belongs under [daemon]"),
        ("[scripts]\nzzz = 2\n", ":2]: [scripts] zzz: no such setting"),
        ("[lisen]\ntcp = no\n", ":1]: [lisen]: no such section; did you mean 'listen'?"),
        ("port = 1\n", ":1]: port: it stands before the first section"),
        ("workers = 1\n[daemon]\n", ":1]: workers: it stands before the first section; it belongs under [daemon]"),
        ("daemon = 1\n", ":1]: [daemon] is a section, not a value"),
        ("[daemon]\n[[workers]]\n", ":2]: [[workers]]: [daemon] has no sections in it"),
        ("[listen\n", ":1]: invalid line ('[listen') (matched as neither section nor keyword)"),
        ("[listen]\ntcp = no\ntcp = no\n", ":3]: duplicate keyword name"),
        ("[daemon]\nworkers = 1\0\n", ":2]: it holds a NUL byte"),
        ('[listen]\nunix_group = "x\n', ":2]: parse error in value"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (told,) = problems(tmp_path, text)
    assert told.startswith(problem)


def test_a_path_that_no_socket_can_have_is_a_mistake(tmp_path: Path) -> None:
    longest = "/" + "x" * (MAX_SOCKET_PATH_BYTES - 1)
    assert load(written(tmp_path, f"[listen]\nunix_socket = {longest}\n")).listen.unix_socket is not None
    (told,) = problems(tmp_path, f"[listen]\nunix_socket = {longest}x\n")
    assert told.endswith("exceeds the 107 bytes of a socket's path")


def test_a_section_in_the_place_of_a_value_hides_no_other_mistake(tmp_path: Path) -> None:
    told = problems(tmp_path, "listen = 1\n[daemon]\n[[workers]]\nx = 1\n[rotation]\nkeep = x\n")
    assert told == [
        ":1]: [listen] is a section, not a value",
        ":3]: [[workers]]: [daemon] has no sections in it",
        ':6]: [rotation] keep: "x" is no number from 0 to 10000',
    ]


def test_all_mistakes_are_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    told = problems(tmp_path, "[rotation]\nkeep = x\n[bad]\n[listen]\ntcp = x\nunix_mode = x\n[[deep]]\nx = 1\n")
    assert [int(problem.split("]")[0][1:]) for problem in told] == [2, 3, 5, 6, 7]
    assert [int(p[1:].split("]")[0]) for p in problems(tmp_path, "[a\n[daemon]\nb\n")] == [1, 3]


def test_configobj_is_not_imported_without_a_file() -> None:
    code = (
        "import sys; from conmand.config import settings_file as s; s.DEFAULT_PATH = '/nonexistent'; s.load();"
        "sys.exit('configobj' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


LINES = ["[listen]", "[rotation]", "[[x]]", "tcp = no", "size = 1k", "size = '", "'" * 3, '"', "[", "=", "a = ,", "]"]


@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(LINES)).map(lambda lines: "\n".join(lines).encode())))
def test_any_file_gives_settings_or_mistakes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(content)
    try:
        assert load(str(path)).path == str(path)
    except SettingsError as error:
        assert error.problems


# The example.


def test_the_example_changes_nothing() -> None:
    assert load(str(EXAMPLE)) == DaemonSettings(path=str(EXAMPLE))


def test_the_example_with_its_comments_removed_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, re.sub(r"(?m)^#(\w+ = )", r"\1", EXAMPLE.read_text()))
    assert load(path) == DaemonSettings(path=path)


def test_the_example_has_every_setting() -> None:
    def outline(text: str, key: str) -> List[str]:
        return re.findall(rf"(?m)^(?:\[\w+\]|{key}\w+ = )", text)

    listed = [line.lstrip("#") for line in outline(EXAMPLE.read_text(), "#")]
    assert listed == [line.replace(" = ", " = ") for line in outline(settings_file._SPECIFICATION, "")]


# Values.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("1024", 1024),
        ("512k", 512 * 1024),
        ("10 MB", 10 * 2**20),
        ("10MiB", 10 * 2**20),
        ("1.5 g", 3 * 2**29),
        ("1T", 2**40),
        ("2048 b", 2048),
    ],
)
def test_sizes(text: str, size: Optional[int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("90s", 90),
        ("5 min", 300),
        ("12h", 12 * 3600),
        ("1 day", 86400),
        ("2 Weeks", 14 * 86400),
        ("hourly", 3600),
        ("Daily", 86400),
        ("weekly", 7 * 86400),
    ],
)
def test_ages(text: str, seconds: Optional[int]) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("parse", [parse_size, parse_age, parse_workers, parse_listen_address])
@given(st.one_of(st.text(max_size=20), st.text("0123456789.:[]kMdw% ", max_size=20)))
def test_any_text_has_a_value_or_a_reason(parse: object, text: str) -> None:
    try:
        parse(text)  # type: ignore[operator]
    except ValueError as error:
        assert text in str(error)


@given(st.integers(1, 10**6), st.sampled_from("kmgt"), st.sampled_from(["", " "]), st.sampled_from(["", "B", "iB"]))
def test_a_size_is_its_number_of_units(number: int, unit: str, blank: str, suffix: str) -> None:
    assert parse_size(f"{number}{blank}{unit}{suffix}") == number * 1024 ** ("kmgt".index(unit) + 1)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", None)),
        ("192.0.2.1:0", ("192.0.2.1", 0)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:65535", ("::1", 65535)),
        ("fe80::1%eth0", ("fe80::1%eth0", None)),
        ("[fe80::1%eth0]:7890", ("fe80::1%eth0", 7890)),
        ("::", ("::", None)),
        ("0.0.0.0", ("0.0.0.0", None)),
    ],
)
def test_addresses(text: str, address: Tuple[str, Optional[int]]) -> None:
    assert parse_listen_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":7890", "localhost", "192.0.2.256", "[192.0.2.1]:7890", "[::1", "::1]", "[::1]:", "[::1]x", "1.2.3.4:x"]
    + ["[::1]:65536", "1.2.3.4%eth0", "::1%", "::1%a b", "*", "192.0.2.1/24"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen_address(text)


@given(st.ip_addresses(), st.one_of(st.none(), st.integers(0, 65535)))
def test_an_address_written_with_its_port_reads_back(address: object, port: Optional[int]) -> None:
    host = str(address)
    text = f"[{host}]" if ":" in host else host
    assert parse_listen_address(text if port is None else f"{text}:{port}") == (host, port)
