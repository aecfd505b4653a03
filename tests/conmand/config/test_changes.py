"""What differs between two configurations: everything that does, nothing else, and no secret."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config import changes as module
from conmand.config.changes import (
    ConsoleChange,
    changes,
    console_changes,
    known_problems,
    new_problems,
)
from conmand.config.grammar import parse_configuration
from conmand.config.model import (
    Configuration,
    ConsoleSettings,
    Device,
    IpmiDevice,
    IpmiOptions,
    IpmiScriptDevice,
    LogLevel,
    LogOptions,
    ProcessDevice,
    SerialDevice,
    SerialOptions,
    ServerSettings,
    TelnetDevice,
    TestDevice,
    TestOptions,
    UnixDevice,
)
from conmand.config.settings import (
    DaemonSettings,
    ListenSettings,
    RotationSettings,
    ScriptSettings,
    UnixSocketSettings,
)

DEVICES: List[Device] = [
    TestDevice(),
    TestDevice(TestOptions(burst_bytes=1)),
    UnixDevice("/s"),
    UnixDevice("/t"),
    TelnetDevice("h", 23),
    TelnetDevice("h", 23, keepalive=False),
    TelnetDevice("h", 24),
    SerialDevice("/dev/ttyS0"),
    SerialDevice("/dev/ttyS0", SerialOptions(bps=115200)),
    IpmiDevice("h"),
    IpmiDevice("h", IpmiOptions(password=b"secret")),
    IpmiScriptDevice("h", argv=("/x", "h", "u", "secret")),
    ProcessDevice(("/bin/cat",)),
    ProcessDevice(("/bin/cat",), pty=True),
]
DEFAULTS = ServerSettings()
consoles_by_name = st.dictionaries(
    st.sampled_from([f"n{number}" for number in range(8)]),
    st.builds(
        lambda device, log, options, line: ConsoleSettings("", device, log, options, line),
        st.sampled_from(DEVICES),
        st.sampled_from([None, "/l/a", "/l/b", "/l/%D"]),
        st.builds(LogOptions, st.booleans(), st.booleans(), st.booleans()),
        st.integers(1, 1000),
    ),
).map(lambda found: tuple(replace(settings, name=name) for name, settings in found.items()))


def console(device: Device = DEVICES[0], log: str | None = None, **options: bool) -> ConsoleSettings:
    return ConsoleSettings("n", device, log, LogOptions(**options))


def words(before: ConsoleSettings, after: ConsoleSettings) -> Tuple[str, ...]:
    found = console_changes([before], [after])
    assert not found.added and not found.removed
    return found.changed[0].words if found else ()


def meant(settings: ConsoleSettings) -> ConsoleSettings:
    """Without what makes no difference."""
    return replace(settings, line=0, log_options=settings.log_options if settings.log else LogOptions())


@given(consoles_by_name, consoles_by_name)
def test_the_old_consoles_with_the_changes_are_the_new_ones(
    before: Tuple[ConsoleSettings, ...], after: Tuple[ConsoleSettings, ...]
) -> None:
    found = console_changes(before, after)
    result: Dict[str, ConsoleSettings] = {settings.name: settings for settings in before}
    for name in found.removed:
        del result[name]
    for change in found.changed:
        assert result[change.name] is change.before
        assert change.device or change.log or change.log_options
        result[change.name] = change.after
    for settings in found.added:
        assert settings.name not in result
        result[settings.name] = settings
    assert {name: meant(settings) for name, settings in result.items()} == {
        settings.name: meant(settings) for settings in after
    }
    untouched = set(result) - {settings.name for settings in found.added} - {change.name for change in found.changed}
    kept = {settings.name: settings for settings in before}
    assert all(result[name] is kept[name] for name in untouched)


@given(consoles_by_name)
def test_nothing_differs_from_itself_in_another_order(before: Tuple[ConsoleSettings, ...]) -> None:
    moved = tuple(replace(settings, line=settings.line + 1) for settings in reversed(before))
    assert not console_changes(before, moved)


@given(consoles_by_name, consoles_by_name, st.sets(st.integers(0, 7)))
def test_changes_can_be_divided_and_sent(
    before: Tuple[ConsoleSettings, ...], after: Tuple[ConsoleSettings, ...], part: set[int]
) -> None:
    whole = console_changes(before, after)
    mine = whole.only(lambda name: int(name[1:]) in part)
    rest = whole.only(lambda name: int(name[1:]) not in part)
    assert {*mine.added, *rest.added} == set(whole.added) and not {*mine.added} & {*rest.added}
    assert {*mine.removed, *rest.removed} == set(whole.removed)
    assert {*mine.changed, *rest.changed} == set(whole.changed)
    assert pickle.loads(pickle.dumps(whole)) == whole


@pytest.mark.parametrize(
    "before, after, expected",
    [
        (console(UnixDevice("/s")), console(UnixDevice("/t")), ("dev",)),
        (console(UnixDevice("/s")), console(TelnetDevice("s", 1)), ("dev",)),
        (console(TelnetDevice("h", 23)), console(TelnetDevice("h", 24)), ("dev",)),
        (console(TelnetDevice("h", 23)), console(TelnetDevice("h", 23, keepalive=False)), ("keepalive",)),
        (console(SerialDevice("/p")), console(SerialDevice("/p", SerialOptions(bps=50))), ("seropts",)),
        (console(SerialDevice("/p")), console(SerialDevice("/q", SerialOptions(bps=50))), ("dev",)),
        (console(IpmiDevice("h")), console(IpmiDevice("h", IpmiOptions(username=b"u"))), ("ipmiopts",)),
        (console(TestDevice()), console(TestDevice(TestOptions(burst_bytes=1))), ("testopts",)),
        (console(ProcessDevice(("/p", "secret"))), console(ProcessDevice(("/p", "word"))), ("dev",)),
        (console(log="/a"), console(log="/b"), ("log",)),
        (console(log="/a"), console(), ("log",)),
        (console(log="/a"), console(log="/a", timestamp=True), ("logopts",)),
        (console(log="/a"), console(UnixDevice("/s"), log="/b", lock=False), ("dev", "log", "logopts")),
        (console(timestamp=True), console(), ()),
    ],
)
def test_a_change_is_told_by_the_keys_that_changed(
    before: ConsoleSettings, after: ConsoleSettings, expected: Tuple[str, ...]
) -> None:
    assert words(before, after) == expected


def test_a_log_named_after_the_device_changes_with_it() -> None:
    change = ConsoleChange(console(UnixDevice("/a"), "/l/%D"), console(UnixDevice("/b"), "/l/%D"))
    assert change.log and change.words == ("dev",)
    assert not ConsoleChange(console(UnixDevice("/a"), "/l/%N"), console(UnixDevice("/b"), "/l/%N")).log
    assert not ConsoleChange(console(UnixDevice("/a")), console(UnixDevice("/b"))).log


def test_what_is_said_holds_no_secret() -> None:
    secret = replace(console(IpmiDevice("h", IpmiOptions(password=b"secret"))), name="b")
    found = changes(
        Configuration("c", ServerSettings(), (replace(console(), name="b"), replace(console(), name="c"))),
        Configuration("c", ServerSettings(resetcmd="power secret"), (secret, replace(secret, name="d"))),
    )
    told = "\n".join([found.summary, *found.lines, *found.warnings, repr(found)])
    assert "resetcmd" in told and "Removed console [c]" in told
    assert "secret" not in told.replace("power secret", "")
    assert all("power secret" not in text for text in (found.summary, *found.lines, *found.warnings))


def configuration(server: ServerSettings = DEFAULTS, *names: str) -> Configuration:
    return Configuration("c", server, tuple(ConsoleSettings(name, TestDevice()) for name in names))


def test_the_same_is_no_change() -> None:
    found = changes(configuration(), configuration())
    assert not found and not found.summary and not found.lines and not found.warnings


def test_the_summary_counts_consoles_and_names_settings() -> None:
    first = configuration(ServerSettings(), "a", "b")
    assert changes(first, configuration(ServerSettings(), "a", "b", "c")).summary == "1 console added"
    assert changes(first, configuration(ServerSettings(), "c", "d")).summary == "2 consoles added, 2 removed"
    assert changes(configuration(), configuration(ServerSettings(timestamp_minutes=5))).summary == (
        "server timestamp changed"
    )
    both = changes(first, configuration(ServerSettings(loglevel=LogLevel.DEBUG, resetcmd="x"), "a"))
    assert both.summary == "1 console removed; server loglevel, server resetcmd changed"


def test_each_server_setting_counts_at_once_or_is_warned_of() -> None:
    others = ServerSettings(
        coredump=True,
        coredumpdir="/",
        keepalive=False,
        logfile="/l",
        loglevel=LogLevel.DEBUG,
        loopback=False,
        nofile=1,
        pidfile="/p",
        port=1,
        resetcmd="r",
        syslog=8,
        tcpwrappers=True,
        timestamp_minutes=1,
    )
    found = changes(configuration(), configuration(others))
    assert " ".join(found.applied).replace("server ", "") == (
        "keepalive logfile loglevel resetcmd syslog tcpwrappers timestamp"
    )
    assert " ".join(found.at_next_start).replace("server ", "") == "coredump coredumpdir loopback nofile pidfile port"
    assert found.warnings[-1] == "server port has changed: this takes effect at the next start"
    assert found.lines[-1] == "Changed server port: takes effect at the next start"
    assert len(found.applied) + len(found.at_next_start) == len(fields(ServerSettings))


def test_our_own_settings_are_told_by_section_and_key() -> None:
    found = changes(
        configuration(),
        configuration(),
        DaemonSettings(),
        DaemonSettings(
            path="/elsewhere",
            workers=4,
            listen=ListenSettings(tcp=False),
            rotation=RotationSettings(size_bytes=4096, keep=2),
            scripts=ScriptSettings(in_daemon=False, logins_at_once=1),
        ),
    )
    assert found.applied == (
        "setting rotation size",
        "setting rotation keep",
        "setting scripts in_daemon",
        "setting scripts logins_at_once",
    )
    assert found.at_next_start == ("setting daemon workers", "setting listen tcp")


@pytest.mark.parametrize(
    "before, after, keys",
    [
        (None, UnixSocketSettings("/s"), ("setting listen unix_socket",)),
        (UnixSocketSettings("/s"), UnixSocketSettings("/t"), ("setting listen unix_socket",)),
        (
            UnixSocketSettings("/s"),
            UnixSocketSettings("/s", 0o600, "g"),
            ("setting listen unix_mode", "setting listen unix_group"),
        ),
    ],
)
def test_settings_of_the_unix_socket_have_their_own_keys(
    before: Optional[UnixSocketSettings], after: UnixSocketSettings, keys: Tuple[str, ...]
) -> None:
    old, new = (DaemonSettings(listen=ListenSettings(unix_socket=socket)) for socket in (before, after))
    assert changes(configuration(), configuration(), old, new).at_next_start == keys


def parse(text: bytes) -> Configuration:
    return parse_configuration(text, "c", cwd="/")


RIGHT = b'console name="a" dev="test:"\n'
WRONG = b'console name="b" dev="nonsense"\n'


def test_an_error_is_known_wherever_its_line_has_moved() -> None:
    before = RIGHT + WRONG
    known = known_problems(parse(before).problems, before)
    for after in (before, WRONG + RIGHT, b"# a comment\n\n" + before, b'\t console name="b" dev="nonsense"  \n'):
        assert not new_problems(parse(after).problems, after, known)


def test_a_line_that_was_right_or_was_not_there_is_a_new_error() -> None:
    before = RIGHT + WRONG
    known = known_problems(parse(before).problems, before)
    for wrong in (b'console name="a" dev="tset:"\n', b"server port=x\n", b'console name="c"\n', WRONG):
        after = before + wrong
        (problem,) = new_problems(parse(after).problems, after, known)
        assert problem.line == 3


def test_warnings_are_told_from_known_ones_too() -> None:
    text = b'console name="a" dev="test:" log="/a" logopts="zork"\n'
    problems = parse(text).problems
    assert new_problems(problems, text, {}) == problems and problems[0].level is LogLevel.WARNING
    assert not new_problems(problems, text, known_problems(problems, text))


def test_lines_of_several_physical_ones_and_without_an_end_are_errors_too() -> None:
    text = b'console name="a" \\\n dev="nonsense"'
    problems = parse(text).problems
    assert len(new_problems(problems, text, {})) == 1
    assert not new_problems(problems, text, known_problems(problems, text))


def test_settings_in_the_table_exist() -> None:
    names = {field.name for field in fields(ServerSettings)}
    assert names >= module.AT_NEXT_START
