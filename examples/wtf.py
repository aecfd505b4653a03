#!/usr/bin/env python3
"""What is at each console: wtf.py 'n*'  (login, shell, firmware, inactive, active, error)

The counterpart of the original's wtf, with asyncio: hundreds of consoles at a time without a thread for each.
"""

from __future__ import annotations

import asyncio
import sys

from conman import AsyncConsole, ConmanError, State, query_async, run_on_async


async def look(console: AsyncConsole) -> State:
    return await console.state()


async def main() -> int:
    try:
        names = await query_async(*sys.argv[1:])
    except ConmanError as error:
        print(f"ERROR: {error}.", file=sys.stderr)
        return 1
    outcomes = await run_on_async(names, look, limit=256, mode="join")
    for name, outcome in outcomes.items():
        print(f"{name}:{outcome.value.value if outcome.value else f'ERROR: {outcome.error}'}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
