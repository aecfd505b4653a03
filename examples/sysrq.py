#!/usr/bin/env python3
"""Ask kernels by SysRq: sysrq.py KEY CONSOLE...  (t: tasks, m: memory, w: blocked tasks, s: sync)"""

from __future__ import annotations

import sys

from conman import query, run_on


def main() -> int:
    key, *patterns = sys.argv[1:]
    outcomes = run_on(query(*patterns), lambda console: console.sysrq(key), mode="join")
    for name, outcome in outcomes.items():
        for line in (outcome.value or f"ERROR: {outcome.error}").splitlines():
            print(f"{name}:{line}")
    return 0 if all(outcome.value for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
