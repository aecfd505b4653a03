"""A wall clock that a test sets for one program, by libfaketime; monotonic time goes on as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from tests.fakes.peers import faketime_library

_VARIABLES = ("FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")

CONSTANTS: Dict[str, object] = {"conmand.server.process_setup.KEPT_VARIABLES": _VARIABLES}
"""The daemon must leave in its environment what the library asks at each look."""


class WrongClock:
    def __init__(self, directory: Path) -> None:
        self._offset = directory / "clock-offset"
        self.set(0)

    def set(self, offset_seconds: int) -> None:
        """The program's clock is off by so much, from now on."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{offset_seconds:+d}\n")
        fresh.replace(self._offset)

    @property
    def environ(self) -> Dict[str, str]:
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
