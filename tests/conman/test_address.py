from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman.address import Address, Endpoint, from_environment, leading_number, resolve


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", "127.0.0.1:7890"),
        ("h", "h:7890"),
        ("h:99", "h:99"),
        (":99", "127.0.0.1:99"),
        ("h:", "h:7890"),
        ("h:0", "h:7890"),
        ("h:-5", "h:7890"),
        ("h:abc", "h:7890"),
        ("h:12abc", "h:12"),
        ("a:b:99", "a:7890"),
        ("::1", "[::1]:7890"),
        ("[::1]", "[::1]:7890"),
        ("[::1]:99", "[::1]:99"),
        ("[fe80::1%lo]:99", "[fe80::1%lo]:99"),
        ("fe80::1%lo", "[fe80::1%lo]:7890"),
        ("[::1]:", "[::1]:7890"),
        ("[h]:99", "[h]:99"),
        ("/run/conmand-py/socket", "/run/conmand-py/socket"),
        ("/run/a:99", "/run/a:99"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert str(Address().with_text(text)) == address


def test_the_environment_and_its_port() -> None:
    assert from_environment({}) == Address("127.0.0.1", 7890)
    assert from_environment({"CONMAN_HOST": "a:5"}) == Address("a", 5)
    assert from_environment({"CONMAN_HOST": "a:5", "CONMAN_PORT": "7"}) == Address("a", 7)
    assert from_environment({"CONMAN_HOST": "a:5", "CONMAN_PORT": "x"}) == Address("a", 5)


def test_a_port_that_does_not_exist_is_an_error() -> None:
    """Errata E3: the original connects to another one."""
    with pytest.raises(ValueError, match='invalid port "65536"'):
        Address().with_text("h:65536")


@pytest.mark.parametrize(
    ("name", "label", "full_label"),
    [
        ("h.example.org", "h:1", "h.example.org:1"),
        ("127.0.0.9", "127.0.0.9:1", "127.0.0.9:1"),
        ("::1", "[::1]:1", "[::1]:1"),
    ],
)
def test_labels(name: str, label: str, full_label: str) -> None:
    endpoint = Endpoint(2, ("127.0.0.1", 1), name, 1)
    assert (endpoint.label, endpoint.full_label) == (label, full_label)


def test_a_path_is_its_own_label_and_is_not_looked_up() -> None:
    (endpoint,) = resolve(from_environment({"CONMAN_HOST": "/run/a:b", "CONMAN_PORT": "7"}))
    assert (endpoint.family, endpoint.sockaddr) == (socket.AF_UNIX, b"/run/a:b")
    assert (endpoint.label, endpoint.full_label) == ("/run/a:b", "/run/a:b")


def test_the_users_last_word_is_the_address() -> None:
    assert Address("/run/socket").with_text("h:5") == Address("h", 5)


@given(st.text())
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        assert 0 < Address().with_text(text).port <= 65535
    except ValueError as error:
        assert "invalid port" in str(error)


@given(st.text())
def test_numbers_as_atoi_finds_them(text: str) -> None:
    assert isinstance(leading_number(text), int)
