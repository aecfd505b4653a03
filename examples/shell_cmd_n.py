#!/usr/bin/env python3
"""Run a shell command on many nodes: shell_cmd_n.py 'n*' uptime

The counterpart of the original's shell_cmd_n: 64 at a time, each line with the console's name in front. Sort its output
with "sort -s -t: -k1,1". The command "conman-py run" does the same, and more.
"""

from __future__ import annotations

import sys

from conman import CommandResult, ConmanError, Outcome, query, run_on


def show(outcome: Outcome[CommandResult]) -> None:
    if outcome.value is None:
        print(f"{outcome.console}:ERROR: {outcome.error}.", file=sys.stderr)
        return
    for line in outcome.value.output.splitlines():
        print(f"{outcome.console}:{line}")


def main() -> int:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *patterns, command = sys.argv[1:]
    try:
        names = query(*patterns)
    except ConmanError as error:
        print(f"ERROR: {error}.", file=sys.stderr)
        return 1
    outcomes = run_on(names, lambda console: console.run(command), limit=64, on_done=show)
    return 0 if all(outcome.ok for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
