from __future__ import annotations

import pytest

from conman_exec.record import Record
from conman_exec.secret import Secret


class Point(Record):
    x: int
    y: int = 5


class Other(Record):
    x: int
    y: int = 5


def test_fields_have_names_places_and_defaults() -> None:
    assert Point(1) == Point(1, 5) == Point(y=5, x=1)
    assert (Point(1, 2).x, Point(1, 2).y) == (1, 2)
    assert Point(1)._replace(y=7) == Point(1, 7)
    assert repr(Point(1)) == "Point(x=1, y=5)"


def test_records_of_another_kind_are_not_equal() -> None:
    assert Point(1, 2) != Other(1, 2)
    assert Point(1, 2) != (1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]


@pytest.mark.parametrize("arguments", [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1})])
def test_wrong_fields_are_refused(arguments: tuple[tuple[int, ...], dict[str, int]]) -> None:
    with pytest.raises(TypeError):
        Point(*arguments[0], **arguments[1])


def test_secret_shows_only_that_it_is_there() -> None:
    assert f"{Secret(b't0p')} {Secret(b't0p')!r} {[Secret(b'')]}" == "<secret> <secret> [<no secret>]"
    assert Secret(b"t0p") == b"t0p"
