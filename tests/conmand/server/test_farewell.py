"""Sessions that we close ourselves: the last words arrive, also to a peer that goes on typing."""

from __future__ import annotations

import socket
from typing import Tuple

from conmand.server.farewell import LINGER_SECONDS, Farewells
from tests.fakes.loops import ManualLoop, run, settle


def connection() -> Tuple[socket.socket, socket.socket]:
    """Ours and the peer's end of a TCP connection: only TCP has resets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _address = listening.accept()
    ours.setblocking(False)
    return ours, peer


def test_unread_input_does_not_destroy_the_last_words() -> None:
    async def test(loop: ManualLoop) -> None:
        ours, peer = connection()
        with peer:
            peer.sendall(b"typed and never read")
            ours.sendall(b"last words")
            Farewells(loop).say(ours)
            peer.sendall(b"typed on")
            await settle()
            peer.setblocking(False)
            assert await loop.sock_recv(peer, 100) == b"last words"
            assert await loop.sock_recv(peer, 100) == b""
            assert ours.fileno() >= 0
            peer.shutdown(socket.SHUT_WR)
            await settle()
            while ours.fileno() >= 0:
                await settle(1)

    run(test)


def test_a_peer_that_does_not_close_is_not_waited_for_long() -> None:
    async def test(loop: ManualLoop) -> None:
        ours, peer = connection()
        with peer:
            Farewells(loop).say(ours)
            await loop.advance(LINGER_SECONDS / 2)
            assert ours.fileno() >= 0
            await loop.advance(LINGER_SECONDS)
            assert ours.fileno() < 0

    run(test)


def test_it_can_be_cut_short() -> None:
    async def test(loop: ManualLoop) -> None:
        farewells = Farewells(loop)
        ours, peer = connection()
        with peer:
            farewells.say(ours)
            farewells.cut_short()
            assert ours.fileno() < 0

    run(test)
