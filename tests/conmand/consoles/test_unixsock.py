"""Consoles on unix sockets: when they connect, what they say, what a socket that appears changes."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import List, Tuple

import pytest

from conmand.config.model import ConsoleSettings, LogLevel, UnixDevice
from conmand.consoles.base import State
from conmand.consoles.unixsock import UnixConsole
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink


def console(loop: ManualLoop, path: Path) -> Tuple[UnixConsole, RecordingSink]:
    sink = RecordingSink()
    return UnixConsole(ConsoleSettings("u", UnixDevice(str(path))), sink, FakeServices(loop)), sink


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def bound(path: Path) -> socket.socket:
    """As a peer between bind(2) and listen(2)."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def test_it_connects_says_so_and_passes_bytes_both_ways(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        with listening(path) as server:
            shared.start()
            assert sink.announced == [f'Console [u] connected to "{path}"']
            assert sink.levels == [LogLevel.INFO]
            device, _ = server.accept()
            with device:
                device.sendall(b"boot...\r\n")
                await sink.until(lambda: sink.published == b"boot...\r\n")
                shared.send(b"\xff\x7f")
                shared.send_break()  # there is none on a unix socket
                assert device.recv(100) == b"\xff\x7f"
            await sink.until(lambda: len(sink.announced) == 2)
            assert sink.announced[1] == f'Console [u] disconnected from "{path}"'
        shared.stop()

    run(test)


def test_a_peer_that_closes_at_once_is_tried_at_the_originals_times(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        times: List[float] = []
        with listening(path) as server:
            server.setblocking(False)
            shared.start()
            for second in range(200):
                try:
                    server.accept()[0].close()
                except BlockingIOError:
                    pass
                else:
                    times.append(second)
                    lost = 2 * len(times)
                    await sink.until(lambda lost=lost: len(sink.announced) == lost)  # type: ignore[misc]
                await loop.advance(1)
        assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        shared.stop()

    run(test)


def test_a_socket_that_is_not_there_is_complained_of_once_and_at_debug_level(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        shared.start()
        await loop.advance(300)
        reason = f'Console [u] cannot stat device "{path}": No such file or directory'
        assert sink.reported == [(LogLevel.DEBUG, reason)]
        assert sink.announced == []
        shared.stop()
        assert loop.timers() == []

    run(test)


def test_each_new_reason_is_said(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        path.write_text("")
        shared.start()
        path.unlink()
        with bound(path):
            await loop.advance(10)
        assert sink.reported == [
            (LogLevel.NOTICE, f'Console [u] device "{path}" is not a socket'),
            (LogLevel.INFO, f'Console [u] cannot connect to device "{path}": Connection refused'),
        ]
        shared.stop()

    run(test)


def test_a_socket_that_appears_is_connected_to_at_once(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        shared.start()
        await loop.advance(200)
        with listening(path):
            shared.services.watcher.appear(str(path))  # type: ignore[attr-defined]
            assert shared.state is State.UP
            assert loop.timers() == []
        shared.stop()

    run(test)


def test_a_socket_that_appears_before_it_listens_is_tried_again_very_soon(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        shared.start()
        await loop.advance(200)
        with bound(path) as server:
            shared.services.watcher.appear(str(path))  # type: ignore[attr-defined]
            assert shared.state is State.DOWN
            server.listen()
            await loop.advance(0.02)
            assert shared.state is State.UP
        shared.stop()

    run(test)


def test_after_the_quick_attempts_the_delays_start_again_at_a_second(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        shared.start()
        await loop.advance(200)
        with bound(path):
            shared.services.watcher.appear(str(path))  # type: ignore[attr-defined]
            delays = []
            for _ in range(6):
                (delay,) = loop.timers()
                delays.append(round(delay, 3))
                await loop.advance(delay)
        assert delays == [0.02, 0.1, 0.3, 1, 2, 4]
        shared.stop()

    run(test)


def test_a_new_socket_file_does_not_disturb_a_live_connection(tmp_path: Path) -> None:
    """The original drops the connection (errata D9)."""

    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        with listening(path) as old:
            shared.start()
            device, _ = old.accept()
            path.unlink()
            with listening(path), device:
                shared.services.watcher.appear(str(path))  # type: ignore[attr-defined]
                await settle()
                device.sendall(b"still here")
                await sink.until(lambda: sink.published == b"still here")
        shared.stop()

    run(test)


def test_a_client_that_comes_while_it_is_down_makes_it_try_at_once(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        shared.start()
        await loop.advance(40)
        with listening(path):
            assert shared.client_attached() == f'Console [u] is currently disconnected from "{path}"'
            shared.retry_now()
            assert shared.state is State.UP
        shared.stop()

    run(test)


def test_a_client_may_come_before_the_console_was_started(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        path = tmp_path / "s"
        shared, sink = console(loop, path)
        assert shared.client_attached() is not None
        shared.retry_now()
        with listening(path) as server:
            shared.start()
            assert shared.state is State.UP
            server.setblocking(False)
            server.accept()[0].close()
            with pytest.raises(BlockingIOError):
                server.accept()
        shared.stop()

    run(test)


def test_stop_unwatches_even_what_was_never_started(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        shared, sink = console(loop, tmp_path / "s")
        shared.stop()
        shared.start()
        shared.stop()
        assert shared.services.watcher.watched == {str(tmp_path / "s"): []}  # type: ignore[attr-defined]

    run(test)


def test_a_path_of_any_bytes_is_reached(tmp_path: Path) -> None:
    async def test(loop: ManualLoop) -> None:
        name = os.fsencode(tmp_path) + b"/caf\xc3\xa9-\xe9"
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        server.listen()
        sink = RecordingSink()
        device = UnixDevice(name.decode("utf-8", "surrogateescape"))
        shared = UnixConsole(ConsoleSettings("u", device), sink, FakeServices(loop))
        shared.start()
        assert shared.state is State.UP
        shared.stop()
        server.close()

    run(test)
