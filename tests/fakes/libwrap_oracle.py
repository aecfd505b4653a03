"""Asks the real libwrap: one JSON object per line in, ``1`` (granted) or ``0`` per line out.

Run as a program in a directory of its own, where it writes hosts.allow and hosts.deny. It is a program because libwrap
reads its files' names from its own variables and may end the process that calls it. Keys: allow, deny, daemon, address,
name (empty: unknown) and server (an address; empty: unknown).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

LIBRARY = "libwrap.so.0"
_DAEMON, _USER, _CLIENT_NAME, _CLIENT_ADDRESS, _SERVER_ADDRESS = 2, 3, 4, 5, 8  # RQ_* of tcpd.h
_REQUEST_BYTES = 65536  # more than any struct request_info


def main() -> None:
    library = ctypes.CDLL(LIBRARY)
    paths = [ctypes.create_string_buffer(name) for name in (b"./hosts.allow", b"./hosts.deny")]
    for variable, path in zip(("hosts_allow_table", "hosts_deny_table"), paths):
        ctypes.c_void_p.in_dll(library, variable).value = ctypes.addressof(path)
    for line in sys.stdin:
        case = json.loads(line)
        for path, text in zip(paths, (case["allow"], case["deny"])):
            with open(path.value, "w") as file:
                file.write(text)
        pid = os.fork()
        if pid == 0:
            os._exit(_ask(library, case))
        _, status = os.waitpid(pid, 0)
        print(int(status == 1 << 8), flush=True)


def _ask(library: ctypes.CDLL, case: dict[str, str]) -> int:
    pairs = [
        (_DAEMON, case["daemon"]),
        (_USER, "unknown"),
        (_CLIENT_NAME, case["name"]),
        (_CLIENT_ADDRESS, case["address"]),
    ]
    if case["server"]:
        pairs.append((_SERVER_ADDRESS, case["server"]))
    arguments = [item for key, text in pairs for item in (ctypes.c_int(key), text.encode())]
    request = ctypes.create_string_buffer(_REQUEST_BYTES)
    library.request_init(request, *arguments, ctypes.c_int(0))
    return int(library.hosts_access(request) != 0)


if __name__ == "__main__":
    main()
