"""Devices that speak telnet: pretended ones with a script of their own, and Debian's telnetd."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Callable, Optional

from tests.fakes.addresses import own_address
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import installed_program
from tests.fakes.script import descendants
from tests.fakes.sshd import with_account

# WILL ECHO, WILL SUPPRESS-GO-AHEAD, DO SUPPRESS-GO-AHEAD: character mode, as devices ask for.
CHARACTER_MODE = b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x03"


class TelnetDevice:
    """Says ``greeting``, then ``answer(line)`` to each line ended by CR; keys are echoed unless the answer is None.

    ``received`` is what it got, without the negotiations, a break as ``<BREAK>``.
    """

    def __init__(self, answer: Callable[[bytes], Optional[bytes]], greeting: bytes = b"", port: int = 0) -> None:
        self._answer, self._greeting = answer, greeting
        self._listener = socket.create_server((own_address(), port))
        self.host, self.port = self._listener.getsockname()
        self.received = b""
        self._changed = threading.Condition()
        self._line: Optional[socket.socket] = None

    def __enter__(self) -> TelnetDevice:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        with self._changed:
            ends = [self._listener, *([self._line] if self._line else [])]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._thread.join(PATIENCE_SECONDS)

    def wait_for(self, data: bytes) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: data in self.received, PATIENCE_SECONDS)
            assert found, f"the device did not get {data!r} but {self.received!r}"

    def send(self, data: bytes) -> None:
        assert self._line is not None
        self._line.sendall(data)

    def hang_up(self) -> None:
        assert self._line is not None
        self._line.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._line, _ = self._listener.accept()
            self._line.sendall(CHARACTER_MODE + self._greeting)
            line = b""
            while True:
                data = self._line.recv(4096)
                if not data:
                    return
                data = data.replace(b"\xff\xf3", b"<BREAK>")
                data = re.sub(rb"\xff[\xfb-\xfe].", b"", data, flags=re.DOTALL).replace(b"\xff\xff", b"\xff")
                data = data.replace(b"\r\0", b"\r")
                with self._changed:
                    self.received += data
                    self._changed.notify_all()
                *lines, line = (line + data).split(b"\r")
                for complete in lines:
                    answer = self._answer(complete)
                    if answer is None:
                        return
                    self._line.sendall(answer)


_START = """\
set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
exec "$2" "$3"
"""


class Telnetd:
    """Debian's telnetd and login, on a port of its own, with an account that only they see (takes root)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "telnetd"

    def __enter__(self) -> Telnetd:
        self._directory.mkdir(mode=0o711)
        with_account(self._directory, Path("/"))
        self._listener = socket.create_server((own_address(), 0))
        self.host, self.port = self._listener.getsockname()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._program = installed_program("telnetd")
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_SECONDS)
        if self._process is not None:
            processes = descendants(self._process.pid)[1:]
            self._process.kill()
            self._process.wait()
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in processes:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            line, _ = self._listener.accept()
            with line:
                self._process = subprocess.Popen(
                    [
                        installed_program("unshare"),
                        "-m",
                        "sh",
                        "-c",
                        _START,
                        "sh",
                        self._directory,
                        self._program,
                        "-h",
                    ],
                    stdin=line,
                    stdout=line,
                    stderr=line,
                    start_new_session=True,
                )
