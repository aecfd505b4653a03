"""The library as a whole: what it offers, and that it does so with types."""

from __future__ import annotations

from pathlib import Path

import conman


def test_all_that_is_offered_is_there_and_typed_for_its_users() -> None:
    for name in conman.__all__:
        assert hasattr(conman, name)
    assert (Path(conman.__file__).parent / "py.typed").is_file()  # PEP 561
