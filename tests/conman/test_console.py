"""The two faces of the library before a daemon that a test plays: what they wait for, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Iterator

import pytest

from conman import TIMEOUT, AsyncConsole, Console, aio, console
from tests.fakes.scripted_daemon import ScriptedDaemon


@contextlib.contextmanager
def flooding(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a daemon whose console talks without a pause, and whatever the client does."""
    monkeypatch.setattr(console, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(aio, "CLOSE_SECONDS", 0.01)
    with ScriptedDaemon() as daemon:

        def flood() -> None:
            daemon.grant()
            with contextlib.suppress(OSError):
                while True:
                    daemon.connection.sendall(b"x" * 65536)

        thread = threading.Thread(target=flood)
        thread.start()
        yield f"127.0.0.1:{daemon.port}"
        thread.join()


def test_a_flood_does_not_put_off_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with flooding(monkeypatch) as server, Console("n1", server=server) as session:
        assert session.expect([TIMEOUT, "never"], timeout=0.01) == 0


def test_a_time_limit_may_be_for_ever() -> None:
    with ScriptedDaemon() as daemon:

        def speak() -> None:
            daemon.grant(b"OK CONSOLE='n1'\nword")
            daemon.connection.recv(1)
            daemon.connection.sendall(b" and answer")
            daemon.connection.close()

        thread = threading.Thread(target=speak)
        thread.start()
        with Console("n1", server=f"127.0.0.1:{daemon.port}") as session:
            session.send("x")
            assert session.expect("answer", timeout=float("inf")) == 0
        thread.join()


def test_a_boot_is_not_over_at_an_old_login_prompt() -> None:
    with ScriptedDaemon() as daemon:

        def reboot() -> None:
            daemon.grant(b"OK OPTION=RESET CONSOLE='n1'\nn1 login: ")
            assert daemon.connection.recv(2) == b"\xffR"
            daemon.connection.sendall(b"Linux version 6\r\nn1 login: ")
            while daemon.connection.recv(100):
                pass
            daemon.connection.close()

        thread = threading.Thread(target=reboot)
        thread.start()
        with Console("n1", server=f"127.0.0.1:{daemon.port}") as session:
            session.expect("n1")
            assert session.boot(timeout=30) == "Linux version 6\nn1 login: "
        thread.join()


def test_a_flood_does_not_put_off_a_time_limit_with_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(server: str) -> None:
        async with await AsyncConsole.open("n1", server=server) as session:
            assert await session.expect([TIMEOUT, "never"], timeout=0.01) == 0

    with flooding(monkeypatch) as server:
        asyncio.run(wait(server))
