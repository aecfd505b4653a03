"""The long texts of the client: help, licence, hints. Programs parse the help: its layout is the original's."""

from __future__ import annotations

from conman import __version__, keys
from conman.address import Address
from conman.protocol import ErrorCode

_HELP = """\
Usage: {program} [OPTIONS] [CONSOLES]

  -b        Broadcast to multiple consoles (write-only).
  -d HOST   Specify server destination. [{address}]
  -e CHAR   Specify escape character. [{escape}]
  -f        Force connection (console-stealing).
  -F FILE   Read console names from file.
  -h        Display this help.
  -j        Join connection (console-sharing).
  -l FILE   Log connection output to file.
  -L        Display license information.
  -m        Monitor connection (read-only).
  -q        Query server about specified console(s).
  -Q        Be quiet and suppress informational messages.
  -r        Match console names via regex instead of globbing.
  -v        Be verbose.
  -V        Display version information.
  --status  Show the state of the specified consoles, or all.
  --json    With --status: one JSON object per line.
  --tail    Show output of the specified consoles, each line with its name.

  Once a connection is established, enter "{escape}." to close the session,
    or "{escape}?" to see a list of currently available escape sequences.

"""

LICENSE = """\
conman-py: a console manager, compatible with ConMan

conman-py is free software: you can redistribute it and/or modify it
under the terms of the GNU General Public License as published by
the Free Software Foundation; either version 3 of the License, or
(at your option) any later version.

"""

VERSION = f"conman-{__version__}\n"


def help_text(program: str, address: Address, escape: int) -> str:
    return _HELP.format(program=program, address=address, escape=keys.printable(escape).decode("ascii"))


def hint(code: int, *, broadcast: bool, force: bool, join: bool) -> str:
    """What to try after a refusal; empty if we have no advice."""
    if code == ErrorCode.TOO_MANY_CONSOLES and not broadcast:
        return "\nDo you want to broadcast (-b) to multiple consoles?\n\n"
    if code == ErrorCode.BUSY and not force and not join:
        return "\nDo you want to force (-f) or join (-j) the connection?\n\n"
    return ""
