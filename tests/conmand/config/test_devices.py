"""Which device a dev string means, in ConMan's order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest

from conmand.config.devices import DeviceContext, coredump_directory, joined, recognize_device
from conmand.config.errors import ConfigurationError, DeviceError, OptionError
from conmand.config.grammar import parse_configuration
from conmand.config.model import (
    Device,
    IpmiDevice,
    IpmiOptions,
    LogLevel,
    ProcessDevice,
    SerialDevice,
    SerialOptions,
    TelnetDevice,
    TestDevice,
    TestOptions,
    UnixDevice,
)


def program(directory: Path, name: str, mode: int = 0o755) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


def recognized(words: List[str], context: DeviceContext) -> Device:
    return recognize_device("n", words, context)


def refusal(words: List[str], context: DeviceContext) -> str:
    with pytest.raises(ConfigurationError) as caught:
        recognize_device("n", words, context)
    assert isinstance(caught.value, (DeviceError, OptionError))
    return str(caught.value)


CONTEXT = DeviceContext(cwd="/w")


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("unix:/run/a", UnixDevice("/run/a")),
        ("UNIX:a", UnixDevice("/w/a")),
        ("unix:./a", UnixDevice("/w/./a")),
        ("unix:22", UnixDevice("/w/22")),
        ("ts1:2001", TelnetDevice("ts1", 2001)),
        ("ts1:0065535", TelnetDevice("ts1", 65535)),
        ("ipmi:623", TelnetDevice("ipmi", 623)),
        ("test:1", TelnetDevice("test", 1)),
        ("pty:1", TelnetDevice("pty", 1)),
        ("[::1]:2001", TelnetDevice("::1", 2001)),
        ("[fe80::1%eth0]:2001", TelnetDevice("fe80::1%eth0", 2001)),
        ("[::ffff:192.0.2.1]:2001", TelnetDevice("::ffff:192.0.2.1", 2001)),
        ("ipmi:[::1]:623", IpmiDevice("[::1]:623")),
        ("ipmi:[::1]", IpmiDevice("[::1]")),
        ("ipmi:2001:db8::1", IpmiDevice("2001:db8::1")),
        ("ipmi:bmc", IpmiDevice("bmc")),
        ("IPMI:bmc:623", IpmiDevice("bmc:623")),
        ("test:", TestDevice()),
        ("TeSt:", TestDevice()),
        ("/dev/null", SerialDevice("/dev/null")),
    ],
)
def test_first_word_tells_the_type(word: str, device: Device) -> None:
    assert recognized([word], CONTEXT) == device


@pytest.mark.parametrize("word", ["", "unix:", "ipmi:", "test:x", "ts1:", "ts1:22x", "ts1:22:23", "ts1:+22", "ts1:٣",
                                  "::1:2001", "[::1]", "[::1]2001", "[::1]:", "[::1]:x",
                                  "no-such-program", "/dev", "pty:", "pty:no-such-program", "pty:/dev"])  # fmt: skip
def test_unrecognized(word: str) -> None:
    assert refusal([word], CONTEXT) == f'console [n] device "{word}" type unrecognized'


@pytest.mark.parametrize("word", ["unix:/a", "ts1:22", "/dev/null", "ipmi:a", "test:"])
def test_only_processes_take_arguments(word: str) -> None:
    assert refusal([word, "x"], CONTEXT) == "console [n] dev string has too many args"


def test_socket_paths_are_limited() -> None:
    assert recognized(["unix:/" + "y" * 106], CONTEXT) == UnixDevice("/" + "y" * 106)
    assert refusal(["unix:/" + "y" * 105 + "é"], CONTEXT) == "console [n] exceeds maximum device length of 107 bytes"


@pytest.mark.parametrize("port", [0, 65536, 70000, 10**30])
def test_telnet_ports_exist(port: int) -> None:
    assert refusal([f"ts1:{port}"], CONTEXT) == f'console [n] specifies invalid port "{port}"'


def test_telnet_needs_a_host() -> None:
    assert refusal([":22"], CONTEXT) == 'console [n] specifies no hostname in ":22"'


@pytest.mark.parametrize("word", ["[ts1]:22", "[192.0.2.1]:22", "[::g]:22", "[::1%]:22"])
def test_brackets_are_for_ipv6(word: str) -> None:
    assert refusal([word], CONTEXT) == f'console [n] specifies invalid IPv6 address in "{word}"'


def test_ipv6_telnet_is_checked_as_any_other() -> None:
    assert refusal(["[::1]:0"], CONTEXT) == 'console [n] specifies invalid port "0"'
    assert refusal(["[]:22"], CONTEXT) == 'console [n] specifies no hostname in "[]:22"'
    assert refusal(["[::1]:22", "x"], CONTEXT) == "console [n] dev string has too many args"


def test_telnet_takes_keepalive_along() -> None:
    assert recognized(["a:1"], DeviceContext(cwd="/", keepalive=False)) == TelnetDevice("a", 1, False)


def test_serial_device_must_be_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refusal(["/dev/null"], CONTEXT) == 'console [n] device "/dev/null" is not readable/writable'


def test_option_strings_go_over_the_global_ones() -> None:
    context = DeviceContext(
        cwd="/", seropts="115200", ipmiopts="P:x", testopts="b:5",
        serial=SerialOptions(bps=50, parity="o"), ipmi=IpmiOptions(b"u"), test=TestOptions(max_delay_ms=3),
    )  # fmt: skip
    assert recognized(["/dev/null"], context) == SerialDevice("/dev/null", SerialOptions(115200, 8, "o", 1))
    assert recognized(["ipmi:a"], context) == IpmiDevice("a", IpmiOptions(b"u", b"x"))
    assert recognized(["test:"], context) == TestDevice(TestOptions(5, 3))


def test_option_strings_of_other_types_are_not_looked_at() -> None:
    context = DeviceContext(cwd="/", seropts="1", ipmiopts="Z:", testopts="z")
    assert recognized(["unix:/a"], context) == UnixDevice("/a")
    assert refusal(["/dev/null"], context) == "expected INTEGER >0 for bps setting"
    assert refusal(["ipmi:a"], context) == 'invalid ipmiopts string "Z:"'
    assert refusal(["test:"], context) == 'invalid testopts value "z"'


def test_program_keeps_its_arguments(tmp_path: Path) -> None:
    path = program(tmp_path, "p.exp")
    assert recognized([path, "", "a b"], CONTEXT) == ProcessDevice((path, "", "a b"))


def test_program_relative_to_the_directory_of_the_start(tmp_path: Path) -> None:
    path = program(tmp_path / "bin", "p.exp")
    context = DeviceContext(cwd=str(tmp_path))
    assert recognized(["bin/p.exp"], context) == ProcessDevice((path,))
    assert recognized(["p.exp"], DeviceContext(cwd=str(tmp_path / "bin"))) == ProcessDevice((path,))


def test_programs_are_searched_in_execpath_then_script_dirs_then_here(tmp_path: Path) -> None:
    cwd, one, two = (str(tmp_path / name) for name in ("cwd", "one", "two"))
    here, script, first = (program(Path(directory), "p.exp") for directory in (cwd, two, one))
    execpath = ["/nonexistent", one]
    assert recognized(["p.exp"], DeviceContext(cwd, execpath, [two])) == ProcessDevice((first,))
    assert recognized(["p.exp"], DeviceContext(cwd, [], [two])) == ProcessDevice((script,))
    assert recognized(["p.exp"], DeviceContext(cwd)) == ProcessDevice((here,))
    assert recognized(["./p.exp"], DeviceContext(cwd, execpath, [two])) == ProcessDevice((cwd + "/./p.exp",))


def test_search_passes_over_what_cannot_be_executed(tmp_path: Path) -> None:
    program(tmp_path / "one", "p.exp", mode=0o644)
    path = program(tmp_path / "two", "p.exp")
    context = DeviceContext("/", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert recognized(["p.exp"], context) == ProcessDevice((path,))


def test_first_executable_thing_decides_even_if_it_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "one" / "p.exp").mkdir(parents=True)
    program(tmp_path / "two", "p.exp")
    context = DeviceContext("/", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert refusal(["p.exp"], context) == 'console [n] device "p.exp" type unrecognized'


def test_relative_execpath_gives_absolute_programs(tmp_path: Path) -> None:
    path = program(tmp_path / "bin", "p.exp")
    assert recognized(["p.exp"], DeviceContext(str(tmp_path), ["bin"])) == ProcessDevice((path,))


def test_program_beats_ipmi_and_test(tmp_path: Path) -> None:
    for name in ("ipmi:a", "test:"):
        path = program(tmp_path, name)
        assert recognized([name], DeviceContext(str(tmp_path))) == ProcessDevice((path,))


@pytest.mark.parametrize("prefix", ["pty:", "PTY:", "Pty:"])
def test_program_on_a_pseudo_terminal(prefix: str, tmp_path: Path) -> None:
    path = program(tmp_path, "p.exp")
    assert recognized([prefix + path, "x"], CONTEXT) == ProcessDevice((path, "x"), pty=True)
    assert recognized([prefix, path, "x"], CONTEXT) == ProcessDevice((path, "x"), pty=True)
    assert recognized([prefix + "p.exp"], DeviceContext("/", [str(tmp_path)])) == ProcessDevice((path,), pty=True)


def test_paths_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    name = b"p\xff.exp"
    raw = os.path.join(os.fsencode(tmp_path), name)
    with open(raw, "wb"):
        os.chmod(raw, 0o755)
    assert recognized(["p\udcff.exp"], DeviceContext(str(tmp_path))) == ProcessDevice((f"{tmp_path}/p\udcff.exp",))


def test_long_words_are_just_unrecognized() -> None:
    word = "y" * 100_000
    assert refusal([word], CONTEXT) == f'console [n] device "{word}" type unrecognized'


def test_coredump_directory(tmp_path: Path) -> None:
    assert coredump_directory(str(tmp_path) + "///", "/") == str(tmp_path)
    assert coredump_directory(tmp_path.name, str(tmp_path.parent)) == str(tmp_path)
    assert coredump_directory("/", "/w") == "/"


def test_coredump_directory_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for value, message in [
        ("no", 'cannot stat COREDUMPDIR "no"'),
        ("file", 'invalid COREDUMPDIR "file" not a directory'),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            coredump_directory(value, str(tmp_path))
        assert str(caught.value) == message


def test_joined_normalizes_nothing() -> None:
    assert joined("/a", "b/../c//") == "/a/b/../c//"
    assert joined("/a", "/b") == "/b"


def test_our_script_stands_in_for_a_missing_one_of_the_originals_and_says_so_once(tmp_path: Path) -> None:
    ours = tmp_path / "ipmitool_exp.py"
    ours.write_text("")
    ours.chmod(0o755)
    missing = tmp_path / "exec" / "ipmitool.exp"
    configuration = parse_configuration(
        b"".join(b'console name="n%d" dev="%s 10.0.0.%d admin"\n' % (n, str(missing).encode(), n) for n in (1, 2)),
        "c.conf",
        cwd=str(tmp_path),
        script_dirs=[str(tmp_path)],
        stand_ins={"ipmitool.exp": "ipmitool_exp.py"},
    )
    assert [console.device for console in configuration.consoles] == [
        ProcessDevice((str(ours), "10.0.0.1", "admin")),
        ProcessDevice((str(ours), "10.0.0.2", "admin")),
    ]
    (told,) = configuration.problems
    assert told.level is LogLevel.NOTICE
    assert told.text == f'device script "{missing}" is not installed: using "{ours}"'


def test_no_script_stands_in_for_one_that_is_there(tmp_path: Path) -> None:
    for name in ("ipmitool_exp.py", "ipmitool.exp"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    configuration = parse_configuration(
        b'console name="n" dev="%s h"\n' % str(tmp_path / "ipmitool.exp").encode(),
        "c.conf",
        cwd=str(tmp_path),
        script_dirs=[str(tmp_path)],
        stand_ins={"ipmitool.exp": "ipmitool_exp.py"},
    )
    assert configuration.consoles[0].device == ProcessDevice((str(tmp_path / "ipmitool.exp"), "h"))
    assert configuration.problems == ()
