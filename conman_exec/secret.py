"""Bytes that are not to be shown."""

from __future__ import annotations


class Secret(bytes):
    """A password or key. Its representation, wherever it may turn up, says only that there is one."""

    def __repr__(self) -> str:
        return "<secret>" if self else "<no secret>"

    __str__ = __repr__
