"""How ConMan writes a length of time: ``5s``, ``1m2s``, ``2h0m7s``, ``3d4h0m1s``, ``1w0d0h0m0s``."""

from __future__ import annotations

_UNITS = (("y", 52 * 7 * 86400), ("w", 7 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def format_delta(seconds: float) -> str:
    """Whole seconds in units; leading zero units are left out, inner ones are not. A year has 52 weeks."""
    rest = max(0, int(seconds))
    text = ""
    for letter, size in _UNITS:
        count, rest = divmod(rest, size)
        if text or count or size == 1:
            text += f"{count}{letter}"
    return text
