#!/usr/bin/env python3
"""Ask kernels by SysRq: sysrq.py KEY CONSOLE...  (t: tasks, m: memory, w: blocked tasks, s: sync)"""

from __future__ import annotations

import sys

from conman import ConmanError, query, run_on


def main() -> int:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    key, *patterns = sys.argv[1:]
    try:
        names = query(*patterns)
    except ConmanError as error:
        print(f"ERROR: {error}.", file=sys.stderr)
        return 1
    outcomes = run_on(names, lambda console: console.sysrq(key), mode="join")
    for name, outcome in outcomes.items():
        for line in (outcome.value or f"ERROR: {outcome.error}").splitlines():
            print(f"{name}:{line}")
    return 0 if all(outcome.value for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
