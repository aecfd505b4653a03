"""What the kernel knows of a process and its descendants: CPU time and memory. Linux's /proc, nothing else."""

from __future__ import annotations

import os
import resource
from typing import Dict, List

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> List[str]:
    """Fields of /proc/PID/stat from the third (state) on; the second may hold blanks. Empty if there is no process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def tree(pid: int) -> List[int]:
    """``pid`` and its living descendants."""
    children: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:  # grows while it is walked
        found.extend(children.get(parent, ()))
    return found


def cpu_seconds(pids: List[int]) -> float:
    """User and system time of ``pids`` and of the children they have waited for; in steps of 10 ms."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks * _TICK_SECONDS


def pss_bytes(pids: List[int]) -> int:
    """Proportional set size: memory of their own, and their share of what they share with others."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything since it started, its host's other guests included."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(text) for text in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK_SECONDS


def raise_descriptor_limit() -> int:
    """Allow this process and its children as many descriptors as they may have; returns the number."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
