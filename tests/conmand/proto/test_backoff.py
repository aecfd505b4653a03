"""Delays between attempts, as observed with ConMan 0.3.1."""

from __future__ import annotations

from typing import Callable, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.proto.backoff import Backoff


def process() -> Backoff:
    return Backoff(first=60, maximum=1800, stable=60, after_stable=0)


def telnet() -> Backoff:
    return Backoff(first=15, maximum=1800, stable=15, after_stable=0)


def unix() -> Backoff:
    return Backoff(first=1, maximum=60, stable=60, after_stable=1)


def ipmi() -> Backoff:
    return Backoff(first=60, maximum=1800, stable=60, after_stable=60)


def attempts(backoff: Backoff, count: int) -> List[float]:
    """Seconds at which attempts are made by a console whose device is lost as soon as it is there."""
    times = [0.0]
    while len(times) < count:
        times.append(times[-1] + backoff.next_delay(0))
    return times


def test_process_that_exits_at_once() -> None:
    assert attempts(process(), 4) == [0, 60, 180, 420]


def test_process_that_ran_a_minute_is_restarted_at_once() -> None:
    backoff = process()
    assert [backoff.next_delay(up) for up in (0, 0, 62, 0, 0, 0)] == [60, 120, 0, 60, 120, 240]


def test_telnet_connection_refused() -> None:
    assert attempts(telnet(), 6) == [0, 15, 45, 105, 225, 465]


def test_telnet_connection_dropped_after_a_second() -> None:
    backoff = telnet()
    assert [backoff.next_delay(1), backoff.next_delay(1)] == [15, 30]


def test_telnet_connection_dropped_after_17_seconds() -> None:
    backoff = telnet()
    assert [backoff.next_delay(17), backoff.next_delay(0)] == [0, 15]


def test_unix_socket_whose_peer_closes_at_once() -> None:
    assert attempts(unix(), 9) == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_unix_socket_is_never_retried_at_once() -> None:
    backoff = unix()
    assert [backoff.next_delay(up) for up in (0, 0, 0, 60, 0, 0)] == [1, 2, 4, 1, 2, 4]


def test_ipmi_starts_again_at_a_minute_after_a_stable_connection() -> None:
    backoff = ipmi()
    assert [backoff.next_delay(up) for up in (0, 0, 0, 60, 0)] == [60, 120, 240, 60, 120]


def test_a_connection_is_stable_from_the_very_second_on() -> None:
    assert telnet().next_delay(14.999) == 15
    assert telnet().next_delay(15) == 0


def test_reset_starts_again_at_the_first_delay() -> None:
    backoff = telnet()
    attempts(backoff, 5)
    backoff.reset()
    assert attempts(backoff, 3) == [0, 15, 45]


@pytest.mark.parametrize("kind", [process, telnet, unix, ipmi])
@given(st.lists(st.floats(0, 1e6)))
def test_delays_stay_in_bounds_and_only_a_stable_connection_is_retried_at_once(
    kind: Callable[[], Backoff], ups: List[float]
) -> None:
    backoff = kind()
    for up in ups:
        delay = backoff.next_delay(up)
        assert 0 <= delay <= 1800
        assert delay > 0 or up >= 15


def test_delays_that_cannot_be_are_refused() -> None:
    for first, maximum, after_stable in ((0, 60, 0), (61, 60, 0), (1, 60, -1), (1, 60, 61)):
        with pytest.raises(ValueError):
            Backoff(first, maximum, 60, after_stable)
