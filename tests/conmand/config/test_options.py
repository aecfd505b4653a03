"""Option strings: every word, limit and message of conman.conf(5)."""

from __future__ import annotations

import contextlib
from typing import Callable, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.errors import OptionError
from conmand.config.model import IpmiOptions, LogOptions, SerialOptions, TestOptions
from conmand.config.options import (
    BPS_RATES,
    CIPHER_SUITES,
    WORKAROUND_FLAGS,
    c_integer,
    ipmi_options,
    log_options,
    serial_options,
    test_options,
    unknown_log_options,
)

test_options.__test__ = False  # type: ignore[attr-defined]  # it is what is tested
LOG = LogOptions()
SERIAL = SerialOptions()
IPMI = IpmiOptions()
BURSTS = TestOptions()


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("10", 10), ("010", 8), ("0x1F", 31), ("0X1f", 31), ("-8", -8), ("+8", 8), (" \t8", 8), ("-0", 0),
     ("", None), ("8 ", None), ("08", None), ("0x", None), ("x", None), ("٣", None), (str(2**63 - 1), 2**63 - 1),
     (str(2**63), None)],
)  # fmt: skip
def test_numbers_are_read_as_by_strtol(text: str, value: Optional[int]) -> None:
    assert c_integer(text) == value


# --- logopts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("lock", LogOptions(lock=True)),
        ("nolock", LogOptions(lock=False)),
        ("sanitize", LogOptions(sanitize=True)),
        ("nosanitize", LogOptions(sanitize=False)),
        ("timestamp", LogOptions(timestamp=True)),
        ("notimestamp", LogOptions(timestamp=False)),
        ("NoLock Sanitize\ttimestamp\n", LogOptions(lock=False, sanitize=True, timestamp=True)),
        ("nolock.sanitize,timestamp;;", LogOptions(lock=False, sanitize=True, timestamp=True)),
        ("sanitize,nosanitize", LogOptions()),
        ("", LogOptions()),
        (",,", LogOptions()),
        ("sanitize,foo", LogOptions(sanitize=True)),
    ],
)
def test_logopts(text: str, options: LogOptions) -> None:
    assert log_options(text, LOG) == options


def test_logopts_keep_what_they_do_not_name() -> None:
    assert log_options("timestamp", LogOptions(lock=False, sanitize=True)) == LogOptions(False, True, True)


def test_unknown_logopts_are_listed_as_typed() -> None:
    assert unknown_log_options("Foo,lock;bar") == ["Foo", "bar"]


# --- seropts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bps", BPS_RATES)
def test_usual_speeds_are_kept_and_others_rounded_down(bps: int) -> None:
    assert serial_options(str(bps), SERIAL).bps == bps
    assert serial_options(str(bps + 1), SERIAL).bps == bps


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("115200", SerialOptions(115200, 7, "e", 2)),
        ("115200,8", SerialOptions(115200, 8, "e", 2)),
        ("115200,8n", SerialOptions(115200, 8, "n", 2)),
        ("115200,8O1", SerialOptions(115200, 8, "o", 1)),
        ("115200,8E1", SerialOptions(115200, 8, "e", 1)),
        ("\t+300, 5n 1zzz", SerialOptions(300, 5, "n", 1)),
        ("300 ,8x", SerialOptions(300, 7, "e", 2)),
        ("300,x", SerialOptions(300, 7, "e", 2)),
        ("300,8nx", SerialOptions(300, 8, "n", 2)),
        ("999999999999999", SerialOptions(460800, 7, "e", 2)),
        ("abc", SerialOptions(50, 7, "e", 2)),
        ("", SerialOptions(50, 7, "e", 2)),
    ],
)
def test_seropts(text: str, options: SerialOptions) -> None:
    assert serial_options(text, SerialOptions(50, 7, "e", 2)) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("49", "expected INTEGER >0 for bps setting"),
        ("0", "expected INTEGER >0 for bps setting"),
        ("-9600", "expected INTEGER >0 for bps setting"),
        ("7n2", "expected INTEGER >0 for bps setting"),
        ("9600,4", "expected INTEGER 5-8 for databits setting"),
        ("9600,9", "expected INTEGER 5-8 for databits setting"),
        ("9600,0x8", "expected INTEGER 5-8 for databits setting"),
        ("9600,8x", "expected (N|O|E) for parity setting"),
        ("9600,8 n", "expected (N|O|E) for parity setting"),
        ("9600,8,", "expected (N|O|E) for parity setting"),
        ("9600,8n0", "expected INTEGER 1-2 for stopbits setting"),
        ("9600,8n3", "expected INTEGER 1-2 for stopbits setting"),
    ],
)
def test_wrong_seropts(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        serial_options(text, SERIAL)
    assert str(caught.value) == message


# --- testopts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("b:80,m:1000,n:200,p:50", TestOptions(80, 1000, 200, 50)),
        ("B:0x10,M:010", TestOptions(16, 8)),
        (",b:5,,b:6,", TestOptions(6)),
        ("b:", TestOptions(0)),
        ("b: 5", TestOptions(5)),
        ("p:200", TestOptions(probability_percent=100)),
        ("b:2147483647", TestOptions(2147483647)),
        ("", TestOptions()),
        (",", TestOptions()),
    ],
)
def test_testopts(text: str, options: TestOptions) -> None:
    assert test_options(text, BURSTS) == options


@pytest.mark.parametrize(
    "item", ["b", "b5", "bb:2", "z:1", ":5", "b:-1", "b:5 ", "b: ", "b:08", "b:0x", "b:x", "b:2147483648", " b:1", " "]
)
def test_wrong_testopts(item: str) -> None:
    with pytest.raises(OptionError) as caught:
        test_options(f"m:1,{item}", BURSTS)
    assert str(caught.value) == f'invalid testopts value "{item}"'


# --- ipmiopts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", IpmiOptions()),
        ("U:admin,P:secret,K:key", IpmiOptions(b"admin", b"secret", b"key")),
        ("u:a:b", IpmiOptions(b"a:b")),
        ("U:0x6161", IpmiOptions(b"0x6161")),
        ("U:café", IpmiOptions(b"caf\xc3\xa9")),
        ("P:0x736563726574", IpmiOptions(password=b"secret")),
        ("P:0xzz", IpmiOptions(password=b"0xzz")),
        ("P:0x", IpmiOptions(password=b"")),
        ("P:0x610062", IpmiOptions(password=b"a")),
        ("K:0X6100", IpmiOptions(kg=b"a\0")),
        ("K:0x617", IpmiOptions(kg=b"a\x70")),
        ("K:0x", IpmiOptions(kg=b"")),
        ("L:user", IpmiOptions(privilege_level=0)),
        ("L:op", IpmiOptions(privilege_level=1)),
        ("L:Operator", IpmiOptions(privilege_level=1)),
        ("L:ADMIN", IpmiOptions(privilege_level=2)),
        ("L:administrator", IpmiOptions(privilege_level=2)),
        ("L:0x1", IpmiOptions(privilege_level=1)),
        ("C:021", IpmiOptions(cipher_suite=17)),
        ("W:none", IpmiOptions(workarounds=0)),
        ("W:0", IpmiOptions(workarounds=0)),
        ("W:intel20,W:SUN20", IpmiOptions(workarounds=0x0A)),
        ("W:3,W:0x0f000000", IpmiOptions(workarounds=0x0F000003)),
        ("W:intel20,W:none,W:sun20", IpmiOptions(workarounds=0x08)),
        ("W:intel20,W:default", IpmiOptions()),
        ("W:default,W:sun20", IpmiOptions(workarounds=0x08)),
        (",U:a,,", IpmiOptions(b"U:a")),  # its second byte is no colon
        ("admin", IpmiOptions(b"admin")),
        ("admin,-,0x6b", IpmiOptions(b"admin", None, b"k")),
        ("admin,pass,-,intel20,0x8", IpmiOptions(b"admin", b"pass", None, workarounds=0x0A)),
        ("-,-,-,-", IpmiOptions()),
        (" U:a", IpmiOptions(b" U:a")),
    ],
)
def test_ipmiopts(text: str, options: IpmiOptions) -> None:
    assert ipmi_options(text, IPMI) == options


@pytest.mark.parametrize("suite", sorted(CIPHER_SUITES))
def test_cipher_suites(suite: int) -> None:
    assert ipmi_options(f"C:{suite}", IPMI).cipher_suite == suite


@pytest.mark.parametrize(("name", "flag"), WORKAROUND_FLAGS.items())
def test_workarounds_have_names_and_numbers(name: str, flag: int) -> None:
    assert ipmi_options(f"W:{name}", IPMI).workarounds == flag
    assert ipmi_options(f"W:{flag:#x}", IPMI).workarounds == flag


def test_empty_ipmi_values_return_to_the_library() -> None:
    everything = IpmiOptions(b"u", b"p", b"k", 1, 3, 4)
    assert ipmi_options("U:,P:,K:,L:,C:,W:", everything) == IpmiOptions()
    assert ipmi_options("-,-,-,-", everything) == IpmiOptions(privilege_level=1, cipher_suite=3)


def test_ipmiopts_add_to_the_global_ones() -> None:
    assert ipmi_options("P:x,W:sun20", IpmiOptions(b"u", workarounds=1)) == IpmiOptions(b"u", b"x", workarounds=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("U:abcdefghijklmnopq", "IPMI username exceeds 16-byte maximum"),
        ("P:abcdefghijklmnopqrstu", "IPMI password exceeds 20-byte maximum"),
        ("P:0x" + "61" * 21, "IPMI password exceeds 20-byte maximum"),
        ("K:abcdefghijklmnopqrstu", "IPMI K_g exceeds 20-byte maximum"),
        ("K:0x" + "6" * 41, "IPMI K_g exceeds 20-byte maximum"),
        ("abcdefghijklmnopq", "IPMI username exceeds 16-byte maximum"),
        ("a,abcdefghijklmnopqrstu", "IPMI password exceeds 20-byte maximum"),
        ("a,-,abcdefghijklmnopqrstu", "IPMI K_g exceeds 20-byte maximum"),
        ("L:foo", 'invalid IPMI privilege level "foo"'),
        ("L:1 ", 'invalid IPMI privilege level "1 "'),
        ("L:3", "invalid IPMI privilege level 3"),
        ("L:-1", "invalid IPMI privilege level -1"),
        ("C:foo", 'invalid IPMI cipher suite "foo"'),
        ("C:4", "invalid IPMI cipher suite 4"),
        ("W:foo", 'invalid IPMI workaround flag "foo"'),
        ("W:0x200", "invalid IPMI workaround flag 0x200"),
        ("W:-5", "invalid IPMI workaround flag 0xFFFFFFFB"),
        ("W:0xffffffff", "invalid IPMI workaround flag 0xFFFFFFFF"),
        ("Z:1", 'invalid ipmiopts string "Z:1"'),
        ("U:a,foo", 'invalid ipmiopts string "foo"'),
        ("U:a,U", 'invalid ipmiopts string "U"'),
        ("::", 'invalid ipmiopts string "::"'),
    ],
)
def test_wrong_ipmiopts(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        ipmi_options(text, IPMI)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["P:my,secret", "U:a, P:secret", "U:a,Psecret", "K:my,secret", "user,pass,my,secret", "U:a,P=secret"]
)
def test_a_message_never_quotes_what_may_be_a_password(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        ipmi_options(text, IPMI)
    assert "secret" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_representation_never_shows_a_password() -> None:
    assert "secret" not in repr(ipmi_options("P:secret,K:secret", IPMI))


OPTION_TEXT = st.one_of(
    st.text(max_size=50), st.lists(st.sampled_from(list("0189xXbmnpPUKLCW:,-+ \tneoé\udcff"))).map("".join)
)


@given(OPTION_TEXT)
def test_any_text_gives_options_or_an_option_error(text: str) -> None:
    parsers: List[Callable[[], object]] = [
        lambda: log_options(text, LOG),
        lambda: serial_options(text, SERIAL),
        lambda: test_options(text, BURSTS),
        lambda: ipmi_options(text, IPMI),
    ]
    for parse in parsers:
        with contextlib.suppress(OptionError):
            parse()
