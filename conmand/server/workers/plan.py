"""How many workers, and which console goes to which. Pure: no process, no clock."""

from __future__ import annotations

from typing import Callable, Dict, Hashable, List, Mapping, Sequence, Union

from conmand.config.settings import AUTO

ONE_PROCESS_BELOW = 500
"""Consoles that one process serves with ease; more processes would only cost memory."""

CONSOLES_PER_WORKER = 250
"""At least, with ``auto``."""


def count(wanted: Union[int, str], consoles: int, cores: int) -> int:
    """How many processes are to own consoles. 1 means that the daemon does so itself."""
    if wanted != AUTO:
        return max(1, int(wanted))
    if consoles < ONE_PROCESS_BELOW:
        return 1
    return max(1, min(cores, consoles // CONSOLES_PER_WORKER))


def assign(
    names: Sequence[str],
    workers: int,
    *,
    together: Callable[[str], Hashable],
    before: Mapping[str, int] = {},  # noqa: B006 - a mapping, which cannot be changed
) -> Dict[str, int]:
    """The number of the worker, from 0, of each console.

    Those whose ``together`` is the same go to the same worker: they share a file, and the lock of one process would
    keep another out of it. ``before`` is where consoles are already; there they stay.
    """
    loads = [0] * workers
    assigned: Dict[str, int] = {}
    homes: Dict[Hashable, int] = {}
    for name in names:
        if name in before:
            assigned[name] = before[name]
            homes.setdefault(together(name), before[name])
            loads[before[name]] += 1
    for name in names:
        if name not in assigned:
            home = homes.setdefault(together(name), loads.index(min(loads)))
            assigned[name] = home
            loads[home] += 1
    return {name: assigned[name] for name in names}


def shares(assigned: Mapping[str, int], workers: int) -> List[List[str]]:
    """The consoles of each worker, in the order of ``assigned``."""
    made: List[List[str]] = [[] for _ in range(workers)]
    for name, number in assigned.items():
        made[number].append(name)
    return made
