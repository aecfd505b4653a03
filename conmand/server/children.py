"""The one place that starts programs and reaps them: process consoles, reset commands, pattern matching. Only the
tools of device scripts are started elsewhere (``conman_exec.tools``), and handed over at once.

Every child is the leader of its own session, so that it can be signalled together with all that it started and never
gets the daemon's own signals. Nothing else in the daemon may call wait(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from conman.text import encode

ExitCallback = Callable[[int], None]

CHILD_UMASK = 0o022
"""The original's children inherit a umask of 0 in the background (errata D2)."""


class _Child:
    __slots__ = ("process", "on_exit")

    def __init__(self, process: Optional[subprocess.Popen[bytes]], on_exit: Optional[ExitCallback]) -> None:
        self.process = process
        self.on_exit = on_exit


class ChildReaper:
    """Starts children and calls back, on the event loop, with their return code (negative: a signal)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, cwd: Optional[str] = None) -> None:
        self._loop = loop
        self._cwd = cwd
        self._children: Dict[int, _Child] = {}
        self._exited: Optional[asyncio.Future[None]] = None  # somebody waits for the next exit

    def start(self) -> None:
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        umask: int = CHILD_UMASK,
        pass_fds: Sequence[int] = (),
        on_exit: Optional[ExitCallback] = None,
    ) -> int:
        """Start ``argv``; returns its pid, also its process group. Raises ``OSError`` if it cannot be executed.

        Environment (already the clean one of conmand(8)) and directory are those of all children unless given. A
        ``umask`` of -1 is our own.
        """
        process = subprocess.Popen(
            [encode(word) for word in argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=self._cwd if cwd is None else cwd,
            start_new_session=True,
            umask=umask,
            pass_fds=pass_fds,
        )
        self._children[process.pid] = _Child(process, on_exit)
        return process.pid

    def adopt(self, pid: int, on_exit: Optional[ExitCallback] = None) -> None:
        """Reap ``pid`` too, which was started otherwise, as the leader of a session, in this very turn of the loop."""
        self._children[pid] = _Child(None, on_exit)

    def kill(self, pid: int, signal_number: int) -> None:
        """Signal the child and all of its group, also what outlived the child itself."""
        if pid not in self._children and _exists(pid):
            # Reaped, and its number is another's now. The kernel does that only after the whole group has gone.
            return
        try:
            os.killpg(pid, signal_number)
        except ProcessLookupError:
            pass  # the whole group is gone
        except PermissionError:
            pass  # it changed its user id; its input is closed, that must do

    def is_running(self, pid: int) -> bool:
        return pid in self._children

    def pids(self) -> List[int]:
        return list(self._children)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is None:
                continue  # inherited from whoever executed us
            code = os.waitstatus_to_exitcode(status)
            if child.process is not None:
                child.process.returncode = code  # tells subprocess not to wait for it
            if child.on_exit is not None:
                child.on_exit(code)
            if self._exited is not None and not self._exited.done():
                self._exited.set_result(None)

    async def wait_all(self, pids: Sequence[int], seconds: float) -> List[int]:
        """Wait until the children ``pids`` are gone, at most ``seconds``; returns those that are not."""
        deadline = self._loop.time() + seconds
        remaining = [pid for pid in pids if pid in self._children]
        while remaining and self._loop.time() < deadline:
            self._exited = self._loop.create_future()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._exited, deadline - self._loop.time())
            remaining = [pid for pid in remaining if pid in self._children]
        self._exited = None
        return remaining


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
