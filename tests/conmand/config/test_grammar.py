"""conman.conf: what each key sets, what each mistake is called and where, and what survives it."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.grammar import KEYWORDS, parse_configuration
from conmand.config.model import (
    Configuration,
    IpmiDevice,
    IpmiOptions,
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
from conmand.config.syslognames import LOG_LEVELS, SYSLOG_FACILITIES


def parse(text: str, cwd: str = "/w") -> Configuration:
    return parse_configuration(text.encode("utf-8", "surrogateescape"), "F", cwd=cwd)


def server(text: str, cwd: str = "/w") -> ServerSettings:
    """The settings after server lines without a problem."""
    configuration = parse("\n".join(f"server {line}" for line in text.split("\n")), cwd)
    assert configuration.problems == ()
    return configuration.server


def problems(text: str) -> List[str]:
    return [str(problem) for problem in parse(text).problems]


def messages(text: str) -> List[str]:
    return [problem.text for problem in parse(text).problems]


def logs(text: str) -> List[object]:
    return [console.log for console in parse(text).consoles]


# --- lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\0", "\0server x", "\0\0\n\n"])
def test_a_nul_byte_ends_the_configuration_and_is_complained_of(text: str) -> None:
    """The original says nothing."""
    good = 'console name="n" dev="test:"\n'
    configuration = parse(good + text)
    assert [console.name for console in configuration.consoles] == ["n"]
    assert problems(good + text) == [
        f"CONFIG[F:2]: a NUL byte ends the configuration: what follows it is ignored (bytes: {len(text) - 1})"
    ]


@pytest.mark.parametrize("text", ["", "\n", "# x", " \\\n", "server", "global\n", "server \\\nport=5"])
def test_nothing_wrong(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foo", ["CONFIG[F:1]: unrecognized token 'foo'"]),
        ("\n5 x\n", ["CONFIG[F:2]: unrecognized token '5'"]),
        ("'a b'", ["CONFIG[F:1]: unrecognized token 'a b'"]),
        ("port=5", ["CONFIG[F:1]: unrecognized token 'port'"]),
        ("'x", ["CONFIG[F:1]: unmatched quote"]),
        ("server 'x", ["CONFIG[F:1]: unmatched quote"]),
        ("server dev=x", ["CONFIG[F:1]: unrecognized token 'dev'"]),
        ("server port=5, x=y", ["CONFIG[F:1]: unrecognized token ','"]),
        ("\udcff", ["CONFIG[F:1]: unrecognized token '\udcff'"]),
        ("server \udcff", ["CONFIG[F:1]: unrecognized token '\udcff'"]),
        ("server port", ["CONFIG[F:1]: expected '=' after PORT keyword"]),
        ("server port '='", ["CONFIG[F:1]: expected '=' after PORT keyword"]),
        ("server port=\\\n\n", ["CONFIG[F:2]: expected INTEGER for PORT value"]),
        ("server port=\\\n x", ["CONFIG[F:2]: expected INTEGER for PORT value"]),
        ("console ipmiopts 'x'", ["CONFIG[F:1]: expected '=' after IPMIOPTS keyword"]),
        ("console testopts", ["CONFIG[F:1]: expected '=' after TESTOPTS keyword"]),
        ("console \\\n\nx", ["CONFIG[F:2]: incomplete CONSOLE directive", "CONFIG[F:3]: unrecognized token 'x'"]),
        ("console name=x", ["CONFIG[F:1]: incomplete CONSOLE directive"]),
        ("console dev=x", ["CONFIG[F:1]: incomplete CONSOLE directive"]),
        ("console name=x dev=y \\\n\\\n", ['CONFIG[F:3]: console [x] device "y" type unrecognized']),
        ("foo\rserver x\r\n\nbar", ["CONFIG[F:1]: unrecognized token 'foo'", "CONFIG[F:2]: unrecognized token 'x'",
                                    "CONFIG[F:4]: unrecognized token 'bar'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_once_with_its_line(text: str, expected: List[str]) -> None:
    assert problems(text) == expected


def test_server_assignments_before_a_mistake_count() -> None:
    configuration = parse("server port=5 foo loopback=off\nserver nofile=3")
    assert (configuration.server.port, configuration.server.loopback, configuration.server.nofile) == (5, True, 3)


def test_a_console_is_all_or_nothing() -> None:
    configuration = parse("console name=a dev='test:' foo\nconsole name=b dev='test:'")
    assert [console.name for console in configuration.consoles] == ["b"]


def test_the_last_of_repeated_keys_counts() -> None:
    configuration = parse("console name=a dev='zork' name=b dev='test:' log=x log=''")
    assert [(console.name, console.log) for console in configuration.consoles] == [("b", None)]


def test_a_console_knows_its_line() -> None:
    consoles = parse("\nconsole name=a \\\n dev='test:'\nconsole name=b dev='test:'").consoles
    assert [console.line for console in consoles] == [3, 4]


def test_keywords_are_reserved_unless_quoted() -> None:
    assert " ".join(sorted(KEYWORDS)).lower() == (
        "console coredump coredumpdir dev execpath global ipmiopts keepalive log logdir logfile logopts loopback name "
        "nofile off on pidfile port resetcmd seropts server syslog tcpwrappers testopts timestamp"
    )
    for keyword in sorted(KEYWORDS):
        assert messages(f"console name={keyword.lower()} dev='test:'") == ["expected STRING for NAME value"]
        assert messages(f"console name='{keyword}' dev='test:'") == []


def test_the_original_sample_is_read(tmp_path: Path) -> None:
    sample = r"""
server loopback=on port=7890 logdir="/var/log/conman" logfile="conman.log,info"
server pidfile="/run/conmand.pid" nofile=-1 timestamp=1h execpath="@"
server resetcmd="/usr/sbin/powerman -0 %N; sleep 3; /usr/sbin/powerman -1 %N"
global log="%N/%Y-%m.log" logopts="sanitize,timestamp" seropts="115200,8n1"
console name="s1" dev="/dev/null" seropts="9600"
console name="t1" dev="ts1:2001"
console name="v1" dev="unix:/run/vm/%N.sock" logopts="nosanitize"
console name="b1" dev="ipmi:bmc1" ipmiopts="U:admin,P:0x73656372,K:,C:3,L:admin,W:sun20,W:solstatus"
console name="p1" dev="ssh.exp %N 22 'literal %N' "
console name="x1" dev="test:" testopts="b:80,m:1000,n:200,p:50" \
        log=""
""".replace("@", str(tmp_path))
    (tmp_path / "ssh.exp").touch(0o755)
    configuration = parse(sample)
    assert configuration.problems == ()
    assert configuration.server == ServerSettings(
        logfile="/var/log/conman/conman.log",
        pidfile="/run/conmand.pid",
        nofile=-1,
        timestamp_minutes=60,
        resetcmd="/usr/sbin/powerman -0 %N; sleep 3; /usr/sbin/powerman -1 %N",
    )
    assert [console.device for console in configuration.consoles] == [
        SerialDevice("/dev/null", SerialOptions(9600)),
        TelnetDevice("ts1", 2001),
        UnixDevice("/run/vm/v1.sock"),
        IpmiDevice("bmc1", IpmiOptions(b"admin", b"secr", None, 2, 3, 0x04000008)),
        ProcessDevice((f"{tmp_path}/ssh.exp", "p1", "22", "literal %N")),
        TestDevice(TestOptions(80, 1000, 200, 50)),
    ]
    assert [console.log for console in configuration.consoles] == ["/var/log/conman/%N/%Y-%m.log"] * 5 + [None]
    assert configuration.consoles[2].log_options == LogOptions(sanitize=False, timestamp=True)
    assert [console.line for console in configuration.consoles] == [6, 7, 8, 9, 10, 12]


# --- server --------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert parse("").server == ServerSettings()


@pytest.mark.parametrize("key", ["coredump", "keepalive", "loopback", "tcpwrappers"])
def test_switches(key: str) -> None:
    assert getattr(server(f"{key}=On"), key) is True
    assert getattr(server(f"{key}=on\n{key}=OFF"), key) is False
    assert messages(f'server {key}="on"') == [f"expected ON or OFF for {key.upper()} value"]
    assert messages(f"server {key}=1") == [f"expected ON or OFF for {key.upper()} value"]


@pytest.mark.parametrize("key", ["logfile", "pidfile", "resetcmd", "syslog"])
@pytest.mark.parametrize("value", ["''", "' '", "5", "port", "'x"])
def test_strings_that_must_not_be_empty(key: str, value: str) -> None:
    assert messages(f"server {key}={value}") == [f"expected STRING for {key.upper()} value"]


@pytest.mark.parametrize("key", ["coredumpdir", "execpath", "logdir"])
def test_strings_that_may_be_empty(key: str) -> None:
    assert server(f"{key}=' '\n{key}=''") == ServerSettings()
    assert messages(f"server {key}=5") == [f"expected STRING for {key.upper()} value"]


@pytest.mark.parametrize("key", ["nofile", "port", "timestamp"])
def test_integers(key: str) -> None:
    assert messages(f"server {key}='5'") == [f"expected INTEGER for {key.upper()} value"]
    assert messages(f"server {key}={2**31}") == [f"invalid {key.upper()} value {2**31}"]


def test_values_that_the_original_cuts_are_refused() -> None:
    for key, value in [("logfile", "y" * 1024), ("logfile", "y" * 1021), ("port", "0" * 1024), ("pidfile", "y" * 1021),
                       ("logdir", "y" * 1021), ("resetcmd", "y" * 1024)]:  # fmt: skip
        assert messages(f"server {key}={value}") == [f"{key.upper()} value exceeds 1023-byte maximum"]
    assert server("logfile=" + "y" * 1020).logfile == "/w/" + "y" * 1020


def test_coredumpdir(tmp_path: Path) -> None:
    assert server(f"coredumpdir='{tmp_path}/'").coredumpdir == str(tmp_path)
    assert server("coredumpdir='.'", str(tmp_path)).coredumpdir == f"{tmp_path}/."
    assert server(f"coredumpdir='{tmp_path}'\ncoredumpdir=' '").coredumpdir is None
    assert messages("server coredumpdir='/no/such'") == ['cannot stat COREDUMPDIR "/no/such"']
    assert messages("server coredumpdir='/dev/null'") == ['invalid COREDUMPDIR "/dev/null" not a directory']


def test_logfile_starts_at_the_logdir_in_force() -> None:
    assert server("logfile=x").logfile == "/w/x"
    assert server("logdir=d\nlogfile=x\nlogdir=e").logfile == "/w/d/x"
    assert server("logdir='/d'\nlogfile='%Y'").logfile == "/d/%Y"
    assert server("logdir='/d'\nlogdir=''\nlogfile=x").logfile == "/w/x"


@pytest.mark.parametrize(("name", "level"), LOG_LEVELS.items())
def test_logfile_priorities(name: str, level: LogLevel) -> None:
    settings = server(f"logfile='a,b, {name.upper()}'")
    assert (settings.logfile, settings.loglevel) == ("/w/a,b", level)


@pytest.mark.parametrize("priority", ["", "foo", "info ", "7"])
def test_a_wrong_priority_keeps_the_file_and_the_level(priority: str) -> None:
    configuration = parse(f"server logfile='x,debug'\nserver logfile='y,{priority}'")
    assert [str(problem) for problem in configuration.problems] == [
        f'CONFIG[F:2]: invalid LOGFILE priority "{priority}"'
    ]
    assert (configuration.server.logfile, configuration.server.loglevel) == ("/w/y", LogLevel.DEBUG)


def test_a_comma_in_logdir_starts_the_priority() -> None:
    assert messages("server logdir='/a,b'\nserver logfile=x") == ['invalid LOGFILE priority "b/x"']


def test_nofile() -> None:
    assert [server(f"nofile={value}").nofile for value in (-1, 0, 4096)] == [-1, 0, 4096]


def test_port() -> None:
    assert server("port=+7893").port == 7893
    assert server("port=0").port == 0
    assert server("port=65535").port == 65535
    assert messages("server port=-3") == ["invalid PORT value -3"]
    assert messages("server port=65536") == ["invalid PORT value 65536"]


def test_the_last_port_and_pidfile_win_on_any_line() -> None:
    assert server("port=1 port=2\nport=3").port == 3
    assert server("pidfile='/a' pidfile='/b'\npidfile=c").pidfile == "/w/c"


def test_the_command_line_wins_but_the_file_is_checked() -> None:
    text = b"server port=5 pidfile='/b'\nserver port=-1"
    configuration = parse_configuration(text, "F", cwd="/w", port=0, pidfile="p")
    assert (configuration.server.port, configuration.server.pidfile) == (0, "/w/p")
    assert [str(problem) for problem in configuration.problems] == ["CONFIG[F:2]: invalid PORT value -1"]


@pytest.mark.parametrize("command", ["a && b", "a >x 2>&1", "a >&2", "a <&3", "a &>x", "a |& b", "a %N", "a &>>x"])
def test_resetcmd_may_use_the_shell(command: str) -> None:
    assert server(f'resetcmd="{command}"').resetcmd == command


@pytest.mark.parametrize("command", ["powerman -0 &", "& x", "a && b &", "a &; b", "a &&& b", "'&'"])
def test_resetcmd_may_not_mean_the_name_by_an_ampersand(command: str) -> None:
    assert messages(f'server resetcmd="{command}"') == [
        "ignoring SERVER RESETCMD value with deprecated '&' -- use '%N'"
    ]


@pytest.mark.parametrize(("name", "facility"), SYSLOG_FACILITIES.items())
def test_syslog_facilities(name: str, facility: int) -> None:
    assert server(f"syslog=' \t{name.title()}'").syslog == facility


def test_syslog_kern_is_user_as_for_the_c_library() -> None:
    assert server("syslog=kern").syslog == 8


@pytest.mark.parametrize("name", ["ftp", "syslog", "local8", "local0 ", "  foo"])
def test_unknown_syslog_facilities(name: str) -> None:
    assert messages(f"server syslog='{name}'") == [f'invalid SYSLOG facility "{name}"']


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("60", 60), ("60m", 60), ("2 h", 120), ("1D", 1440), ("30 'm'", 30), ("0", 0), ("5 \\\n h", 300), ("5 # x", 5)],
)
def test_timestamp(text: str, minutes: int) -> None:
    assert parse(f"server timestamp={text}").server.timestamp_minutes == minutes
    assert messages(f"server timestamp={text}") == []


@pytest.mark.parametrize("rest", ["x", "'mm'", "''", ", port=3", "7", "port=7", "'x", "m7"])
def test_a_wrong_unit_turns_timestamps_off(rest: str) -> None:
    configuration = parse(f"server timestamp=7\nserver timestamp=5 {rest}")
    assert [problem.text for problem in configuration.problems] == [
        "expected (m|d|h) qualifier for TIMESTAMP value"
    ]
    assert configuration.server.timestamp_minutes == 0


def test_timestamp_out_of_range() -> None:
    assert messages("server timestamp=-5 m foo") == ["invalid TIMESTAMP value -5"]
    assert messages("server timestamp=99999999 d") == ["expected (m|d|h) qualifier for TIMESTAMP value"]


def test_after_a_unit_the_line_goes_on() -> None:
    assert server("timestamp=1h port=5").port == 5


def test_timestamp_leaves_the_next_line_alone() -> None:
    configuration = parse("server timestamp=60\nconsole name=q dev='test:'")
    assert configuration.problems == ()
    assert [console.name for console in configuration.consoles] == ["q"]


# --- global --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", ["ignoring GLOBAL LOG value without '%N' or '%D'"]),
        ("x&%N", ["ignoring GLOBAL LOG value with deprecated '&' -- use '%N'"]),
        ("x&", ["ignoring GLOBAL LOG value with deprecated '&' -- use '%N'"]),
        ("", []),
        (" ", []),
        ("%N", []),
        ("%D", []),
    ],
)
def test_global_log(value: str, expected: List[str]) -> None:
    assert messages(f"global log='{value}'") == expected


@pytest.mark.parametrize("key", ["logopts", "seropts", "ipmiopts", "testopts"])
def test_global_options_must_not_be_empty(key: str) -> None:
    assert messages(f"global {key}=''\nglobal {key}=' '") == [f"expected STRING for {key.upper()} value"] * 2


def test_globals_count_for_later_consoles() -> None:
    configuration = parse(
        "console name=a dev='test:'\nglobal testopts='b:5' log='%N' logopts=nolock\nconsole name=b dev='test:'\n"
        "global log=''\nglobal testopts='m:7'\nconsole name=c dev='test:'"
    )
    assert [console.device for console in configuration.consoles] == [
        TestDevice(), TestDevice(TestOptions(5)), TestDevice(TestOptions(5, 7)),
    ]  # fmt: skip
    assert [console.log for console in configuration.consoles] == [None, "/w/%N", None]
    assert [console.log_options.lock for console in configuration.consoles] == [True, False, False]


def test_wrong_global_options_change_nothing() -> None:
    configuration = parse("global seropts='300,8x'\nglobal ipmiopts='U:a,Q:'\nconsole name=a dev='/dev/null'")
    assert len(configuration.problems) == 2
    assert configuration.consoles[0].device == SerialDevice("/dev/null")


def test_unknown_logopts_are_warned_of_with_their_line() -> None:
    configuration = parse("\nglobal logopts='foo,sanitize'\nconsole name=a dev='test:' log=x logopts='bar'")
    assert [(str(problem), problem.level) for problem in configuration.problems] == [
        ("CONFIG[F:2]: ignoring unrecognized token 'foo'", LogLevel.WARNING),
        ("CONFIG[F:3]: ignoring unrecognized token 'bar'", LogLevel.WARNING),
    ]
    assert configuration.consoles[0].log_options == LogOptions(sanitize=True)


# --- console -------------------------------------------------------------------------------------------------------


def test_logs_follow_logdir_and_globals_in_order() -> None:
    assert logs(
        """
console name="c0" dev="test:" log="c0.log"
global  log="g-%N.log"
console name="c1" dev="test:"
server  logdir="/L1"
console name="c2" dev="test:"
console name="c3" dev="test:" log="c3.log"
console name="c4" dev="test:" log=""
server  logdir=""
console name="c5" dev="test:" logopts="sanitize"
console name="c6" dev="test:" log="/x" """
    ) == ["/w/c0.log", "/w/g-%N.log", "/L1/g-%N.log", "/L1/c3.log", None, "/w/g-%N.log", "/x"]


def test_a_log_used_twice_costs_the_second_console_its_log() -> None:
    text = "console name=a dev='test:' log=g\nconsole name=g dev='test:' log='%N'"
    assert problems(text) == ['CONFIG[F:2]: console [a] already logging to "/w/g"']
    assert logs(text) == ["/w/g", None]


def test_logs_that_come_to_share_a_file_are_both_kept_with_a_warning() -> None:
    text = "console name=a dev='test:' log='x%%'\nconsole name=b dev='test:' log='x%%'"
    configuration = parse(text)
    assert [(str(problem), problem.level) for problem in configuration.problems] == [
        ('CONFIG[F:2]: console [b] shares log "/w/x%" with console [a]', LogLevel.WARNING)
    ]
    assert logs(text) == ["/w/x%%", "/w/x%%"]


def test_an_ampersand_in_a_log_costs_the_console() -> None:
    configuration = parse("console name=a dev='test:' log='&'")
    assert [problem.text for problem in configuration.problems] == [
        "ignoring CONSOLE LOG value with deprecated '&' -- use '%N'"
    ]
    assert configuration.consoles == ()


def test_a_global_log_that_gets_too_long_costs_the_log() -> None:
    text = f"global log='%N'\nserver logdir='/{'y' * 1021}'\nconsole name=a dev='test:'"
    assert problems(text) == ["CONFIG[F:3]: LOG value exceeds 1023-byte maximum"]
    assert logs(text) == [None]


def test_logopts_of_an_unlogged_console_are_not_looked_at() -> None:
    assert messages("console name=a dev='test:' logopts='foo'") == []


def test_empty_console_options() -> None:
    assert messages("console name=a dev='test:' testopts='' ipmiopts=''") == []
    assert messages("console name=a dev='test:' seropts=''") == ["expected STRING for SEROPTS value"]
    assert messages("console name=a dev='test:' logopts=' '") == ["expected STRING for LOGOPTS value"]


def test_bad_device_options_cost_the_console_before_its_name_is_compared() -> None:
    text = "console name=a dev='test:'\nconsole name=a dev='test:' testopts='z'\nconsole name=a dev='test:'"
    assert messages(text) == ['invalid testopts value "z"', "console [a] specifies duplicate console name"]


def test_keepalive_of_telnet_is_that_of_the_line() -> None:
    text = "console name=a dev='h:1'\nserver keepalive=off\nconsole name=b dev='h:1'\nserver keepalive=on"
    assert [console.device for console in parse(text).consoles] == [
        TelnetDevice("h", 1, True), TelnetDevice("h", 1, False),
    ]  # fmt: skip


def test_execpath_counts_for_later_consoles_and_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "p.exp").touch(0o755)
    text = "console name=a dev='p.exp'\nserver execpath=':no:bin:'\nconsole name=b dev='p.exp'"
    configuration = parse(text, str(tmp_path))
    assert [console.name for console in configuration.consoles] == ["b"]
    assert configuration.consoles[0].device == ProcessDevice((f"{tmp_path}/bin/p.exp",))


def test_script_dirs_come_after_execpath(tmp_path: Path) -> None:
    (tmp_path / "p.exp").touch(0o755)
    text = b"console name=a dev='p.exp'"
    configuration = parse_configuration(text, "F", cwd="/", script_dirs=[str(tmp_path)])
    assert configuration.consoles[0].device == ProcessDevice((f"{tmp_path}/p.exp",))


def test_names_keep_any_bytes() -> None:
    configuration = parse_configuration(b"console name='a /\xc3\xa9\xff' dev='unix:/%N'", "F", cwd="/")
    assert configuration.consoles[0].name == "a /é\udcff"
    assert configuration.consoles[0].device == UnixDevice("/a /é\udcff")


def test_passwords_are_in_no_problem() -> None:
    text = "console name=a dev='ipmi:h' ipmiopts='U:u,P:se,cret'\nglobal ipmiopts='P:cret,W:x'"
    assert not any("cret" in problem for problem in problems(text))


# --- anything ------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [b"server", b"global", b"console", *(f"{key.lower()}=".encode() for key in KEYWORDS), b"on", b"'", b'"', b"=", b"5",
     b"-1", b"99999999999999999999", b"name=a", b"dev='test:'", b"dev='unix:%N'", b"'%N'", b"\\", b"\\\n", b"\n", b"\r",
     b"\xff", b"#", b"&", b"'U:a,P:b'", b"m", b"'9600,8n1'", b"'b:1'", b"''"]
)  # fmt: skip


@given(st.lists(st.one_of(WORDS, st.binary(max_size=6)), max_size=60).map(b" ".join))
def test_any_bytes_give_a_configuration(text: bytes) -> None:
    configuration = parse_configuration(text, "F", cwd="/w")
    lines = 1 + text.count(b"\n") + text.count(b"\r")
    assert all(1 <= problem.line <= lines and problem.text for problem in configuration.problems)
    assert all(console.name and console.device for console in configuration.consoles)
    assert len({console.name for console in configuration.consoles}) == len(configuration.consoles)


CONSOLE_KEYS = st.sampled_from([b"name", b"dev", b"log", b"logopts", b"seropts", b"ipmiopts", b"testopts"])


@given(st.binary(max_size=20), CONSOLE_KEYS)
def test_any_value_in_a_console_leaves_the_next_line_alone(value: bytes, key: bytes) -> None:
    value = value.translate(None, b"\0\r\n'")
    text = b"console name='a' dev='test:' %b='%b'\nconsole name='next one' dev='h:1'" % (key, value)
    assert parse_configuration(text, "F", cwd="/w").consoles[-1].name == "next one"
