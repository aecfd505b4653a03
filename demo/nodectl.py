"""Push a pretend node's reset button: ``nodectl.py PORT NODE reboot|crash``. The demo site's ``resetcmd``.

PORT is the terminal server's control port on this machine. Exits with 1 and a message if nothing was done.
"""

from __future__ import annotations

import socket
import sys
from typing import List

REPLY_SECONDS = 5.0
MAX_REPLY_BYTES = 1024


def main(arguments: List[str]) -> int:
    if len(arguments) != 3 or not arguments[0].isdigit():
        print("usage: nodectl.py PORT NODE reboot|crash", file=sys.stderr)
        return 2
    port, node, action = arguments
    try:
        reply = _ask(int(port), f"{node} {action}\n".encode())
    except OSError as error:
        print(f"nodectl: cannot {action} {node} through port {port}: {error}", file=sys.stderr)
        return 1
    if reply != "ok":
        print(f"nodectl: cannot {action} {node}: {reply or 'no answer'}", file=sys.stderr)
        return 1
    return 0


def _ask(port: int, command: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), REPLY_SECONDS) as connection:
        connection.sendall(command)
        with connection.makefile("rb") as replies:
            return replies.readline(MAX_REPLY_BYTES).decode("utf-8", "replace").strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
