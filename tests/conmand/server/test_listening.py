"""Sockets to listen on, made for real on loopback and in private directories."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import pytest

from conmand.config.model import ServerSettings
from conmand.config.settings import ListenSettings, UnixSocketSettings
from conmand.errors import FatalError
from conmand.server import listening
from conmand.server.listening import ListeningSocket, open_listening, take_activated

ANY = ServerSettings(port=0)
DEFAULT = ListenSettings()
NO_TCP = ListenSettings(tcp=False)


@contextmanager
def opened(
    server: ServerSettings = ANY,
    listen: ListenSettings = DEFAULT,
    activated: Sequence[int] = (),
    warnings: Optional[List[str]] = None,
) -> Iterator[List[ListeningSocket]]:
    told: List[str] = []
    sockets = open_listening(server, listen, activated, warn=(told if warnings is None else warnings).append)
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()
            one.close()
    assert not told


def failure(server: ServerSettings, listen: ListenSettings = DEFAULT, activated: Sequence[int] = ()) -> str:
    with pytest.raises(FatalError) as caught, opened(server, listen, activated):
        pass
    return str(caught.value)


def addresses(sockets: Sequence[ListeningSocket]) -> List[Tuple[str, int]]:
    return [one.sock.getsockname()[:2] for one in sockets]


def announcements(sockets: Sequence[ListeningSocket]) -> List[str]:
    return [one.announcement for one in sockets if one.announcement is not None]


def unix(path: Path, mode: int = 0o666, group: Optional[str] = None) -> ListenSettings:
    return ListenSettings(tcp=False, unix_socket=UnixSocketSettings(str(path), mode, group))


@contextmanager
def taken(host: str = "127.0.0.1") -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        other.bind((host, 0))
        other.listen()
        yield other.getsockname()[1]


# TCP.


@pytest.mark.parametrize(("loopback", "hosts"), [(True, ["127.0.0.1", "::1"]), (False, ["0.0.0.0", "::"])])
def test_the_port_is_the_same_for_both_families(loopback: bool, hosts: List[str]) -> None:
    with opened(ServerSettings(port=0, loopback=loopback)) as sockets:
        port = sockets[0].sock.getsockname()[1]
        assert port and addresses(sockets) == [(host, port) for host in hosts]
        assert announcements(sockets) == [f"Listening on TCP port {port}"]
        assert not any(one.sock.getblocking() or one.sock.get_inheritable() for one in sockets)
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_ipv4_peers_look_as_they_always_did() -> None:
    with opened(ServerSettings(port=0, loopback=False)) as sockets:
        with socket.create_connection(("127.0.0.1", sockets[0].sock.getsockname()[1])):
            peer, address = sockets[0].sock.accept()
            peer.close()
        assert address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_said_as_the_original_says_it() -> None:
    with taken() as port:
        assert failure(ServerSettings(port=port)) == f"Unable to bind to port {port}: Address already in use"


def test_a_port_that_only_ipv6_has_lost_is_a_warning() -> None:
    warnings: List[str] = []
    with taken("::1") as port, opened(ServerSettings(port=port), warnings=warnings) as sockets:
        assert addresses(sockets) == [("127.0.0.1", port)]
    assert warnings == [f"Unable to bind to [::1]:{port}: Address already in use; listening on IPv4 only"]


def test_a_chosen_port_is_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: List[int] = []
    tcp_socket = listening._tcp_socket

    def fails_twice(host: str, port: int) -> socket.socket:
        if host == "::1" and len(refused) < 2:
            refused.append(port)
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return tcp_socket(host, port)

    monkeypatch.setattr(listening, "_tcp_socket", fails_twice)
    with opened() as sockets:
        port = sockets[0].sock.getsockname()[1]
        assert addresses(sockets) == [("127.0.0.1", port), ("::1", port)] and len(refused) == 2


def test_a_search_for_a_port_free_in_both_families_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tcp_socket = listening._tcp_socket

    def never_both(host: str, port: int) -> socket.socket:
        if host == "::1":
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return tcp_socket(host, port)

    monkeypatch.setattr(listening, "_tcp_socket", never_both)
    warnings: List[str] = []
    with opened(warnings=warnings) as sockets:
        assert len(sockets) == 1 and warnings[0].endswith("listening on IPv4 only")


@pytest.mark.parametrize("cause", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize(("missing", "left"), [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_a_family_that_the_machine_does_not_have_is_no_matter(
    cause: int, missing: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tcp_socket = listening._tcp_socket

    def without_family(host: str, port: int) -> socket.socket:
        if host == missing:
            raise OSError(cause, os.strerror(cause))
        return tcp_socket(host, port)

    monkeypatch.setattr(listening, "_tcp_socket", without_family)
    with opened() as sockets:
        ((host, port),) = addresses(sockets)
        assert host == left and announcements(sockets) == [f"Listening on TCP port {port}"]


def test_a_machine_without_any_family_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(host: str, port: int) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(listening, "_tcp_socket", nothing)
    assert failure(ANY) == "Unable to bind to port 0: Address family not supported by protocol"


def test_chosen_addresses_are_the_only_ones() -> None:
    listen = ListenSettings(addresses=(("127.0.0.2", None), ("::1", None), ("127.0.0.3", 0)))
    with opened(ANY, listen) as sockets:
        port, other_port = sockets[0].sock.getsockname()[1], sockets[2].sock.getsockname()[1]
        assert addresses(sockets) == [("127.0.0.2", port), ("::1", port), ("127.0.0.3", other_port)]
        assert announcements(sockets) == [
            f"Listening on TCP address 127.0.0.2:{port}",
            f"Listening on TCP address [::1]:{port}",
            f"Listening on TCP address 127.0.0.3:{other_port}",
        ]


def test_a_chosen_address_that_cannot_be_had_prevents_the_start() -> None:
    listen = ListenSettings(addresses=(("127.0.0.1", None), ("192.0.2.1", 7890)))
    assert failure(ANY, listen) == "Unable to bind to 192.0.2.1:7890: Cannot assign requested address"
    with taken("::1") as port:
        listen = ListenSettings(addresses=(("::1", port),))
        assert failure(ANY, listen) == f"Unable to bind to [::1]:{port}: Address already in use"


def test_nothing_to_listen_on_is_refused() -> None:
    assert failure(ANY, NO_TCP) == "Unable to listen: there is neither a TCP port nor a Unix socket"


# The Unix socket.


def test_a_unix_socket_has_its_mode_and_goes_with_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    umask = os.umask(0o077)
    try:
        with opened(ANY, unix(path, 0o660)) as sockets:
            assert announcements(sockets) == [f'Listening on Unix socket "{path}"']
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert os.umask(0o077) == 0o077
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert not path.exists()
    finally:
        os.umask(umask)


def test_a_unix_socket_stands_beside_the_port(tmp_path: Path) -> None:
    listen = ListenSettings(unix_socket=UnixSocketSettings(str(tmp_path / "socket")))
    with opened(ANY, listen) as sockets:
        assert [one.sock.family for one in sockets] == [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="giving a file to a group needs root")
@pytest.mark.parametrize("group", [grp.getgrgid(1).gr_name, "1"])
def test_a_unix_socket_belongs_to_its_group(group: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with opened(ANY, unix(path, 0o660, group)):
        assert path.stat().st_gid == 1


def test_a_group_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert failure(ANY, unix(path, group="no such")) == (
        f'Unable to bind to Unix socket "{path}": there is no group "no such"'
    )
    assert not path.exists()


def test_a_socket_that_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with opened(ANY, unix(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with opened(ANY, unix(path)):
        assert failure(ANY, unix(path)) == f'Unable to bind to Unix socket "{path}": Address already in use'
        assert path.exists()


def test_a_directory_that_somebody_keeps_locked_does_not_prevent_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LOCK_WAIT_SECONDS", 0.0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with opened(ANY, unix(tmp_path / "socket")), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "socket"))
    os.close(descriptor)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    assert failure(ANY, unix(path)) == f'Unable to bind to Unix socket "{path}": it exists and is no socket'
    assert path.read_text() == "precious"


def test_a_missing_directory_is_said_so_and_closes_what_was_open(tmp_path: Path) -> None:
    path = tmp_path / "none" / "socket"
    listen = ListenSettings(unix_socket=UnixSocketSettings(str(path)))
    assert failure(ANY, listen) == f'Unable to bind to Unix socket "{path}": No such file or directory'


def test_another_daemons_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with opened(ANY, unix(path)):
        path.unlink()
        with opened(ANY, unix(path)) as (theirs,):
            other = theirs.unix
            theirs.unix = None  # it stays open
            theirs.sock.close()
    assert other == UnixSocketSettings(str(path)) and path.exists()


# The service manager's sockets.


def test_descriptors_are_for_the_process_that_they_are_meant_for() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "PATH": "/bin"}
    assert take_activated(environ) == []
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_without_a_number_there_are_none(count: str) -> None:
    assert take_activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == []
    assert take_activated({}) == []


def test_descriptors_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        sock.set_inheritable(True)
        monkeypatch.setattr(listening, "_FIRST_ACTIVATED", sock.fileno())
        assert take_activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}) == [sock.fileno()]
        assert not sock.get_inheritable()


def given(family: int, address: Any, kind: int = socket.SOCK_STREAM, *, listens: bool = True) -> int:
    """A descriptor as the service manager opens it: blocking."""
    sock = socket.socket(family, kind)
    sock.bind(address)
    if listens:
        sock.listen()
    return sock.detach()


def test_the_service_managers_sockets_replace_the_port(tmp_path: Path) -> None:
    path = tmp_path / "activated"
    activated = [given(socket.AF_INET6, ("::1", 0)), given(socket.AF_UNIX, str(path))]
    with opened(ServerSettings(port=1), unix(tmp_path / "own"), activated) as sockets:
        port = sockets[0].sock.getsockname()[1]
        assert announcements(sockets) == [
            f"Listening on TCP address [::1]:{port} of the service manager",
            f'Listening on Unix socket "{path}" of the service manager',
            f'Listening on Unix socket "{tmp_path / "own"}"',
        ]
        assert not any(one.sock.getblocking() for one in sockets)
    assert path.exists()  # it is not ours to remove


def test_an_abstract_socket_can_be_shown() -> None:
    name = f"\0conmand-py-test-{os.getpid()}"
    with opened(ANY, NO_TCP, [given(socket.AF_UNIX, name)]) as sockets:
        assert announcements(sockets) == [f'Listening on Unix socket "@{name[1:]}" of the service manager']


def test_what_cannot_accept_clients_is_refused(tmp_path: Path) -> None:
    def problem(descriptor: int) -> str:
        return failure(ANY, activated=[descriptor]).partition(f"descriptor {descriptor} of the service manager: ")[2]

    assert problem(given(socket.AF_INET, ("127.0.0.1", 0), listens=False)) == (
        "it does not listen (Accept=no is needed)"
    )
    assert problem(given(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM, listens=False)) == (
        "it is no stream socket"
    )
    file = os.open(tmp_path, os.O_RDONLY)
    assert problem(file) == "Socket operation on non-socket"
    os.close(file)
    assert problem(file) == "Bad file descriptor"


def test_descriptors_come_over_an_exec(tmp_path: Path) -> None:
    code = (
        "import os, sys; from conmand.server.listening import *; from conmand.config.settings import ListenSettings;"
        "from conmand.config.model import ServerSettings;"
        "given = take_activated(os.environ); assert not any(name.startswith('LISTEN') for name in os.environ);"
        "(one,) = open_listening(ServerSettings(), ListenSettings(), given, warn=print);"
        "peer, _ = one.sock.accept() if one.sock.setblocking(True) is None else 0; peer.sendall(b'hello'); peer.close()"
    )
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as activator:
        activator.bind(str(path))
        activator.listen()
        launcher = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='x');"
            "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])"
        )
        environ = {**os.environ, "PYTHONPATH": str(Path(listening.__file__).parents[2])}
        process = subprocess.Popen(
            [sys.executable, "-c", launcher, str(activator.fileno()), code], pass_fds=[activator.fileno()], env=environ
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            assert client.recv(10) == b"hello"
        assert process.wait(60) == 0
