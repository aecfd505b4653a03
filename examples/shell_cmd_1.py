#!/usr/bin/env python3
"""Run a shell command at one console: shell_cmd_1.py [-d HOST] [-f | -j] CONSOLE COMMAND...

The counterpart of the original's shell_cmd_1. Somebody has to be logged in there.
"""

from __future__ import annotations

import argparse
import sys

from conman import ConmanError, Console, query


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a shell command at one console.")
    parser.add_argument("-d", metavar="HOST", help="server: HOST[:PORT]")
    parser.add_argument("-f", action="store_const", const="force", dest="mode", default="connect")
    parser.add_argument("-j", action="store_const", const="join", dest="mode")
    parser.add_argument("console")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        names = query(options.console, server=options.d)
        if len(names) > 1:
            raise ConmanError("Matched too many consoles")
        with Console(names[0], mode=options.mode, server=options.d) as console:
            result = console.run(" ".join(options.command))
    except ConmanError as error:
        print(f"ERROR: {error}.", file=sys.stderr)
        return 1
    if result.output:
        print(result.output)
    return result.status or 0


if __name__ == "__main__":
    sys.exit(main())
