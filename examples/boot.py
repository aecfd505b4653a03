#!/usr/bin/env python3
"""Reset a node, hold a dialogue with its boot loader if it has one, and wait for the login: boot.py CONSOLE

In place of the original's boot_alpha, whose firmware is gone. It shows a dialogue of one's own: a generator that yields
what to type and what to wait for, and that Console and AsyncConsole perform alike.
"""

from __future__ import annotations

import re
import sys

from conman import ConmanError, Console
from conman.dialogues import LOGIN_PROMPT, Await, Dialogue, Type
from conman.errors import DialogueError

MENU = re.compile(r"Press any key to enter the menu|GNU GRUB +version")


def through_the_boot_loader(seconds: float) -> Dialogue[str]:
    """Choose the first entry where a menu waits for somebody to choose; returns what was said before the login."""
    said = ""
    while True:
        answer = yield Await((LOGIN_PROMPT, MENU), seconds)
        if answer is None:
            raise DialogueError("the node does not come up", said)
        said += answer.before + answer.text
        if answer.index == 0:
            return said
        yield Type("\r")


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        with Console(sys.argv[1], mode="force") as console:
            console.reset()
            said = console.perform(through_the_boot_loader(600))
    except ConmanError as error:
        print(f"ERROR: {error}.", file=sys.stderr)
        return 1
    kernel = re.search(r"Linux version \S+", said)
    print(f"{sys.argv[1]}:up{f' with {kernel[0]}' if kernel else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
