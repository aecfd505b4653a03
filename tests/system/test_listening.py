"""Where clients come in: IPv6, chosen addresses, a Unix socket, a service manager's sockets; on the running daemon."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence

import pytest

from tests.fakes.background import run
from tests.fakes.daemons import OURS, REPOSITORY, Daemon, environment, our_command
from tests.fakes.devices import Peer
from tests.fakes.files import PATIENCE_SECONDS, read_with
from tests.fakes.namespaces import mounted, needs_root, without_ipv6
from tests.fakes.peers import installed_program
from tests.fakes.sessions import GREETING, RawClient
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command

CONSOLES = 'console name="c" dev="unix:DIR/c.sock"\nconsole name="d" dev="test:" testopts="b:0"\n'
QUERY = b"QUERY CONSOLE='c'\n"
ANSWER = b"OK CONSOLE='c'\n"
CONNECT = b"CONNECT CONSOLE='c'\n"
NOBODY = 65534
NAMELESS = 54321
"""A user id without an account."""


def launch(
    site: Site,
    config: str = CONSOLES,
    *,
    settings: Optional[str] = None,
    prefix: Sequence[str] = (),
    constants: Optional[Mapping[str, object]] = None,
) -> Daemon:
    """Our daemon on ``config`` and ``settings``, in both of which DIR is the site's directory; ``prefix`` runs it."""
    path = site.path("conman.conf")
    path.write_text(config.replace("DIR", str(site.directory)))
    argv = [*prefix, *our_command(constants), "-F", "-c", str(path), "-p", "0"]
    if settings is not None:
        site.path("settings").write_text(settings.replace("DIR", str(site.directory)))
        argv += ["--settings", str(site.path("settings"))]
    return Daemon(OURS, argv, site.directory)


def start(site: Site, config: str = CONSOLES, **how: Any) -> Daemon:
    """As ``launch``; it listens when this returns, and ends with the site."""
    site.daemon = site.use(launch(site, config, **how))
    line = site.daemon.wait_for("Listening on")
    found = re.search(r"Listening on TCP (?:port |address .*:)(\d+)", line)
    site.daemon.port = int(found[1]) if found else 0
    return site.daemon


def ask(site: Site, host: str, request: bytes = QUERY, greeting: bytes = GREETING) -> bytes:
    with RawClient(site.daemon.port, host=host) as client:
        client.send(greeting + request)
        answer = client.receive_all()
    assert answer.startswith(b"OK\n"), answer
    return answer[3:]


def session(site: Site, host: str, request: bytes = CONNECT, user: str = "root") -> RawClient:
    count = site.daemon.count("Client <", "connected to")
    client = site.use(RawClient(site.daemon.port, host=host))
    client.send(f"HELLO USER='{user}' TTY='pts/7'\n".encode() + request)
    client.receive_until(b"OK CONSOLE='c'\n")
    site.daemon.wait_for("Client <", "connected to", count=count + 1)
    return client


# IPv6.


@pytest.mark.parametrize("loopback", ["on", "off"])
def test_both_families_share_one_port(loopback: str, tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        daemon = start(site, f"server loopback={loopback}\n" + CONSOLES)
        for host in ("127.0.0.1", "::1"):
            assert ask(site, host) == ANSWER
        assert daemon.count("Listening on") == 1


def test_users_of_both_families_meet_on_a_console(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        daemon = start(site)
        node.accept()
        old = session(site, "127.0.0.1", user="alice")
        new = session(site, "::1", b"CONNECT OPTION=JOIN CONSOLE='c'\n", user="bob")
        # The name of ::1 is the machine's affair; with or without one, the label leads to the port.
        host = re.fullmatch(r".*Client <bob@(.*):\d+> connected to \[c\]", daemon.wait_for("Client <bob@"))
        assert host is not None
        name = host[1].strip("[]")
        notice = f"<ConMan> Console [c] joined by <bob@{name if name == '::1' else name.partition('.')[0]}> on pts/7"
        assert notice.encode() in old.receive_until(b".\r\n")
        node.send(b"login: ")
        assert new.receive_until(b"login: ").endswith(b"login: ")
        new.send(b"root.")
        assert node.receive_until(b".") == b"root."


@pytest.mark.parametrize("address", ["[::1]:PORT", "127.0.0.1:PORT", "localhost:PORT"])
def test_the_client_reaches_it_over_either(address: str, tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        daemon = start(site)
        argv = [*client_command(OURS), "-d", address.replace("PORT", str(daemon.port))]
        result = subprocess.run([*argv, "-q"], env=environment(), capture_output=True, timeout=PATIENCE_SECONDS)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"c\nd\n", b"")


def test_the_library_and_a_terminal_reach_it_over_ipv6(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        daemon = start(site)
        node.accept()
        argv = [*client_command(OURS), "-d", f"[::1]:{daemon.port}", "c"]
        terminal = site.use(OnTerminal(argv, cwd=site.directory))
        terminal.read_until(b" opened.\r\n")
        node.send(b"hello.")
        terminal.read_until(b"hello.")
        terminal.type(b"&.")
        assert terminal.wait() == 0


@needs_root
def test_a_machine_without_ipv6_is_served_as_ever(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        daemon = start(site, prefix=without_ipv6(), settings="[listen]\nunix_socket = DIR/socket\n")
        argv = ["nsenter", "-t", str(daemon.pid), "-n", *client_command(OURS), "-q", "-d", f"127.0.0.1:{daemon.port}"]
        result = subprocess.run(argv, env=environment(), capture_output=True, timeout=PATIENCE_SECONDS)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"c\nd\n", b"")
        assert ask(site, str(site.path("socket"))) == ANSWER
        assert daemon.count("Unable") == 0


# Chosen addresses.


def test_chosen_addresses_are_the_only_ones(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        daemon = start(site, settings='[listen]\naddresses = 127.0.0.2, "[::1]"\n')
        daemon.wait_for(f"Listening on TCP address 127.0.0.2:{daemon.port}")
        daemon.wait_for(f"Listening on TCP address [::1]:{daemon.port}")
        for host in ("127.0.0.2", "::1"):
            assert ask(site, host) == ANSWER
        with pytest.raises(ConnectionRefusedError):
            RawClient(daemon.port)


def test_an_address_that_is_not_ours_is_told_to_the_shell(tmp_path: Path) -> None:
    (tmp_path / "conman.conf").write_text(CONSOLES.replace("DIR", str(tmp_path)))
    (tmp_path / "settings").write_text("[listen]\naddresses = 192.0.2.1:7890\n")
    status, _output, error = run(OURS, ["-c", "conman.conf", "--settings", "settings"], tmp_path)
    assert status == 1
    assert error == b"ERROR:     Unable to bind to 192.0.2.1:7890: Cannot assign requested address\n"


def test_mistakes_in_the_settings_are_all_told_to_the_shell(tmp_path: Path) -> None:
    (tmp_path / "conman.conf").write_text('server pidfile="pid"\n' + CONSOLES.replace("DIR", str(tmp_path)))
    (tmp_path / "settings").write_text("[listen]\nport = 1\ntcp = maybe\n")
    for options in ([], ["-F"]):
        status, _output, error = run(OURS, ["-c", "conman.conf", "--settings", "settings", *options], tmp_path)
        assert status == 1
        assert re.sub(rb"[^ ]* (ERROR)", rb"\1", error) == (
            b"ERROR:     SETTINGS[DIR/settings:2]: [listen] port: no such setting\n"
            b'ERROR:     SETTINGS[DIR/settings:3]: [listen] tcp: "maybe" is neither "yes" nor "no"\n'
            b'ERROR:     Unable to use settings "DIR/settings": 2 problems\n'
        )
    assert not (tmp_path / "pid").exists()


# The Unix socket.


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """What connects meanwhile is that user's, for the kernel."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """One that every user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="conmand-py-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@needs_root
def test_on_a_unix_socket_nobody_can_be_somebody_else(tmp_path: Path, public_directory: Path) -> None:
    path = str(public_directory / "socket")
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        daemon = start(site, settings=f"[listen]\nunix_socket = {path}\n")
        node.accept()
        daemon.wait_for(f'Listening on Unix socket "{path}"')
        label = f"localhost:{os.getpid()}"
        root = session(site, path)
        daemon.wait_for(f"Client <root@{label}> connected to [c]")
        with as_user(NOBODY):
            refused = ask(site, path, CONNECT, b"HELLO USER='root' TTY='pts/3'\n")
            thief = session(site, path, b"CONNECT OPTION=FORCE CONSOLE='c'\n", user="root")
        assert b"Console [c] open R/W by <root@localhost> on pts/7" in refused
        assert b"<ConMan> Console [c] stolen by <nobody@localhost> on pts/7 at " in root.receive_all()
        daemon.wait_for(f'Client <nobody@{label}> called itself "root"')
        daemon.wait_for(f"Client <nobody@{label}> request failed: Found console already in use")
        daemon.wait_for(f"Client <nobody@{label}> connected to [c]")
        assert b"stolen from <root@localhost> on pts/7" in thief.receive_until(b".\r\n")
        with as_user(NAMELESS):
            assert ask(site, path, greeting=b"HELLO USER='root'\n") == ANSWER
        daemon.wait_for(f"Client <{NAMELESS}@{label}> issued query")
        # On the TCP port a name is still what the client says.
        assert ask(site, "127.0.0.1", greeting=b"HELLO USER='root'\n") == ANSWER
        daemon.wait_for("Client <root@localhost:", "> issued query")


def test_a_worker_knows_who_came_over_which_socket(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        daemon = start(site, settings="[daemon]\nworkers = 2\n[listen]\nunix_socket = DIR/socket\n")
        node.accept()
        path, me = str(site.path("socket")), pwd.getpwuid(os.getuid()).pw_name
        session(site, path, user="mallory")
        daemon.wait_for(f"Client <{me}@localhost:{os.getpid()}> connected to [c]")
        other = session(site, "::1", b"CONNECT OPTION=JOIN CONSOLE='c'\n", user="bob")
        daemon.wait_for("Client <bob@", f":{other.own_port}> connected to [c]")
        assert f"joined with <{me}@localhost> on pts/7".encode() in other.receive_until(b".\r\n")
        node.send(b"hello.")
        other.receive_until(b"hello.")


@needs_root
def test_the_mode_of_the_socket_decides_who_comes(tmp_path: Path, public_directory: Path) -> None:
    path = str(public_directory / "socket")
    with Site(OURS, tmp_path) as site:
        start(site, settings=f"[listen]\nunix_socket = {path}\nunix_mode = 0600\n")
        assert ask(site, path) == ANSWER
        with as_user(NOBODY), pytest.raises(PermissionError):
            RawClient(0, host=path)


def test_the_client_reaches_a_unix_socket(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        node = site.unix_peer("c.sock")
        start(site, settings="[listen]\ntcp = no\nunix_socket = DIR/socket\n")
        node.accept()
        path = str(site.path("socket"))
        query = [*client_command(OURS), "-q", "-d", path]
        result = subprocess.run(query, env=environment(), capture_output=True, timeout=PATIENCE_SECONDS)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"c\nd\n", b"")
        terminal = site.use(OnTerminal([*client_command(OURS), "c"], cwd=site.directory, environ={"CONMAN_HOST": path}))
        terminal.read_until(b"<ConMan> Connection to console [c] opened.\r\n")
        terminal.type(b"ls.")
        assert node.receive_until(b".") == b"ls."
        terminal.type(b"&.")
        assert terminal.wait() == 0


def test_the_socket_file_goes_with_the_daemon_and_a_dead_ones_is_replaced(tmp_path: Path) -> None:
    settings = "[listen]\nunix_socket = DIR/socket\n"
    path = tmp_path / "socket"
    with Site(OURS, tmp_path) as site:
        start(site, settings=settings)
    assert not path.exists()
    with Site(OURS, tmp_path) as site:
        killed = launch(site, settings=settings)
        killed.wait_for("Listening on Unix socket")
        killed.signal(signal.SIGKILL)
        assert killed.stop() == -signal.SIGKILL
        assert path.exists()
        start(site, settings=settings)
        assert ask(site, str(path)) == ANSWER
    assert not path.exists()


def test_a_socket_file_that_somebody_has_removed_is_made_anew_by_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Site(OURS, tmp_path) as site:
        start(site, settings="[listen]\nunix_socket = DIR/socket\nunix_mode = 0600\n")
        path.unlink()
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for(f'Listening on Unix socket "{path}", whose file had been removed')
        assert ask(site, str(path)) == ANSWER
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
        path.write_text("somebody else's")
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("Performing reconfig", count=2)
    assert path.read_text() == "somebody else's"


def test_a_second_daemon_does_not_take_the_socket(tmp_path: Path) -> None:
    with Site(OURS, tmp_path / "first") as site:
        start(site, settings="[listen]\nunix_socket = DIR/socket\n")
        (tmp_path / "conman.conf").write_text(CONSOLES.replace("DIR", str(tmp_path)))
        (tmp_path / "settings").write_text(f"[listen]\nunix_socket = {site.path('socket')}\n")
        status, _output, error = run(OURS, ["-c", "conman.conf", "-p", "0", "--settings", "settings"], tmp_path)
        assert status == 1
        assert b'Unable to bind to Unix socket "DIR/first/socket": Address already in use' in error
        assert ask(site, str(site.path("socket"))) == ANSWER


# A service manager.


def test_systemd_can_open_the_sockets(tmp_path: Path) -> None:
    """With systemd's own tool, which starts the daemon when the first client comes."""
    activate = str(installed_program("systemd-socket-activate"))
    with Site(OURS, tmp_path) as site:
        path = str(site.path("activated"))
        config = site.path("conman.conf")
        config.write_text(CONSOLES.replace("DIR", str(site.directory)))
        argv = [activate, "-l", path, "-E", f"PYTHONPATH={REPOSITORY}", "-E", "PATH"]
        argv += [*our_command(), "-F", "-c", str(config), "-p", "0"]
        site.daemon = site.use(Daemon(OURS, argv, site.directory))
        site.daemon.wait_for("Listening on", path)
        assert ask(site, path) == ANSWER
        site.daemon.wait_for(f'Listening on Unix socket "{path}" of the service manager')
        assert site.daemon.count("Listening on TCP") == 0
        names = Path(f"/proc/{site.daemon.pid}/environ").read_bytes()
        assert b"LISTEN_FDS" in names  # as it was started; what it starts has a clean one
    assert os.path.exists(path)  # the service manager's, not ours to remove


def test_a_daemon_that_leaves_for_the_background_takes_its_sockets_along(tmp_path: Path) -> None:
    path = tmp_path / "activated"
    log = tmp_path / "log"
    (tmp_path / "conman.conf").write_text(f'server logfile="{log}"\n' + CONSOLES.replace("DIR", str(tmp_path)))
    launcher = (
        "import os, socket, sys; sock = socket.socket(socket.AF_UNIX); sock.bind(sys.argv[1]); sock.listen();"
        "os.dup2(sock.fileno(), 3); os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, [sys.executable, '-m', 'conmand', *sys.argv[2:]])"
    )
    argv = [sys.executable, "-c", launcher, str(path), "-c", "conman.conf", "-p", "7999"]
    subprocess.run(argv, cwd=tmp_path, env=environment(), check=True, timeout=PATIENCE_SECONDS)
    status, pid, _error = run(OURS, ["-c", "conman.conf", "-q"], tmp_path, mask=False)
    try:
        assert status == 0
        read_with(log, f'Listening on Unix socket "{path}" of the service manager'.encode())
        read_with(log, b"Port 7999 is not listened on: the service manager's sockets take its place")
        with RawClient(0, host=str(path)) as client:
            client.send(GREETING + QUERY)
            assert client.receive_all() == b"OK\n" + ANSWER
    finally:
        os.kill(int(pid), signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(int(pid), 0)[1]) == 0


# hosts.allow, and names.


@needs_root
@pytest.mark.parametrize(
    ("allow", "ipv4", "ipv6"),
    [
        ("conmand: [::1]\n", False, True),
        ("conmand: [::]/64 EXCEPT [::1]\n", False, False),
        ("conmand: 127.\n", True, False),
        ("conmand@[::1]: ALL\n", False, True),
        ("conmand: ALL EXCEPT [::]/0\n", True, False),
    ],
)
def test_hosts_allow_speaks_of_ipv6(allow: str, ipv4: bool, ipv6: bool, tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.path("allow").write_text(allow)
        site.path("deny").write_text("ALL: ALL\n")
        prefix = mounted(site.path("allow"), "/etc/hosts.allow", site.path("deny"), "/etc/hosts.deny")
        settings = "[listen]\nunix_socket = DIR/socket\n"
        daemon = start(site, "server tcpwrappers=on\n" + CONSOLES, prefix=prefix, settings=settings)
        for host, granted in (("127.0.0.1", ipv4), ("::1", ipv6)):
            with RawClient(daemon.port, host=host) as client:
                if granted:
                    client.send(GREETING + QUERY)
                    assert client.receive_all() == b"OK\n" + ANSWER
                else:
                    assert client.receive_all() == b""
                    daemon.wait_for("TCP-Wrappers rejected connection from <", f":{client.own_port}>")
        assert ask(site, str(site.path("socket"))) == ANSWER


@needs_root
def test_a_client_that_comes_from_ipv6_has_its_name(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.path("hosts").write_text("127.0.0.1 localhost\n::1 node6.example.org\n")
        site.path("allow").write_text("conmand: .example.org\n")
        site.path("deny").write_text("ALL: ALL\n")
        prefix = mounted(
            *(site.path("hosts"), "/etc/hosts", site.path("allow"), "/etc/hosts.allow"),
            *(site.path("deny"), "/etc/hosts.deny"),
        )
        daemon = start(site, "server tcpwrappers=on\n" + CONSOLES, prefix=prefix)
        session(site, "::1")
        daemon.wait_for("Client <root@node6.example.org:", "connected to [c]")
        refused = ask(site, "::1", CONNECT)
        assert b"Console [c] open R/W by <root@node6> on pts/7" in refused
        with RawClient(daemon.port) as other:
            assert other.receive_all() == b""
        daemon.wait_for("TCP-Wrappers rejected connection from <localhost:")


# Devices.


@needs_root
def test_telnet_devices_are_reached_over_ipv6_by_address_and_by_name(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        by_address, by_name = site.use(Peer.on_tcp_port(host="::1")), site.use(Peer.on_tcp_port(host="::1"))
        site.path("hosts").write_text("127.0.0.1 localhost\n::1 ts6.example.org\n")
        config = (
            'server logdir="DIR"\nglobal log="%N-%D.log"\n'
            f'console name="a" dev="[::1]:{by_address.port}"\n'
            f'console name="n" dev="ts6.example.org:{by_name.port}"\n'
        )
        daemon = start(site, config, prefix=mounted(site.path("hosts"), "/etc/hosts"))
        for peer in (by_address, by_name):
            peer.accept()
        daemon.wait_for(f"Console [a] connected to <[::1]:{by_address.port}>")
        daemon.wait_for(f"Console [n] connected to <ts6.example.org:{by_name.port}>")
        for name, peer in (("a", by_address), ("n", by_name)):
            client = site.use(RawClient(daemon.port, host="::1"))
            client.send(GREETING + f"CONNECT CONSOLE='{name}'\n".encode())
            client.receive_until(f"OK CONSOLE='{name}'\n".encode())
            peer.send(b"login: ")
            client.receive_until(b"login: ")
            client.send(b"root.")
            assert peer.receive_until(b".").endswith(b"root.")  # behind the options of telnet
        assert b"login: " in read_with(site.path(f"a-[::1]:{by_address.port}.log"), b"login: ")
