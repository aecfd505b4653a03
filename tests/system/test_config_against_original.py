"""Our reading of conman.conf beside that of ConMan 0.3.1: the same messages for the same lines, the same consoles.

The original is given a port that the test already listens on. It reads its configuration, prints what it thinks of it
and a summary, fails to bind and exits: no device is opened, and nothing is left to be stopped.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
from pathlib import Path
from typing import List

import pytest

from conman.text import encode
from conmand.config.check import report_problem
from conmand.config.grammar import parse_configuration
from conmand.config.model import Configuration
from tests.fakes.peers import original_conmand

MAX_LINE_BYTES = 1002  # of the original's messages: room for the date is kept where there is none


def original_output(config: Path) -> List[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = subprocess.run(
            [original_conmand(), "-F", "-v", "-c", str(config), "-p", str(taken.getsockname()[1])],
            cwd=config.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    lines = result.stderr.decode("utf-8", "surrogateescape").split("\n")
    assert any("Unable to bind" in line for line in lines), lines
    return lines


def original_messages(lines: List[str]) -> List[str]:
    """What it says about the configuration; messages that ours mends are given as ours has them."""
    messages = [line for line in lines if "CONFIG[" in line or "ignoring unrecognized token" in line]
    return [line.replace("unexpected '=' after", "expected '=' after") for line in messages]


def our_messages(configuration: Configuration) -> List[str]:
    """What ours says, without the places and the warnings that only ours gives."""
    lines = [report_problem(problem) for problem in configuration.problems if "shares log" not in problem.text]
    lines = [re.sub(r"^(WARNING: +)CONFIG\[.*?\]: ", r"\1", line) for line in lines]
    return [encode(line)[:MAX_LINE_BYTES].decode("utf-8", "surrogateescape") for line in lines]


def our_summary(configuration: Configuration) -> List[str]:
    server = configuration.server
    options = [
        ("CoreDump", server.coredump),
        ("KeepAlive", server.keepalive),
        ("LogFile", server.logfile),
        ("LoopBack", server.loopback),
        ("ResetCmd", server.resetcmd),
        ("SysLog", server.syslog is not None),
        ("TCP-Wrappers", server.tcpwrappers),
        (f"TimeStamp={server.timestamp_minutes}m", server.timestamp_minutes),
    ]
    count = len(configuration.consoles)
    return [
        "Options: " + (" ".join(name for name, enabled in options if enabled) or "None"),
        f"Monitoring {count} console{'' if count == 1 else 's'}",
    ]


def assert_same(text: bytes, directory: Path) -> None:
    config = directory / "conman.conf"
    config.write_bytes(b'console name="always" dev="test:"\n' + text)
    lines = original_output(config)
    ours = parse_configuration(config.read_bytes(), str(config), cwd=str(directory))
    # That a NUL byte ends the configuration is as with the original, that we say so is not.
    assert [message for message in our_messages(ours) if "a NUL byte ends" not in message] == original_messages(lines)
    assert our_summary(ours) == [line for line in lines if line.startswith(("Options: ", "Monitoring "))]


LONG = "y" * 1021
LEXICAL = rb"""
na\
me = x
"quo ted" x
foo console name=x
5
, console name="a" dev="test:"
port=5
server port="x
server "x
'foo
server "port"=5
server \ x
server = 5
SERVER Loopback = OFF	KeepAlive=oN # comment \
server foo # comment with 'quote
server port = \
  x
console name="x\
" dev="test:"
console name=\
"" \

console name=x \
dev="zork"\

server 80abc
server +x
console name=q1 dev="test:", log=""
"""
LEXICAL += b"\xc3\xa9\nserver \x80\nserver port=\xc3\nserver foo\rserver bar\r\rserver baz\r\n\nserver \\\r x\n"
LEXICAL += b"server zork\0\nlost"
SERVER = rb"""
server
global
server port
server port=
server port= # x
server port=-3
server port=+78
server port="80"
server nofile=x
server server
server console name=x dev=y
server dev=x
server coredump="on"
server coredump=x
server coredump=5
server coredumpdir="/nonexistent"
server coredumpdir="/etc/passwd"
server coredumpdir="nonexistent"
server coredumpdir="conman.conf"
server coredumpdir=" "
server coredumpdir="/"
server tcpwrappers=yes
server execpath=""
server execpath=5
server keepalive=1
server logdir=x=y
server logfile=""
server logfile="x,foo"
server logfile="x,"
server logfile="x, info"
server logfile="x,info "
server logfile="a,b,WARN"
server logfile="x,7"
server logfile="x,Panic"
server logdir="/a,b"
server logfile="x"
server logdir=""
server syslog="local8"
server syslog="local0 "
server syslog="  "
server syslog="ftp"
server syslog="   foo "
server syslog="	Local7"
server pidfile=""
server resetcmd=" "
server resetcmd="powerman &"
server resetcmd="& x"
server timestamp=60 m
server timestamp=60 port=7890
server timestamp=60 x
server timestamp=-5 m
server timestamp=-5 foo
server timestamp=99999999 d
server timestamp=5 "mm"
server timestamp=5 , port=3
server timestamp=5 7
server timestamp=5 'x
server timestamp=0 x
server timestamp=x
server timestamp=2\
 h port=7891 syslog=local3 logfile=x
server port=7901 foo
"""
OPTIONS = rb"""
global name=x
global log
global log=5
global log=""
global log="x&y"
global log="xy"
global log="x&%N"
global logopts=""
global logopts=",,"
global logopts="lock;foo.bar nolock"
global logopts=bar zork
global seropts="10"
global seropts="9600,9"
global seropts="9600,8x"
global seropts="9600,8 n"
global seropts="9600,8n3"
global seropts="9600, 8n 1zzz"
global seropts="-5"
global seropts="9600,8n-1"
global seropts="0"
global seropts="7n2"
global seropts="99999999999"
global seropts="+300,+8N"
global seropts="9600,0x8"
global seropts="9600 ,8x"
global seropts="9600,8,"
global seropts="abc"
global testopts=""
global testopts
global testopts "x"
global testopts="b"
global testopts="b:"
global testopts="z:1"
global testopts="b:-1"
global testopts="b: 5"
global testopts="b: "
global testopts="b:5 "
global testopts="b:0x10,m:010,n:08"
global testopts=",b:5,,p:200,"
global testopts="b:2147483647"
global testopts="b:2147483648"
global testopts="b:+5"
global testopts="b:-0"
global testopts=" b:1"
global testopts="b:0x"
global testopts="b:1,bb:2"
global testopts="b:0b1"
global testopts=","
global testopts="b:5:6"
global testopts=":5"
global ipmiopts=" "
global ipmiopts
global ipmiopts="U:abcdefghijklmnop"
global ipmiopts="U:abcdefghijklmnopq"
global ipmiopts="P:abcdefghijklmnopqrstu"
global ipmiopts="K:abcdefghijklmnopqrstu"
global ipmiopts="K:0x0000000000000000000000000000000000000000"
global ipmiopts="K:0x000000000000000000000000000000000000000"
global ipmiopts="K:0x00000000000000000000000000000000000000000"
global ipmiopts="P:0xzz,P:0x"
global ipmiopts="L:foo"
global ipmiopts="L:3"
global ipmiopts="L:-1"
global ipmiopts="L:0x1"
global ipmiopts="L:ADMIN,L:op,L:Operator,L:user,L:"
global ipmiopts="L: 1"
global ipmiopts="L:1 "
global ipmiopts="L:1x"
global ipmiopts="L:99999999999"
global ipmiopts="C:foo"
global ipmiopts="C:4"
global ipmiopts="C:-1"
global ipmiopts="C:0x11,C:021"
global ipmiopts="C:19"
global ipmiopts="W:foo"
global ipmiopts="W:0x200"
global ipmiopts="W:1,W:-5"
global ipmiopts="W:AUTHCAP,W:Default,W:none,W:0x0f000000"
global ipmiopts="W:0x10000000"
global ipmiopts="W:4294967295"
global ipmiopts="W:99999999999999999999"
global ipmiopts="W: 1"
global ipmiopts="W:intel 20"
global ipmiopts="Z:1"
global ipmiopts="U:a,foo"
global ipmiopts="U:a,,P:b"
global ipmiopts=",U:a"
global ipmiopts="U:a,U"
global ipmiopts=" U:a"
global ipmiopts="foo,bar,baz,authcap,0x2"
global ipmiopts="-,-,-,-"
global ipmiopts="foo,abcdefghijklmnopqrstu"
global ipmiopts="foo,b,abcdefghijklmnopqrstu"
global ipmiopts="foo,,abcdefghijklmnopqrstu"
global ipmiopts="abcdefghijklmnopq"
global ipmiopts="U:a:b"
global ipmiopts=":"
global ipmiopts="::"
global ipmiopts="a"
global ipmiopts="u:x,p:y,k:z,l:1,c:1,w:1"
global testopts="b:99999999999999999999"
"""  # The last line comes last because the original refuses every number in testopts after it.
CONSOLES = rb"""
console
console name
console name="x"
console dev="x"
console name="" dev="x"
console name=5 dev="test:"
console name=log dev="test:"
console name=x log dev
console name=x dev="test:" ipmiopts "x"
console name=x dev="test:" testopts
console name=x dev="test:" seropts
console name=x dev="test:" 5
console name=x dev="test:" "dev"
console console
console port=5
console ipmiopts=5
console name='x
console name=d1 dev=" "
console name=d2 dev="'x"
console name=d3 dev="'"
console name=d4 dev="x '"
console name=d5 dev="' "
console name=d6 dev="''"
console name=d7 dev='"a"b" c'
console name=d8 dev='""x"'
console name="a b" dev="nothing %N"
console name="a b" dev="%N"
console name="a b" dev="'%N'"
console name="a b" dev='"%N %N"'
console name=e1 dev="test: x"
console name=e2 dev="test:x"
console name=e3 dev="TEST:"
console name=e4 dev="test:0"
console name=e5 dev="127.0.0.1:0"
console name=e6 dev="127.0.0.1:22 x"
console name=e7 dev="127.0.0.1:22:22"
console name=e8 dev="127.0.0.1:22x"
console name=e9 dev="h:"
console name=f1 dev="h:+22"
console name=f2 dev="unix:"
console name=f3 dev="UNIX:x y"
console name=f4 dev="/dev/null x"
console name=f5 dev="/dev"
console name=f6 dev="conman.conf"
console name=f7 dev="no-such-program"
console name=f8 dev="ipmi:"
console name=f9 dev="ipmi:x y"
console name=g1 dev="unix:g1" seropts="1" testopts="z" ipmiopts="Z:"
console name=g2 dev="127.0.0.1:1" seropts=""
console name=g3 dev="127.0.0.1:1" ipmiopts=" "
console name=g4 dev="127.0.0.1:1" testopts=" "
console name=g5 dev="test:" testopts=" "
console name=g5 dev="test:" testopts=""
console name=g5 dev="test:" testopts="z"
console name=h1 dev="test:" log="g"
console name=h1 dev="test:" log="g"
console name=h2 dev="test:" log="g"
console name=h3 dev="test:" log="g&"
console name=h4 dev="test:" log="%%g"
console name=h5 dev="test:" log="%%g"
console name=h6 dev="test:" log="h7"
console name=h7 dev="test:" log="%N"
console name=h8 dev="test:" log="h9-%m"
console name=h9 dev="test:" log="%N-%m"
console name=i1 dev="test:" log="" logopts="foo"
console name=i2 dev="test:" log="i2" logopts="foo,bar"
console name=i3 dev="test:" log="i3" logopts=" "
console name=j1 dev="unix:./a"
console name=j2 dev="unix:a"
console name=j3 dev="unix:/a"
console name=j4 dev="unix://a"
console name=j5 dev="unix:/a"
console name=j6 dev="Unix:a"
console name=j2 dev="unix:./a"
console name=j1 dev="unix:a"
console name=k1 dev="/dev/null" seropts="10"
console name=k1 dev="/dev/null" seropts="x"
console name=k2 dev="/dev/null"
console name=l1 dev="test:" name=l2 dev="zork" name=l3
console name=l1 dev="zork" dev="test:"
console name=m1 dev="ipmi:127.0.0.2"
console name=m2 dev="ipmi:127.0.0.2"
console name=m3 dev="IPMI:127.0.0.2" ipmiopts="Z:"
console name=m4 dev="IPMI:127.0.0.3" ipmiopts="U:x"
console name=n1 dev="/bin/true 'a b' %N"
console name=n2 dev="true"
server execpath="::nothing:/bin:/usr/bin"
console name=n2 dev="true"
console name=n3 dev="TRUE"
server execpath="/dev"
console name=n4 dev="null"
global log="g-%N.log" logopts="sanitize"
console name=o1 dev="test:"
console name=o2 dev="test:" log="g-o1.log"
console name=o3 dev="test:" log="g-o4.log"
console name=o4 dev="test:"
server logdir="/L1"
console name=o5 dev="test:" log="g"
"""
SIZES = f"""
server {"y" * 1030}
console name=p1 dev="unix:/{"y" * 106}"
console name=p2 dev="unix:/{"y" * 107}"
console name={"y" * 200} dev="{"%N" * 8}"
console name=x dev="{"%N" * 511}"
console name={LONG} dev="test:"
console name={LONG} dev="test:"
global testopts="{LONG}"
console name=p3 dev="test:" log="{"%Y" * 300}"
console name=p4 dev="{"a " * 500}"
""".encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LEXICAL, id="lexical"),
        pytest.param(SERVER.replace(b"\n", b"\n\n"), id="server"),
        pytest.param(OPTIONS, id="options"),
        pytest.param(CONSOLES, id="consoles"),
        pytest.param(SIZES, id="sizes"),
    ],
)
def test_every_line_is_judged_as_by_the_original(text: bytes, tmp_path: Path) -> None:
    assert_same(text, tmp_path)


# What random lines are made of. Left out: what ours mends, each of which has its own test in tests/conmand/config, and
# "timestamp" with nothing after it, for which the original takes the next line.
FRAGMENTS = """
server|global|console|name|dev|log|logopts|seropts|ipmiopts|testopts|port|=|=|=|=|=|on|off|loopback=on|5|-7|+|,|#|'|"
|''|" "|x|_y9|\\|server|console|console|console|name=a|name="b c"|name='d'|name=n%N|dev="test:"|dev='test:'|dev="zork"
|dev="unix:a"|dev="unix:b"|dev="'x' y"|dev="127.0.0.1:1"|dev="/dev/null"|dev="ipmi:127.0.0.2"|dev=x|log="%N"|log="l"
|log=""|log="a&b"|log='%D.log'|logopts="sanitize,foo"|seropts="9600,8n1"|seropts="9"|testopts="b:1"|testopts="b:x"
|ipmiopts="U:a"|ipmiopts="Q:b"|coredump=on|keepalive=off|logdir="d"|logfile="x,debug"|logfile="x,nope"|nofile=0
|syslog="daemon"|syslog="x"|tcpwrappers=off|timestamp=5 m|timestamp=5 q|execpath="/bin"|pidfile="p"|resetcmd="r"
""".replace("\n", "").split("|")  # fmt: skip
SEPARATORS = [" ", " ", " ", " ", "", "\t", " \\\n", " \\\r\n", "\n", "\n", "\r\n", "\r"]


@pytest.mark.parametrize("seed", range(int(os.environ.get("CONMAN_COMPARISONS", "8"))))
def test_random_lines_are_judged_as_by_the_original(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    text = "".join(
        dice.choice(FRAGMENTS) + dice.choice(SEPARATORS) if dice.random() < 0.8 else dice.choice(
            ['\nconsole name="{0}" dev="{1}" log="{0}.{2}"\n', "\nserver ", "\nglobal ", "\nconsole "]
        ).format(dice.randrange(40), dice.choice(["test:", "unix:{0}", "127.0.0.1:9", "/bin/true"]), dice.randrange(3))
        for _ in range(1500)
    )
    text = re.sub(r"(timestamp\s*=\s*[0-9]+)(?=[\s\\]*[\r\n])", r"\1 h", text)
    assert_same(text.encode(), tmp_path)
