"""Reaching a daemon at one of several addresses. Complaints and answers are in tests/system/client."""

from __future__ import annotations

import socket

import pytest

from conman.address import Endpoint
from conman.connection import _connect_any
from conman.errors import ConnectError


def endpoint(port: int, family: int = socket.AF_INET) -> Endpoint:
    return Endpoint(family, ("127.0.0.1", port), "h.example", port)


def test_all_addresses_of_a_host_are_tried_in_turn() -> None:
    with socket.socket() as deaf, socket.create_server(("127.0.0.1", 0)) as listening:
        deaf.bind(("127.0.0.1", 0))
        dead, alive = endpoint(deaf.getsockname()[1]), endpoint(listening.getsockname()[1])
        no_such_family = endpoint(1, family=-2)
        sock, reached = _connect_any([no_such_family, dead, alive], 10)
        sock.close()
        assert reached is alive
        with pytest.raises(ConnectError, match=rf"Unable to connect to <h.example:{dead.port}>: Connection refused"):
            _connect_any([dead, dead], 10)
