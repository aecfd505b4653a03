"""How long a console waits before it tries its device again. Seconds in, seconds out: no clock, no timer."""

from __future__ import annotations


class Backoff:
    """Delays that double from ``first`` up to ``maximum`` seconds, until a connection proves stable.

    ``stable`` is how many seconds a connection has to stay up for that, and ``after_stable`` the delay after one that
    did: 0 reconnects at once. The doubling then starts again. Sources: ConMan 0.3.1, observed; its rows are

    ======== ===== ======= ====== ============
    consoles first maximum stable after_stable
    ======== ===== ======= ====== ============
    process     60    1800     60            0
    telnet      15    1800     15            0
    unix         1      60     60            1
    IPMI        60    1800     60           60
    ======== ===== ======= ====== ============

    An IPMI console tries a lost connection again soon, without asking this row; when that attempt fails, it asks with
    the seconds that the lost connection had been up.
    """

    __slots__ = ("_after_stable", "_first", "_maximum", "_next", "_stable")

    def __init__(self, first: float, maximum: float, stable: float, after_stable: float) -> None:
        if not 0 < first <= maximum or not 0 <= after_stable <= maximum:
            raise ValueError(f"delays of {first} s, then {after_stable} s, do not fit a maximum of {maximum} s")
        self._first = first
        self._maximum = maximum
        self._stable = stable
        self._after_stable = after_stable
        self._next = first

    def next_delay(self, up_seconds: float) -> float:
        """Seconds to wait before the next attempt, the last connection having been up for ``up_seconds``.

        ``up_seconds`` is 0 if the attempt failed. A connection shorter than ``stable`` counts as a failure too, so
        that a device which accepts and hangs up cannot make us spin.
        """
        delay = self._after_stable if up_seconds >= self._stable else self._next
        self._next = min(max(2 * delay, self._first), self._maximum)
        return delay

    def reset(self) -> None:
        """Start again at ``first``: somebody asked for the device, as a client that attaches to a telnet console."""
        self._next = self._first
