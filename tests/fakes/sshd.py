"""Two ssh servers: OpenSSH's own, with an account that exists for it alone, and a device that takes any user.

The account is in copies of the password files that only this sshd sees, in a mount name space of its own (which takes
root): nothing of the machine is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable, Optional

from tests.fakes.addresses import own_address
from tests.fakes.files import PATIENCE_SECONDS, read_when
from tests.fakes.peers import installed_program
from tests.fakes.script import descendants

USER, PASSWORD = "contest", "t0psecret"

_START = """\
set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec "$2" -D -f "$1/sshd_config" -E "$1/log"
"""


def with_account(directory: Path, home: Path) -> None:
    """Copies of the machine's passwd and shadow with the test's account, for a private mount."""
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", PASSWORD], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.strip()
    passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
    (directory / "passwd").write_text(passwd + f"{USER}:x:61234:61234::{home}:/bin/sh\n")
    (directory / "shadow").write_text(shadow + f"{USER}:{hashed}:19000:0:99999:7:::\n")
    (directory / "passwd").chmod(0o644)
    (directory / "shadow").chmod(0o600)


class Sshd:
    """OpenSSH's sshd, on port 22 of an address of its own."""

    def __init__(self, directory: Path) -> None:
        self.host, self.port = own_address(), 22
        self._directory = directory / "sshd"

    def __enter__(self) -> Sshd:
        program = installed_program("sshd")
        self._directory.mkdir(mode=0o711)
        home = self._directory / "home"
        home.mkdir(mode=0o777)
        with_account(self._directory, Path("/"))
        key = self._directory / "hostkey"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (self._directory / "sshd_config").write_text(
            f"ListenAddress {self.host}:{self.port}\nHostKey {key}\nPidFile none\nUsePAM no\nPrintMotd no\n"
            "PasswordAuthentication yes\nKbdInteractiveAuthentication no\nStrictModes no\n"
        )
        self._process = subprocess.Popen(
            [installed_program("unshare"), "-m", "sh", "-c", _START, "sh", self._directory, program],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            read_when(self._directory / "log", lambda text: b"Server listening" in text)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        processes = descendants(self._process.pid)[1:]
        self._process.kill()
        self._process.wait()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in processes:
            with contextlib.suppress(ChildProcessError):  # as an orphan it is ours, unless it has just ended
                os.waitpid(pid, 0)

    def stop_connections(self) -> None:
        """Fall silent, as if the host had vanished."""
        for pid in descendants(self._process.pid)[1:]:
            os.kill(pid, signal.SIGSTOP)


class SshDevice:
    """A device behind ssh, that accepts any user with the password.

    ``answer(line)`` is what it says to each line ended by CR; keys are echoed. What it got is ``received``, where a
    break stands as ``<BREAK>``.
    """

    def __init__(
        self, answer: Callable[[bytes], bytes], greeting: bytes = b"", host: str = "", password: str = PASSWORD
    ) -> None:
        self.host, self.port = host or own_address(), 22
        self._answer, self._greeting, self._password = answer, greeting, password
        self.received = b""
        self.users: list[str] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._process: Optional[Any] = None

    def __enter__(self) -> SshDevice:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *failure: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE_SECONDS)

    def wait_for(self, data: bytes) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: data in self.received, PATIENCE_SECONDS)
            assert found, f"the device did not get {data!r} but {self.received!r}"

    def send(self, data: bytes) -> None:
        assert self._process is not None
        self._loop.call_soon_threadsafe(self._process.stdout.write, data)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main(started))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _main(self, started: threading.Event) -> None:
        import asyncssh  # here, so that tests of which none needs this server run without it

        self._stopped = asyncio.Event()
        device = self

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                device.users.append(username)
                return True

            def password_auth_supported(self) -> bool:
                return True

            def kbdint_auth_supported(self) -> bool:
                return False

            def validate_password(self, username: str, password: str) -> bool:
                return password == device._password

        server = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=Server,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=self._talk,
            encoding=None,
            line_editor=False,
        )
        started.set()
        await self._stopped.wait()
        server.close()
        if self._process is not None:
            self._process.channel.abort()
        await server.wait_closed()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _talk(self, process: Any) -> None:
        import asyncssh

        self._process = process
        process.stdout.write(self._greeting)
        line = b""
        while True:
            try:
                data = await process.stdin.read(1024)
            except asyncssh.BreakReceived:
                data = b"<BREAK>"
            except asyncssh.TerminalSizeChanged:
                continue
            if not data:
                break
            with self._changed:
                self.received += data
                self._changed.notify_all()
            process.stdout.write(data)
            *lines, line = (line + data).split(b"\r")
            for complete in lines:
                process.stdout.write(self._answer(complete))
        process.exit(0)
