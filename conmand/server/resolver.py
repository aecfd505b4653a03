"""Names of hosts and users, looked up in threads: a name server that does not answer must not stop the consoles.

Threads stuck in a look-up are bounded in number, and waiting for one is bounded in time. Answers for peers are cached
for a minute: an automation that queries a hundred times asks the name server once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

from conmand.server.peers import without_mapping
from conmand.timeouts import within

MAX_THREADS = 4
"""For consoles, and again for clients: telnet consoles whose names cannot be resolved must not make clients wait."""

FORWARD_SECONDS = 30.0
REVERSE_SECONDS = 5.0
CACHE_SECONDS = 60.0
MAX_CACHED = 1024

Address = Tuple[Any, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class PeerName:
    """A peer's names; both are its address when it has none. ``host`` is ``fqdn`` up to the first dot."""

    host: str
    fqdn: str


class NameResolver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._console_threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="names")
        self._client_threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="peer-names")
        self._peers: Dict[str, Tuple[float, PeerName]] = {}
        self._users: Dict[int, Tuple[float, str]] = {}

    async def resolve(self, host: str, port: int) -> List[Tuple[int, Address]]:
        """The (address family, socket address) pairs of a host to connect to, IPv4 first. Raises ``OSError``."""
        look_up = self._in_thread(self._console_threads, _forward, host, port)
        try:
            return await within(look_up, FORWARD_SECONDS)
        except asyncio.TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "name server does not answer") from None

    async def peer_name(self, address: str) -> PeerName:
        """The names of the peer at a numeric address; without an answer in time, the address is the name."""
        known = self._peers.get(address)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        try:
            look_up = self._in_thread(self._client_threads, _reverse, address)
            fqdn = await within(look_up, REVERSE_SECONDS)
        except (asyncio.TimeoutError, OSError):
            fqdn = None
        name = PeerName(address, address) if fqdn is None else PeerName(fqdn.partition(".")[0], fqdn)
        if len(self._peers) >= MAX_CACHED:
            self._peers.clear()
        self._peers[address] = (self._loop.time() + CACHE_SECONDS, name)
        return name

    async def user_name(self, uid: int) -> str:
        """The name of a local user; without an answer in time, or without a name, the number."""
        known = self._users.get(uid)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        try:
            look_up = self._in_thread(self._client_threads, pwd.getpwuid, uid)
            name = (await within(look_up, REVERSE_SECONDS)).pw_name
        except (asyncio.TimeoutError, OSError, KeyError):
            name = str(uid)
        if len(self._users) >= MAX_CACHED:
            self._users.clear()
        self._users[uid] = (self._loop.time() + CACHE_SECONDS, name)
        return name

    def _in_thread(
        self, threads: ThreadPoolExecutor, look_up: Callable[..., T], *arguments: object
    ) -> asyncio.Future[T]:
        try:
            return self._loop.run_in_executor(threads, look_up, *arguments)
        except RuntimeError as error:  # no thread can be started; the original exits (errata A2)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error

    async def is_confirmed(self, fqdn: str, address: str) -> bool:
        """Whether the name leads back to the address: what libwrap asks before it believes a name."""
        try:
            found = await within(self._in_thread(self._client_threads, _forward, fqdn, 0), REVERSE_SECONDS)
        except (asyncio.TimeoutError, OSError):
            return False
        return any(without_mapping(socket_address[0]) == address for _family, socket_address in found)

    def close(self) -> None:
        self._console_threads.shutdown(wait=False)
        self._client_threads.shutdown(wait=False)


def _forward(host: str, port: int) -> List[Tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # not a name that can be looked up, e.g. a label of 64 bytes
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return [(entry[0], entry[4]) for entry in found]


def _reverse(address: str) -> Optional[str]:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):  # no name, or none that is text
        return None
