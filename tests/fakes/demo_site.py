"""The demo's pretend nodes behind one of our daemons, for tests of what talks to nodes."""

from __future__ import annotations

import asyncio
import shlex
import sys
import threading
from pathlib import Path
from typing import List, Optional, Sequence

from demo.node import Node
from demo.terminal_server import TerminalServer
from tests.fakes.daemons import OURS, REPOSITORY, Daemon, start_daemon
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.sessions import open_session


class DemoSite:
    """Use as a context manager. ``server`` is what ``conman`` calls the daemon's address."""

    def __init__(self, directory: Path, names: Sequence[str] = ("node1", "node2", "node3"), extra: str = "") -> None:
        self._directory = directory
        self._names = names
        self._extra = extra
        self._ready = threading.Event()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._stop: Optional[asyncio.Event] = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._lines: List[str] = []
        self.daemon: Daemon

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.daemon.port}"

    async def _serve(self) -> None:
        nodes = [Node(name, number, pace=0.0, chatter_seconds=None) for number, name in enumerate(self._names, 1)]
        async with TerminalServer(nodes) as terminal_server:
            nodectl = [sys.executable, str(REPOSITORY / "demo" / "nodectl.py"), str(terminal_server.control_port)]
            self._lines = [
                f'server logdir="{self._directory}" resetcmd="{shlex.join(nodectl)} %N reboot"',
                'global log="%N.log"',
                *[f'console name="{name}" dev="127.0.0.1:{port}"' for name, port in terminal_server.ports.items()],
                self._extra,
            ]
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> DemoSite:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS), "the nodes did not start"
        path = self._directory / "conman.conf"
        path.write_text("\n".join(self._lines) + "\n")
        try:
            self.daemon = start_daemon(OURS, path)
        except BaseException:
            self._stop_nodes()
            raise
        for name in self._names:
            self.daemon.wait_for(f"[{name}] connected")
            with open_session(self.daemon.port, f"CONNECT CONSOLE='{name}'\n".encode()) as session:
                session.send(b"\r")
                session.receive_until(b"login: ")  # our side has accepted too: no descriptor comes later
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self.daemon.__exit__(*failure)
        finally:
            self._stop_nodes()

    def _stop_nodes(self) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)
