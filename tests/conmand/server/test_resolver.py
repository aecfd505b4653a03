"""Names and addresses, with the system's look-ups replaced."""

from __future__ import annotations

import asyncio
import pwd
import socket
import threading
from typing import Any, List

import pytest

from conmand.server import resolver
from conmand.server.resolver import CACHE_SECONDS, FORWARD_SECONDS, REVERSE_SECONDS, NameResolver, PeerName
from tests.fakes.loops import ManualLoop, run


@pytest.fixture
def no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise AssertionError("a test must not ask a name server")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "getnameinfo", fail)


pytestmark = pytest.mark.usefixtures("no_name_server")


def test_ipv4_addresses_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: int, **options: Any) -> List[Any]:
        assert (host, port, options) == ("ts1", 2001, {"type": socket.SOCK_STREAM})
        return [
            (socket.AF_INET6, 1, 6, "", ("::1", 2001, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("10.0.0.1", 2001)),
            (socket.AF_INET, 1, 6, "", ("10.0.0.2", 2001)),
        ]

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        names = NameResolver(loop)
        assert await names.resolve("ts1", 2001) == [
            (socket.AF_INET, ("10.0.0.1", 2001)),
            (socket.AF_INET, ("10.0.0.2", 2001)),
            (socket.AF_INET6, ("::1", 2001, 0, 0)),
        ]
        names.close()

    run(test)


def test_what_is_no_name_is_an_error_of_the_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, *_args: object, **_options: object) -> None:
        host.encode("idna")

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        names = NameResolver(loop)
        with pytest.raises(socket.gaierror):
            await names.resolve("x" * 64 + ".org", 1)
        names.close()

    run(test)


def test_a_name_server_that_does_not_answer_is_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        release, asked = threading.Event(), asyncio.Queue()  # type: ignore[var-annotated]

        def hang(*_args: object, **_options: object) -> None:
            loop.call_soon_threadsafe(asked.put_nowait, None)
            release.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "too late")

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        monkeypatch.setattr(socket, "getnameinfo", hang)
        names = NameResolver(loop)
        forward = loop.create_task(names.resolve("ts1", 1))
        reverse = loop.create_task(names.peer_name("10.0.0.9"))
        await asked.get()
        await asked.get()
        await loop.advance(REVERSE_SECONDS)
        assert await reverse == PeerName("10.0.0.9", "10.0.0.9")
        await loop.advance(FORWARD_SECONDS - REVERSE_SECONDS)
        with pytest.raises(socket.gaierror, match="name server does not answer"):
            await forward
        release.set()
        names.close()
        names._console_threads.shutdown()
        names._client_threads.shutdown()

    run(test)


def test_clients_do_not_wait_for_the_names_of_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        release = threading.Event()

        def hang(host: str, *_args: object, **_options: object) -> List[Any]:
            if host != "node1.example.org":
                release.wait()
            return [(socket.AF_INET, 1, 6, "", ("10.0.0.1", 0))]

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: ("node1.example.org", "0"))
        names = NameResolver(loop)
        consoles = [loop.create_task(names.resolve(f"ts{number}", 1)) for number in range(2 * resolver.MAX_THREADS)]
        assert await names.peer_name("10.0.0.1") == PeerName("node1", "node1.example.org")
        assert await names.is_confirmed("node1.example.org", "10.0.0.1")
        release.set()
        await asyncio.gather(*consoles)
        names.close()
        names._console_threads.shutdown()
        names._client_threads.shutdown()

    run(test)


def test_a_name_that_is_no_text_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: (b"\xe9".decode(), "0"))
        names = NameResolver(loop)
        assert await names.peer_name("10.0.0.1") == PeerName("10.0.0.1", "10.0.0.1")
        names.close()

    run(test)


def test_a_peer_has_a_short_and_a_full_name_and_is_asked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[str] = []

    def look_up(address: Any, flags: int) -> Any:
        assert flags == socket.NI_NAMEREQD
        asked.append(address[0])
        if address[0] == "10.0.0.2":
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return ("node1.example.org", "0")

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getnameinfo", look_up)
        names = NameResolver(loop)
        for _ in range(3):
            assert await names.peer_name("10.0.0.1") == PeerName("node1", "node1.example.org")
            assert await names.peer_name("10.0.0.2") == PeerName("10.0.0.2", "10.0.0.2")
        assert asked == ["10.0.0.1", "10.0.0.2"]
        await loop.advance(CACHE_SECONDS)
        await names.peer_name("10.0.0.1")
        assert len(asked) == 3
        names.close()

    run(test)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: ("x.y", "0"))
        monkeypatch.setattr(resolver, "MAX_CACHED", 3)
        names = NameResolver(loop)
        for number in range(10):
            await names.peer_name(f"10.0.0.{number}")
            assert len(names._peers) <= 3
        names.close()

    run(test)


@pytest.mark.parametrize("found, confirmed", [(["10.0.0.1"], True), (["10.0.0.2"], False), ([], False)])
def test_a_name_is_believed_if_it_leads_back(
    monkeypatch: pytest.MonkeyPatch, found: List[str], confirmed: bool
) -> None:
    def look_up(host: str, port: int, **_options: object) -> List[Any]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in found]

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        names = NameResolver(loop)
        assert await names.is_confirmed("node1", "10.0.0.1") is confirmed
        names.close()

    run(test)


def test_without_threads_an_address_is_its_name_and_a_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original exits (errata A2)."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test(loop: ManualLoop) -> None:
        names = NameResolver(loop)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert await names.peer_name("10.0.0.1") == PeerName("10.0.0.1", "10.0.0.1")
            with pytest.raises(OSError, match="Resource temporarily unavailable"):
                await names.resolve("ts1", 1)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [(socket.AF_INET, 1, 6, "", ("h", 1))])
        assert await names.resolve("ts1", 1) == [(socket.AF_INET, ("h", 1))]
        names.close()

    run(test)


def test_a_user_has_a_name_or_a_number_and_is_asked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[int] = []

    def look_up(uid: int) -> Any:
        asked.append(uid)
        if uid == 4242:
            raise KeyError("no such user")
        return pwd.struct_passwd(("alice", "x", uid, uid, "", "/", "/bin/sh"))

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(pwd, "getpwuid", look_up)
        names = NameResolver(loop)
        for _ in range(2):
            assert await names.user_name(1000) == "alice"
            assert await names.user_name(4242) == "4242"
        assert asked == [1000, 4242]
        await loop.advance(CACHE_SECONDS)
        await names.user_name(1000)
        assert len(asked) == 3
        names.close()

    run(test)


def test_a_directory_of_users_that_does_not_answer_is_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        release, asked = threading.Event(), asyncio.Queue()  # type: ignore[var-annotated]

        def hang(_uid: int) -> None:
            loop.call_soon_threadsafe(asked.put_nowait, None)
            release.wait()
            raise KeyError("too late")

        monkeypatch.setattr(pwd, "getpwuid", hang)
        names = NameResolver(loop)
        name = loop.create_task(names.user_name(1000))
        await asked.get()
        await loop.advance(REVERSE_SECONDS)
        assert await name == "1000"
        release.set()
        names.close()
        names._client_threads.shutdown()

    run(test)


@pytest.mark.parametrize("address", ["::1", "2001:db8::1"])
def test_an_ipv6_peer_has_a_name_too(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(_host: str, port: int, **_options: object) -> List[Any]:
        return [(socket.AF_INET6, 1, 6, "", (f"{address}%lo", port, 0, 1))]

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getnameinfo", lambda asked, flags: (f"node1.{asked[0]}.org", "0"))
        monkeypatch.setattr(socket, "getaddrinfo", forward)
        names = NameResolver(loop)
        assert await names.peer_name(address) == PeerName("node1", f"node1.{address}.org")
        assert await names.is_confirmed("node1", address)
        names.close()

    run(test)


def test_a_name_with_only_ipv6_has_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 1, 6, "", ("2001:db8::1", 2001, 0, 0))]

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
        names = NameResolver(loop)
        assert await names.resolve("ts6", 2001) == [(socket.AF_INET6, ("2001:db8::1", 2001, 0, 0))]
        names.close()

    run(test)
