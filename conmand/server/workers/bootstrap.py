"""The first lines that a worker's interpreter runs: ``python -I bootstrap.py FD``, FD being its end of the channel.

This file imports nothing of ours. The modules have to come from where the front's came from, also when the front was
started from a source tree or with a PYTHONPATH, which ``-I`` rightly ignores: so the front sends its path first.
"""

import json
import os
import signal
import socket
import struct
import sys


def main() -> None:
    """Signals are the front's to act on: the service manager and the terminal send them to all of us."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # A handler and not SIG_IGN, which device programs would inherit.
        signal.signal(number, lambda _number, _frame: None)
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    (size,) = struct.unpack("!I", _receive(control, 4))
    front = json.loads(_receive(control, size))
    sys.path[:] = front["path"]
    # Where the environment has no locale, an interpreter chooses one and writes it there (PEP 538).
    for name in os.environ.keys() - set(front["variables"]):
        del os.environ[name]
    from conmand.server.workers.worker import run

    run(control)


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            sys.exit(0)  # the front has gone already
        data += part
    return data


if __name__ == "__main__":
    main()
