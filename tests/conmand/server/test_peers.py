from __future__ import annotations

import os
import socket

import pytest

from conmand.server.peers import Origin, origin, without_mapping


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_comes_from_an_address_and_a_port(family: int, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server, socket.socket(family) as client:
        client.connect(server.getsockname())
        sock, address = server.accept()
        with sock:
            assert origin(sock, address) == Origin(host, client.getsockname()[1])


def test_ipv4_that_ipv6_carries_is_ipv4() -> None:
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with server, socket.create_connection(("127.0.0.1", server.getsockname()[1])):
        sock, address = server.accept()
        with sock:
            assert address[0] == "::ffff:127.0.0.1"
            assert origin(sock, address).address == "127.0.0.1"


def test_on_a_unix_socket_the_kernel_tells_the_user() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert origin(ours, "") == Origin(None, os.getpid(), os.getuid())


@pytest.mark.parametrize(
    ("from_", "label"),
    [
        (Origin("192.0.2.1", 7), "192.0.2.1:7"),
        (Origin("2001:db8::1", 7), "[2001:db8::1]:7"),
        (Origin(None, 4711, 0), "localhost:4711"),
    ],
)
def test_labels(from_: Origin, label: str) -> None:
    assert from_.label == label


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:0db8:0::1", "2001:db8::1"),
    ],
)
def test_addresses_have_one_form(address: str, shown: str) -> None:
    assert without_mapping(address) == shown
