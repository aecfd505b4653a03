"""ConMan for Python: consoles for programs, and what both sides of ConMan's client port share.

    from conman import Console, query, run_on

    with Console("node1") as console:
        console.login("root", password)
        print(console.run("uptime").output)

The daemon is in the package ``conmand``, and the commands are in ``conman.cli`` and its neighbours.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.4.0"

if TYPE_CHECKING:
    from conman.aio import AsyncConsole as AsyncConsole
    from conman.console import Console as Console
    from conman.console import open_console as open_console
    from conman.console import query as query
    from conman.console import query_status as query_status
    from conman.dialogues import CommandResult as CommandResult
    from conman.dialogues import Login as Login
    from conman.dialogues import State as State
    from conman.errors import ConmanError as ConmanError
    from conman.errors import ConnectError as ConnectError
    from conman.errors import DialogueError as DialogueError
    from conman.errors import LostError as LostError
    from conman.errors import RefusedError as RefusedError
    from conman.expect import EOF as EOF
    from conman.expect import TIMEOUT as TIMEOUT
    from conman.parallel import Outcome as Outcome
    from conman.parallel import query_async as query_async
    from conman.parallel import run_on as run_on
    from conman.parallel import run_on_async as run_on_async
    from conman.status import ClientStatus as ClientStatus
    from conman.status import ConsoleStatus as ConsoleStatus

_HOMES = {
    "AsyncConsole": "aio",
    "Console": "console",
    "open_console": "console",
    "query": "console",
    "query_status": "console",
    "CommandResult": "dialogues",
    "Login": "dialogues",
    "State": "dialogues",
    "ConmanError": "errors",
    "ConnectError": "errors",
    "DialogueError": "errors",
    "LostError": "errors",
    "RefusedError": "errors",
    "EOF": "expect",
    "TIMEOUT": "expect",
    "Outcome": "parallel",
    "query_async": "parallel",
    "run_on": "parallel",
    "run_on_async": "parallel",
    "ClientStatus": "status",
    "ConsoleStatus": "status",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Loaded when first used: the daemon and the interactive client start without them."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"conman.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
