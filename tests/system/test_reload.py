"""Live reload with real programs: what has not changed notices nothing, what has changes by the smallest step, and a
file with new errors changes nothing at all. Each with one process and with workers."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from tests.fakes.background import background, run
from tests.fakes.bmc import Bmc
from tests.fakes.bmc_fleet import IPMIOPTS, dev
from tests.fakes.daemons import ORIGINAL, OURS, environment, our_command
from tests.fakes.devices import Peer
from tests.fakes.files import read_with
from tests.fakes.namespaces import mounted, needs_root
from tests.fakes.peers import installed_library
from tests.fakes.sessions import RawClient
from tests.fakes.sites import Site

GLOBAL = 'server logdir="DIR"\nglobal log="%N.log"\n'
UNIX = 'console name="{0}" dev="unix:DIR/{0}.sock"\n'


class Changing(Site):
    """A site whose configuration changes."""

    def __init__(self, directory: Path, workers: int) -> None:
        super().__init__(OURS, directory)
        self.workers = workers

    def __enter__(self) -> Changing:
        return self

    def begin(self, config: str, *options: str, **more: Any) -> None:
        self.start(config, "--workers", str(self.workers), *options, **more)
        self.ask(b"QUERY\n")  # from here on it answers
        self.daemon.wait_for("issued query")

    def edit(self, config: str, *, by_rename: bool = False) -> None:
        path = self.path("conman.conf.new" if by_rename else "conman.conf")
        path.write_text(config.replace("DIR", str(self.directory)))
        if by_rename:
            path.rename(self.path("conman.conf"))

    def ask_to_reload(self) -> Tuple[int, List[str]]:
        """Status and words of ``-r -v``, but for the first, which is the original's."""
        status, output, error = run(OURS, ["-c", "conman.conf", "-r", "-v"], self.directory)
        assert output == b""
        first, *lines = error.decode().splitlines()
        if status == 0:
            assert first == 'Configuration "conman.conf" (pid N) reconfigured on signal=1'
        else:
            lines = [first, *lines]
        return status, lines

    def reload(self, config: str, *, by_rename: bool = False) -> List[str]:
        """What has changed."""
        self.edit(config, by_rename=by_rename)
        status, lines = self.ask_to_reload()
        assert status == 0, lines
        return lines

    def hang_up(self) -> None:
        """SIGHUP, until it is over. Something has to have changed."""
        before = self.daemon.count("is reloaded:")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_for("is reloaded:", count=before + 1)

    def nodes(self, *names: str) -> List[Peer]:
        return [self.unix_peer(f"{name}.sock") for name in names]

    def up(self, name: str, peer: Peer, count: int = 1) -> None:
        peer.accept()
        self.daemon.wait_for(f"Console [{name}] connected", count=count)

    def monitor(self, name: str) -> RawClient:
        return self.session(f"MONITOR CONSOLE='{name}'\n".encode())

    def connect(self, name: str) -> RawClient:
        return self.session(f"CONNECT CONSOLE='{name}'\n".encode())

    @property
    def names(self) -> bytes:
        return self.ask(b"QUERY\n")


@pytest.fixture(params=[1, 3], ids=["one process", "workers"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Changing]:
    with Changing(tmp_path, request.param) as changing:
        yield changing


def consoles(*names: str) -> str:
    return "".join(UNIX.format(name) for name in names)


# What has not changed.


def test_a_console_that_is_unchanged_loses_not_a_byte_over_twenty_reloads(site: Changing) -> None:
    """Numbered lines without a pause, while everything around them changes; to the log, to a client, and back."""
    (peer,) = site.nodes("steady")
    steady = consoles("steady")
    site.begin(GLOBAL + steady + consoles("other"))
    site.up("steady", peer)
    client = site.connect("steady")
    lines = [b"line %06d\r\n" % number for number in range(40_000)]
    sender = threading.Thread(target=send_all, args=(peer, lines))
    sender.start()
    for number in range(20):
        others = [
            consoles("other") + f'console name="new{number}" dev="test:" testopts="b:1"\n',
            f'console name="other" dev="/bin/cat" log="{number}.log"\n',
            'console name="other" dev="test:" logopts="timestamp" testopts="b:1"\n',
            f"server timestamp={number + 1}h\n",
        ][number % 4]
        site.edit(GLOBAL + others + steady, by_rename=number % 3 == 0)
        if number % 2:
            site.hang_up()
        else:
            assert site.ask_to_reload()[0] == 0
        client.send(b"%d." % number)
        assert peer.receive_until(b".") == b"%d." % number
    sender.join()
    text = b"".join(lines)
    assert client.receive_count(len(text)) == text
    log = site.read_with("steady.log", lines[-1])
    assert b"".join(line for line in log.splitlines(keepends=True) if line.startswith(b"line")) == text
    assert log.count(b"log opened") == 21  # as SIGHUP always did
    client.send(b"\xffL")
    replay = client.receive_until(b"End log replay of console [steady].\r\n")
    assert lines[-1] in replay or b"log opened" in replay
    assert site.daemon.count("[steady]") == 2  # connected, and a client


def send_all(peer: Peer, lines: List[bytes]) -> None:
    for start in range(0, len(lines), 50):
        peer.send(b"".join(lines[start : start + 50]))


def test_nothing_is_said_of_nothing(site: Changing) -> None:
    config = GLOBAL + consoles("a") + "nonsense\n"
    site.begin(config)
    before = site.daemon.lines
    assert site.reload(config) == []
    assert site.reload("# a comment\n\n" + config, by_rename=True) == []
    after = site.daemon.lines
    assert after[len(before) :] == ["NOTICE:    Performing reconfig on signal=1"] * 2
    assert site.read_with("a.log", b"log opened", 3)


# What has.


def test_consoles_come_and_go_and_their_clients_are_told(site: Changing) -> None:
    stays, goes, comes = site.nodes("stays", "goes", "comes")
    site.begin(GLOBAL + consoles("stays", "goes"))
    site.up("stays", stays)
    site.up("goes", goes)
    attached = [site.connect("goes"), site.monitor("goes")]
    attached[0].send(b"\xffM")  # from here on a reader
    elsewhere = site.connect("stays")
    both = site.session(b"CONNECT OPTION=JOIN OPTION=BROADCAST CONSOLE='stays' CONSOLE='goes'\n")
    assert site.reload(GLOBAL + consoles("comes", "stays")) == ["Added console [comes]", "Removed console [goes]"]
    said = b"\r\n<ConMan> Console [goes] is no longer configured.\r\n"
    for client in attached:
        assert client.receive_all().endswith(said)
    goes.receive_end()
    assert site.read_with("goes.log", b"configured").endswith(said)
    site.daemon.wait_for("NOTICE:    Console [goes] is no longer configured")
    site.up("comes", comes)
    assert site.names == b"OK CONSOLE='comes' CONSOLE='stays'\n"
    both.receive_until(said)
    both.send(b"broadcast.")
    assert stays.receive_until(b".") == b"broadcast."
    elsewhere.send(b"still here.")
    assert stays.receive_until(b".") == b"still here."
    new = site.monitor("comes")
    comes.send(b"hello")
    new.receive_until(b"hello")
    assert site.ask(b"CONNECT CONSOLE='goes'\n").startswith(b"ERROR CODE=5 ")


def test_a_log_goes_on_under_its_new_name(site: Changing) -> None:
    (peer,) = site.nodes("c")
    site.begin(GLOBAL + consoles("c"))
    site.up("c", peer)
    client = site.connect("c")
    sent: List[bytes] = []
    for name in ("one", "two", "three"):
        line = b"before %s\r\n" % name.encode()
        sent.append(line)
        peer.send(line)
        client.receive_until(line)
        assert site.reload(f'server logdir="DIR"\nglobal log="%N.{name}"\n' + consoles("c")) == [
            "Changed console [c]: log"
        ]
    peer.send(b"the end\r\n")
    client.receive_until(b"the end\r\n")
    logs = [site.read_with(name, b"") for name in ("c.log", "c.one", "c.two", "c.three")]
    read_with(site.path("c.three"), b"the end\r\n")
    for line, log in zip(sent, logs):
        assert line in log and log.count(b"before") == 1
    client.send(b"\xffL")
    assert sent[-1] in client.receive_until(b"End log replay")
    assert site.daemon.count("[c] connected") == 1


def test_options_of_a_log_count_at_once(site: Changing) -> None:
    (peer,) = site.nodes("c")
    site.begin(GLOBAL + consoles("c"))
    site.up("c", peer)
    client = site.monitor("c")
    peer.send(b"\x01 half ")
    client.receive_until(b"half ")
    site.reload(GLOBAL + 'global logopts="sanitize,timestamp"\n' + consoles("c"))
    peer.send(b"\x01 rest\r\nline \x01\r\n")
    client.receive_until(b"line \x01\r\n")
    log = site.read_with("c.log", b"line ^A\r\n")
    assert re.search(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d line \^A\r\n$", log)
    assert b"\x01 half " in log and b"^A rest\r\n" in log


Change = Tuple[str, str, str]

CHANGES: List[Change] = [
    ('dev="unix:DIR/one.sock"', 'dev="unix:DIR/two.sock"', "dev"),
    ('dev="unix:DIR/one.sock"', 'dev="127.0.0.1:PORT"', "dev"),
    ('dev="127.0.0.1:PORT"', 'dev="DIR/ttyS0"', "dev"),
    ('dev="DIR/ttyS0"', 'dev="DIR/ttyS0" seropts="115200,7e2"', "seropts"),
    ('dev="DIR/ttyS0"', 'dev="/bin/cat"', "dev"),
    ('dev="/bin/cat"', 'dev="/bin/sed -u s/x/y/"', "dev"),
    ('dev="/bin/cat"', 'dev="pty:/bin/cat"', "dev"),
    ('dev="pty:/bin/cat"', 'dev="unix:DIR/two.sock"', "dev"),
]


@pytest.mark.parametrize("before, after, words", CHANGES)
def test_another_device_is_connected_to_and_its_clients_stay(
    before: str, after: str, words: str, site: Changing
) -> None:
    one, two = site.nodes("one", "two")
    telnet, serial = site.telnet_peer(), site.serial_line()

    def config(device: str) -> str:
        return GLOBAL + f'console name="c" {device}\n'.replace("PORT", str(telnet.port)) + consoles("other")

    def peer_of(device: str) -> Any:
        for mark, peer in (("one.sock", one), ("two.sock", two), ("PORT", telnet)):
            if mark in device:
                peer.accept()
                return peer
        return serial if "ttyS0" in device else None

    site.begin(config(before))
    old = peer_of(before)
    site.daemon.wait_for("Console [c] connected to")
    client, monitor = site.connect("c"), site.monitor("c")
    assert site.reload(config(after)) == [f"Changed console [c]: {words}"]
    new = peer_of(after)
    for end in (client, monitor):
        end.receive_until(b"\r\n<ConMan> Console [c] is reconfigured: disconnected from ")
        end.receive_until(b"\r\n<ConMan> Console [c] connected to ")
        end.receive_until(b"\r\n")
    if isinstance(old, Peer):
        old.receive_end()
    if new is None:
        client.send(b"echo x\n")
        answer = b"echo y" if "sed" in after else b"echo x"
    else:
        client.send(b"key.")
        new.receive_until(b"key.")
        new.send(b"answer")
        answer = b"answer"
    client.receive_until(answer)
    monitor.receive_until(answer)
    site.read_with("c.log", answer)
    assert site.daemon.count("Console [c]", "is reconfigured: disconnected from") == 1


def test_keepalive_and_bursts_change_without_a_new_connection(site: Changing) -> None:
    telnet = site.telnet_peer()
    config = f'server keepalive=on\nconsole name="t" dev="127.0.0.1:{telnet.port}"\n'
    site.begin(config + 'console name="b" dev="test:" testopts="b:0,m:10"\n')
    site.up("t", telnet)
    client = site.connect("t")
    bursts = site.monitor("b")
    assert site.reload(config.replace("=on", "=off") + 'console name="b" dev="test:" testopts="b:5,m:10"\n') == [
        "Changed console [t]: keepalive",
        "Changed console [b]: testopts",
        "Changed server keepalive",
    ]
    assert bursts.receive_count(5) == b'!"#$%'
    client.send(b"still.")
    assert telnet.receive_until(b"still.").endswith(b"still.")
    assert site.daemon.count("is reconfigured") == 0 and site.daemon.count("[t] connected") == 1


def test_a_program_ends_before_the_next_begins(site: Changing) -> None:
    """Also one that has got another name: its BMC has one session."""
    program = site.program(
        "tool", f"#!/bin/sh\necho begin $1 >>{site.path('order')}\ncat\nsleep 0.2\necho end $1 >>{site.path('order')}\n"
    )
    site.begin(f'console name="a" dev="{program} a"\nconsole name="b" dev="{program} b"\n')
    site.read_with("order", b"begin", 2)
    site.reload(f'console name="a" dev="{program} a2"\nconsole name="c" dev="{program} b"\n')
    order = site.read_with("order", b"begin", 4).decode().split("\n")
    assert order.index("end a") < order.index("begin a2")
    first = order.index("begin b")
    assert order.index("end b") < order.index("begin b", first + 1)


def test_a_program_that_does_not_go_is_ended(site: Changing) -> None:
    program = site.program("stubborn", "#!/bin/sh\ntrap '' TERM\necho begun\nwhile :; do sleep 0.1; done\n")
    quick = {"conmand.server.site.CHILDREN_SECONDS": 0.3}
    site.begin(GLOBAL + f'console name="s" dev="{program}"\n' + consoles("c"), constants=quick)
    site.read_with("s.log", b"begun")
    pid = int(re.findall(r"pid (\d+)", site.daemon.wait_for('[s] connected to "stubborn"'))[0])
    fd = os.pidfd_open(pid)
    site.reload(GLOBAL + consoles("c"))
    os.close(wait_for_end(fd))


def wait_for_end(fd: int) -> int:
    assert select.select([fd], [], [], 30)[0]
    return fd


def test_ipmi_consoles_come_change_and_go(site: Changing) -> None:
    installed_library("libipmiconsole.so.2")
    bmc = site.use(Bmc(site.directory))
    line = f'console name="i" dev="{dev(bmc)}" ipmiopts="{IPMIOPTS}"\n'
    site.begin(GLOBAL + consoles("c"))
    assert site.reload(GLOBAL + consoles("c") + line) == ["Added console [i]"]
    site.daemon.wait_for("IPMI SOL engine started with 1 thread for 1 console")
    site.daemon.wait_for("Console [i] connected")
    client = site.connect("i")
    changed = line.replace("U:admin", "L:admin,U:admin")
    assert site.reload(GLOBAL + consoles("c") + changed) == ["Changed console [i]: ipmiopts"]
    client.receive_until(b"is reconfigured: disconnected from <")
    client.receive_until(b"Console [i] connected to <")
    client.send(b"\r")
    bmc.node.wait_for(b"\r")
    assert site.reload(GLOBAL + consoles("c")) == ["Removed console [i]"]
    assert client.receive_all().endswith(b"Console [i] is no longer configured.\r\n")


# What counts for all.


def test_server_settings_count_at_once_or_are_warned_of(site: Changing) -> None:
    base = GLOBAL + consoles("c")
    site.begin(base)
    more = 'server resetcmd="touch DIR/%N.reset" nofile=100 timestamp=7m logfile="x,debug"\n'
    assert b"RESET" not in site.names
    assert site.reload(base + more) == [
        *(f"Changed server {name}" for name in ("logfile", "loglevel", "resetcmd", "timestamp")),
        "Changed server nofile: takes effect at the next start",
    ]
    site.daemon.wait_for("WARNING:   server nofile has changed: this takes effect at the next start")
    assert b"OPTION=RESET" in site.names
    client = site.connect("c")
    client.send(b"\xffR")
    client.receive_until(b"Console [c] reset by <root@")
    site.read_with("c.reset", b"")
    assert site.reload(base) == [
        *(f"Changed server {name}" for name in ("logfile", "loglevel", "resetcmd", "timestamp")),
        "Changed server nofile: takes effect at the next start",
    ]


@needs_root
def test_tcpwrappers_count_for_the_next_client(site: Changing) -> None:
    site.path("allow").write_text("")
    site.path("deny").write_text("ALL: ALL\n")
    site.begin(
        consoles("c"), prefix=mounted(site.path("allow"), "/etc/hosts.allow", site.path("deny"), "/etc/hosts.deny")
    )
    assert site.names == b"OK CONSOLE='c'\n"
    site.reload("server tcpwrappers=on\n" + consoles("c"))
    assert site.connection().receive_all() == b""
    site.daemon.wait_for("TCP-Wrappers rejected connection from")
    site.reload(consoles("c"))
    assert site.names == b"OK CONSOLE='c'\n"


def test_the_daemons_own_log_moves(tmp_path: Path) -> None:
    config = tmp_path / "conman.conf"
    console = 'console name="c" dev="test:" testopts="b:0"\n'
    config.write_text(f'server logfile="{tmp_path}/one.log"\n' + console)
    with background(OURS, config, logfile=tmp_path / "one.log") as daemon:
        for name in ("two", "three"):
            config.write_text(f'server logfile="{tmp_path}/{name}.log"\n' + console)
            os.kill(daemon.pid, signal.SIGHUP)
            read_with(tmp_path / f"{name}.log", b"is reloaded: server logfile changed")
        config.write_text(console)
        assert run(OURS, ["-c", "conman.conf", "-rv"], tmp_path)[0] == 0
    assert b"Exiting" not in (tmp_path / "three.log").read_bytes()
    assert b"reloaded" not in (tmp_path / "one.log").read_bytes()


def test_our_own_settings_are_read_again(site: Changing) -> None:
    settings = site.path("settings")
    settings.write_text("")
    site.begin(GLOBAL + consoles("c"), "--settings", str(settings))
    settings.write_text("[scripts]\nlogins_at_once = 3\n[listen]\ntcp = no\n")
    assert site.ask_to_reload() == (
        0,
        ["Changed setting scripts logins_at_once", "Changed setting listen tcp: takes effect at the next start"],
    )
    settings.write_text("[rotation]\nquota = 1G\n[listen]\ntcp = no\n")
    assert site.ask_to_reload() == (
        0,
        [
            "SETTINGS[DIR/settings]: [rotation] quota: without size or age no log is rotated",
            "Changed setting rotation quota",
            "Changed setting scripts logins_at_once",
        ],
    )
    settings.write_text("[scripts]\nlogins_at_once = many\n")
    status, lines = site.ask_to_reload()
    assert status == 1 and lines[0].startswith("ERROR:     SETTINGS[") and "is not reloaded" in lines[-1]


def test_devices_may_go_from_one_console_to_another(site: Changing) -> None:
    """A program holds its device until it has ended, which takes these as long as the test wants."""
    holder = site.path("holder")
    holder.write_text(
        f"#!/bin/sh\ncd {site.directory}\ntrap '' TERM\nmkdir held-$1 || exec echo $1 is busy\necho has $1\n"
        "cat >/dev/null\n[ -e quickly ] || read word <gate-$1\nrmdir held-$1\n"
    )
    holder.chmod(0o755)
    for device in "ABCD":
        os.mkfifo(site.path(f"gate-{device}"))
    config = GLOBAL + "".join(f'console name="{name}" dev="DIR/holder {{{name}}}"\n' for name in "abcd")
    site.begin(config.format(a="A", b="B", c="C", d="D"), constants={"conmand.server.site.CHILDREN_SECONDS": 20})
    for name in "abcd":
        site.read_with(f"{name}.log", f"has {name.upper()}".encode())
    site.edit(config.format(a="B", b="C", c="D", d="A"))
    assert site.ask_to_reload()[0] == 0
    for device in "ABCD":
        site.path(f"gate-{device}").write_text("go\n")
    site.path("quickly").touch()
    for name, device in zip("abcd", "BCDA"):
        log = site.read_with(f"{name}.log", f"has {device}".encode())
        assert b"busy" not in log


# What is refused.


def test_a_new_error_refuses_the_file_as_a_whole_and_logs_are_reopened(site: Changing) -> None:
    (peer,) = site.nodes("c")
    site.begin("broken from the start\n" + GLOBAL + consoles("c"))
    site.up("c", peer)
    client = site.connect("c")
    site.edit(GLOBAL + consoles("c", "new") + 'console name="x" dev="nonsense"\nbroken from the start\n')
    status, lines = site.ask_to_reload()
    outcome = 'Configuration "DIR/conman.conf" is not reloaded: the running one stays in effect'
    assert (status, lines) == (
        1,
        [
            'ERROR:     CONFIG[DIR/conman.conf:5]: console [x] device "nonsense" type unrecognized',
            "ERROR:     " + outcome,
        ],
    )
    site.daemon.wait_for("ERROR:     CONFIG[", ':5]: console [x] device "nonsense" type unrecognized')
    assert site.names == b"OK CONSOLE='c'\n"
    site.read_with("c.log", b"log opened", 2)
    client.send(b"key.")
    assert peer.receive_until(b".") == b"key."
    assert site.reload(GLOBAL + consoles("c", "new")) == ["Added console [new]"]


@pytest.mark.parametrize("way", ["empty", "gone", "a directory"])
def test_a_file_that_is_no_configuration_changes_nothing(way: str, site: Changing) -> None:
    site.begin(GLOBAL + consoles("c"))
    site.read_with("c.log", b"log opened")
    path = site.path("conman.conf")
    path.unlink()
    if way == "empty":
        path.write_text("")
    elif way == "a directory":
        path.mkdir()
    reasons = {
        "empty": "has no consoles defined",
        "gone": "Unable to open",
        "a directory": "Is a directory",
    }
    site.daemon.signal(signal.SIGHUP)
    site.daemon.wait_for("is not reloaded: the running one stays in effect")
    site.daemon.wait_for("ERROR:     ", reasons[way])
    assert site.names == b"OK CONSOLE='c'\n"
    site.read_with("c.log", b"log opened", 2)


def test_a_device_that_is_unplugged_while_logs_are_rotated_stays_configured(site: Changing) -> None:
    line = site.serial_line()
    config = GLOBAL + 'console name="s" dev="DIR/ttyS0"\n' + consoles("c")
    site.begin(config)
    site.daemon.wait_for("[s] connected")
    line.unplug()
    site.daemon.wait_for("[s] disconnected")
    assert site.ask_to_reload() == (0, [])
    assert site.names == b"OK CONSOLE='c' CONSOLE='s'\n"
    line.plug_in()
    site.daemon.wait_for("[s] connected", count=2)


# How the daemon is found.


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
def test_a_file_that_is_replaced_still_leads_to_the_daemon(kind: str, site: Changing) -> None:
    """Errata E5: without a pid file, the lock is all there is. It follows before anybody reloads."""
    site.begin(GLOBAL + consoles("c"))
    for number in range(3):
        site.edit(f"# {number}\n" + GLOBAL + consoles("c"), by_rename=True)
        until_found(site)
        status, output, _error = run(kind, ["-c", "conman.conf", "-q"], site.directory, mask=False)
        assert (status, output) == (0, b"%d\n" % site.daemon.pid)
        assert run(kind, ["-F", "-c", "conman.conf", "-p", "7"], site.directory)[::2] == (
            1,
            b'ERROR:     Configuration "conman.conf" in use by pid N\n',
        )
    assert site.reload(GLOBAL + consoles("c", "d"), by_rename=True) == ["Added console [d]"]
    status, _output, error = run(kind, ["-c", "conman.conf", "-k", "-v"], site.directory)
    assert (status, error) == (0, b'Configuration "conman.conf" (pid N) terminated on signal=15\n')
    site.daemon.wait_for_end()


def test_a_directory_on_the_way_may_be_a_link_that_is_switched(site: Changing) -> None:
    site.begin(GLOBAL + consoles("c"))
    for version in ("v1", "v2"):
        site.path(version).mkdir()
        site.path(f"{version}/conman.conf").write_bytes(site.path("conman.conf").read_bytes())
    for place, target in [("conman.conf", "data/conman.conf"), *[("data", "v2"), ("data", "v1")] * 2]:
        if place != "data" and not site.path("data").exists():
            site.path("data").symlink_to("v1")
        site.path("new").symlink_to(target)
        site.path("new").rename(site.path(place))
        until_found(site)
    assert site.reload(GLOBAL + consoles("c", "d")) == ["Added console [d]"]


def until_found(site: Changing) -> None:
    """Ours waits a moment for a daemon whose file was just replaced; the original's does not."""
    assert run(OURS, ["-c", "conman.conf", "-q"], site.directory)[0] == 0


def test_a_plain_reload_says_nothing_and_does_not_wait(site: Changing) -> None:
    site.begin(GLOBAL + consoles("c"))
    site.edit(GLOBAL + consoles("c", "d"))
    assert run(OURS, ["-c", "conman.conf", "-r"], site.directory) == (0, b"", b"")
    site.daemon.wait_for("is reloaded: 1 console added")


def test_the_originals_program_reloads_ours_and_ours_its(tmp_path: Path) -> None:
    words = b'Configuration "conman.conf" (pid N) reconfigured on signal=1\n'
    with Changing(tmp_path / "ours", 1) as ours:
        ours.begin(GLOBAL + consoles("c"))
        ours.edit(GLOBAL + consoles("c", "d"))
        assert run(ORIGINAL, ["-c", "conman.conf", "-rv"], ours.directory) == (0, b"", words)
        ours.daemon.wait_for("is reloaded: 1 console added")
    with Site(ORIGINAL, tmp_path / "original") as other:
        other.start(GLOBAL + consoles("c"))
        assert run(OURS, ["-c", "conman.conf", "-rv"], other.directory) == (0, b"", words)
        other.daemon.wait_for("Performing reconfig on signal=1")


@needs_root
def test_another_user_is_refused(site: Changing) -> None:
    site.begin(GLOBAL + consoles("c"))
    # Not the program itself: it may be where that user may not look.
    asker = "import sys; from conmand.server.control import request_reload; import os; os.setuid(65534)\n"
    asked = subprocess.run(
        ["python3", "-c", asker + "print(request_reload(int(sys.argv[1])))", str(site.daemon.pid)],
        executable=our_command()[0],
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert asked.stdout == b"None\n"
    assert site.daemon.count("Performing reconfig") == 0


# At bad moments.


def test_fifty_signals_in_a_row_end_in_the_last_configuration(site: Changing) -> None:
    (peer,) = site.nodes("c")
    site.begin(GLOBAL + consoles("c"))
    site.up("c", peer)
    client = site.connect("c")
    for number in range(50):
        site.edit(GLOBAL + consoles("c") + consoles(*(f"n{number + extra}" for extra in range(3))), by_rename=True)
        site.daemon.signal(signal.SIGHUP)
        client.send(b"%d." % number)
        assert peer.receive_until(b".") == b"%d." % number
    site.reload(GLOBAL + consoles("c", "last"))
    assert site.names == b"OK CONSOLE='c' CONSOLE='last'\n"
    assert site.daemon.count("is not reloaded") == 0


def test_a_reload_while_consoles_are_being_started_is_done_after_that(site: Changing) -> None:
    many = [f"n{number:04}" for number in range(2000)]
    quiet = "".join(f'console name="{name}" dev="test:" testopts="b:0,m:60000"\n' for name in many)
    site.begin(GLOBAL + quiet)
    half = "".join(line + "\n" for line in quiet.splitlines()[::2]) + 'console name="new" dev="test:" testopts="b:0"\n'
    lines = site.reload(GLOBAL + half)
    assert len(lines) == 1001 and lines[0] == "Added console [new]"
    assert site.names.count(b"CONSOLE=") == 1001
    site.read_with("n1998.log", b"log opened")


def test_a_reload_while_the_daemon_stops_is_too_late(site: Changing) -> None:
    program = site.program("slow", "#!/bin/sh\ncat\nsleep 0.5\n")
    site.begin(GLOBAL + f'console name="s" dev="{program}"\n')
    site.daemon.wait_for("[s] connected")
    site.edit(GLOBAL + consoles("c"))
    site.daemon.signal(signal.SIGTERM)
    site.daemon.wait_for("Exiting on signal=15")
    site.daemon.signal(signal.SIGHUP)
    assert site.daemon.stop() == 0
    assert site.daemon.count("is reloaded") == 0


def test_a_stop_while_the_daemon_reloads_ends_it_in_order(site: Changing) -> None:
    many = "".join(f'console name="n{number}" dev="test:" testopts="b:0,m:60000"\n' for number in range(2000))
    site.begin(GLOBAL + consoles("c"))
    site.edit(GLOBAL + many)
    site.daemon.signal(signal.SIGHUP)
    site.daemon.wait_for("Performing reconfig")
    assert site.daemon.stop() == 0


def test_keys_are_echoed_while_thousands_of_consoles_are_read_again(site: Changing) -> None:
    (peer,) = site.nodes("c")
    line = 'console name="n{0}" dev="test:" testopts="b:0,m:60000" log="n{0}.log"\n'
    many = [line.format(number) for number in range(9000)]
    site.begin('server nofile=-1 logdir="DIR"\n' + consoles("c") + "".join(many))
    site.up("c", peer)
    client = site.connect("c")
    site.read_with("n8999.log", b"log opened")
    site.edit('server nofile=-1 logdir="DIR"\n' + consoles("c") + "".join(many[:-1]))
    site.daemon.signal(signal.SIGHUP)
    site.daemon.wait_for("Performing reconfig")
    echoed = 0
    while not site.daemon.count("is reloaded: 1 console removed"):
        client.send(b"%d." % echoed)
        peer.receive_until(b".")
        peer.send(b"%d." % echoed)
        client.receive_until(b".")
        echoed += 1
    assert echoed >= 20, "the daemon served nobody while it read its configuration"


def test_a_client_that_comes_for_a_console_that_goes_gets_an_answer(site: Changing) -> None:
    """Whatever the moment: an error, or a session that ends with a word."""
    answers: List[bytes] = []
    site.begin(GLOBAL + consoles("c", "d"))

    def come() -> None:
        for _ in range(60):
            with RawClient(site.daemon.port) as client:
                client.send(b"HELLO USER='u'\nCONNECT OPTION=BROADCAST OPTION=JOIN CONSOLE='*'\n")
                client.half_close()
                answers.append(client.receive_all())

    coming = threading.Thread(target=come)
    coming.start()
    for number in range(12):
        site.reload(GLOBAL + consoles("c" if number % 2 else "e"), by_rename=True)
    coming.join()
    assert len(answers) == 60 and all(answer.startswith((b"OK\nOK CONSOLE=", b"OK\nERROR CODE=")) for answer in answers)
