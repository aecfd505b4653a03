"""From the settings to sockets that listen: the TCP port, chosen addresses, a Unix socket, the service manager's.

Everything here is synchronous, and happens before the event loop exists but for ``made_anew``. What the original does,
one port on one IPv4 address, is the case in which nothing may fail differently: IPv6 beside it is a bonus, and its
absence no error.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
import time
from dataclasses import dataclass
from typing import Callable, Iterator, List, MutableMapping, NoReturn, Optional, Sequence, Tuple

from conman.address import joined
from conman.text import encode
from conmand.config.model import ServerSettings
from conmand.config.settings import ListenSettings, UnixSocketSettings
from conmand.errors import FatalError, reason

BACKLOG = 1024

PORT_ATTEMPTS = 16
"""For a port that is free in both families, where the kernel chooses."""

LOCK_ATTEMPTS, LOCK_WAIT_SECONDS = 50, 0.02
"""For the lock of a socket's directory."""

_FIRST_ACTIVATED = 3  # SD_LISTEN_FDS_START
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPFNOSUPPORT, errno.EPROTONOSUPPORT}

_Identity = Tuple[int, int]
_Warn = Callable[[str], None]


@dataclass
class ListeningSocket:
    """``announcement`` is for the daemon's log, ``None`` if another socket's says it already. ``unix`` is what a socket
    file of our making was made by; it goes when this is closed."""

    sock: socket.socket
    announcement: Optional[str]
    unix: Optional[UnixSocketSettings] = None
    _file: Optional[_Identity] = None

    def is_lost(self) -> bool:
        """Whether nobody can connect any more: our socket file has been removed."""
        if self.unix is None:
            return False
        try:
            os.lstat(encode(self.unix.path))
        except FileNotFoundError:
            return True
        except OSError:
            pass
        return False

    def made_anew(self) -> ListeningSocket:
        """Another one for the same path. May wait a second, in a thread. Raises ``FatalError``."""
        assert self.unix is not None, "it is a socket file of ours"
        return _unix_socket(self.unix)

    def close(self) -> None:
        """Idempotent. Raises ``OSError``."""
        if self.unix is not None and _identity(self.unix.path) == self._file:
            # Nobody else's: by now another daemon may have put its own there.
            with contextlib.suppress(OSError):
                os.unlink(encode(self.unix.path))
        self.unix = None
        self.sock.close()


def take_activated(environ: MutableMapping[str, str]) -> List[int]:
    """The descriptors that the service manager has opened for this process, sd_listen_fds(3); none of our children is
    to see them or hear of them. To be called before forking: the process id is a part of the agreement."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = list(range(_FIRST_ACTIVATED, _FIRST_ACTIVATED + int(count)))
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # what is no descriptor is complained of later
            os.set_inheritable(descriptor, False)
    return descriptors


def open_listening(
    server: ServerSettings, listen: ListenSettings, activated: Sequence[int] = (), *, warn: _Warn
) -> List[ListeningSocket]:
    """All sockets on which clients are to be accepted, non-blocking and close-on-exec.

    ``activated`` comes from ``take_activated`` and replaces the TCP port. ``warn`` is told of what could not be had
    and need not be. Raises ``FatalError``; then nothing stays open.
    """
    opened: List[ListeningSocket] = []
    try:
        for descriptor in activated:
            opened.append(_activated_socket(descriptor))
        if not activated and listen.tcp:
            _open_tcp(opened, server, listen, warn)
        if listen.unix_socket is not None:
            opened.append(_unix_socket(listen.unix_socket))
        if not opened:
            raise FatalError("Unable to listen: there is neither a TCP port nor a Unix socket")
    except FatalError:
        for one in opened:
            one.close()
        raise
    return opened


# TCP.


def _open_tcp(opened: List[ListeningSocket], server: ServerSettings, listen: ListenSettings, warn: _Warn) -> None:
    if not listen.addresses:
        opened += _both_families(server.port, server.loopback, warn)
        return
    port = server.port
    for host, own_port in listen.addresses:
        wanted = port if own_port is None else own_port
        try:
            sock = _tcp_socket(host, wanted)
        except OSError as error:
            raise FatalError(f"Unable to bind to {joined(host, wanted)}: {reason(error)}") from error
        bound_port = sock.getsockname()[1]
        if own_port is None:
            port = bound_port  # the kernel's choice, if it was one, holds for all
        opened.append(ListeningSocket(sock, f"Listening on TCP address {joined(host, bound_port)}"))


def _both_families(port: int, loopback: bool, warn: _Warn) -> List[ListeningSocket]:
    """One port for IPv4 and IPv6, on two sockets: so that IPv4 peers look as they always did."""
    hosts = ("127.0.0.1", "::1") if loopback else ("0.0.0.0", "::")
    for attempt in range(PORT_ATTEMPTS):
        sock = _ipv4_socket(hosts[0], port)
        bound_port = port if sock is None else sock.getsockname()[1]
        try:
            second = _tcp_socket(hosts[1], bound_port)
        except OSError as error:
            if sock is None:
                raise FatalError(f"Unable to bind to port {port}: {reason(error)}") from error
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < PORT_ATTEMPTS - 1:
                sock.close()
                continue
            if error.errno not in _NO_SUCH_FAMILY:
                warn(f"Unable to bind to {joined(hosts[1], bound_port)}: {reason(error)}; listening on IPv4 only")
            return [_on_port(sock)]
        if sock is None:
            return [_on_port(second)]
        return [_on_port(sock), ListeningSocket(second, None)]
    raise AssertionError("the last attempt returns or raises")


def _ipv4_socket(host: str, port: int) -> Optional[socket.socket]:
    """``None`` on a machine without IPv4."""
    try:
        return _tcp_socket(host, port)
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return None
        raise FatalError(f"Unable to bind to port {port}: {reason(error)}") from error


def _on_port(sock: socket.socket) -> ListeningSocket:
    return ListeningSocket(sock, f"Listening on TCP port {sock.getsockname()[1]}")


def _tcp_socket(host: str, port: int) -> socket.socket:
    """``host`` is a literal address. Raises ``OSError``."""
    ((family, _type, _protocol, _name, address), *_more) = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


# The service manager's sockets.


def _activated_socket(descriptor: int) -> ListeningSocket:
    def unusable(cause: str) -> NoReturn:
        raise FatalError(f"Unable to use descriptor {descriptor} of the service manager: {cause}")

    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        unusable(reason(error))
    problem = _unlike_ours(sock)
    if problem is not None:
        sock.close()
        unusable(problem)
    sock.setblocking(False)
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return ListeningSocket(sock, f'Listening on Unix socket "{_shown(name)}" of the service manager')
    return ListeningSocket(sock, f"Listening on TCP address {joined(name[0], name[1])} of the service manager")


def _unlike_ours(sock: socket.socket) -> Optional[str]:
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or sock.type != socket.SOCK_STREAM:
        return "it is no stream socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen (Accept=no is needed)"
    return None


def _shown(name: object) -> str:
    """An abstract name begins with a NUL, which is written as ``@``."""
    text = os.fsdecode(name) if isinstance(name, (bytes, str)) else str(name)
    return text.replace("\0", "@", 1)


# The Unix socket.


def _unix_socket(settings: UnixSocketSettings) -> ListeningSocket:
    """A socket file with its mode and group from the moment that anybody can see it."""
    try:
        gid = _group_id(settings.group)
        with _locked_directory(settings.path):
            _remove_stale(settings.path)
            sock = _bind_unix(settings, gid)
            return ListeningSocket(
                sock, f'Listening on Unix socket "{settings.path}"', settings, _identity(settings.path)
            )
    except OSError as error:
        raise FatalError(f'Unable to bind to Unix socket "{settings.path}": {reason(error)}') from error


def _group_id(group: Optional[str]) -> int:
    """-1, which chown(2) takes for no change, without one."""
    if group is None:
        return -1
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f'there is no group "{group}"') from None


@contextlib.contextmanager
def _locked_directory(path: str) -> Iterator[None]:
    """Keeps two daemons that start at once from taking each other's new socket for a stale one.

    Whoever may read the directory can hold its lock for ever, so that is waited for a short time only: longer than
    another daemon holds it.
    """
    descriptor = os.open(encode(os.path.dirname(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: str) -> None:
    """Remove a socket on which nobody listens; raises ``OSError`` for one that is in use, and for anything else."""
    try:
        mode = os.lstat(encode(path)).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "it exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        refusal = probe.connect_ex(encode(path))
    if refusal in (0, errno.EAGAIN, errno.EINPROGRESS):
        refusal = errno.EADDRINUSE
    if refusal != errno.ECONNREFUSED:
        raise OSError(refusal, os.strerror(refusal))
    os.unlink(encode(path))


def _bind_unix(settings: UnixSocketSettings, gid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    path = encode(settings.path)
    try:
        # Nobody comes in before group and mode are right: a socket file begins with its socket's mode. Not by the
        # umask, which is that of threads too, and they may be opening logs.
        os.fchmod(sock.fileno(), 0)
        sock.bind(path)
        try:
            os.chown(path, -1, gid)
            os.chmod(path, settings.mode)
            sock.listen(BACKLOG)
        except OSError:
            os.unlink(path)
            raise
    except OSError:
        sock.close()
        raise
    return sock


def _identity(path: str) -> Optional[_Identity]:
    try:
        found = os.lstat(encode(path))
    except OSError:
        return None
    return found.st_dev, found.st_ino
