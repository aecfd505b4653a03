"""A simulated BMC (OpenIPMI's ipmi_sim) with a node on its serial port.

    with Bmc(tmp_path) as bmc:
        ...  # IPMI at bmc.host, port bmc.port; user admin, password "password"
        bmc.node.wait_for(b"\\r")
        bmc.node.send(b"hello")

As root it listens on port 623, which ipmitool's daemons and ConMan's ipmi: consoles expect; else on a higher one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import List, Optional

from tests.fakes.addresses import own_address
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.peers import installed_program

# A break reaches the node as these two bytes, together with the next byte of input.
BREAK = b"\xff\xf3"

_LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr {host} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    {key}
    guid a123456789abcdefa123456789abcdef
  endlan
  sol "tcp:127.0.0.1:{node}" 115200
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
# Get Channel Authentication Capabilities, which a BMC answers without a session (IPMI 2.0, 13.6 and 22.13).
_QUESTION = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8 81 00 38 8e 04 b5")

# ipmitool with its small registry, as the device scripts run it.
_REGISTRY = Path(__file__).resolve().parents[2] / "conman_exec" / "home"


class Node:
    """What is on the BMC's serial line: answers each CR with CR LF and a prompt, echoes the rest, and remembers all."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.received = b""
        self._changed = threading.Condition()
        self._line: Optional[socket.socket] = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_for_bmc(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._line is not None, PATIENCE_SECONDS), "the BMC does not connect"

    def wait_for(self, data: bytes) -> None:
        """Until the node has received ``data``, all counted since it was last forgotten."""
        with self._changed:
            found = self._changed.wait_for(lambda: data in self.received, PATIENCE_SECONDS)
            assert found, f"the node did not get {data!r} but {self.received!r}"

    def forget(self) -> None:
        with self._changed:
            self.received = b""

    def send(self, data: bytes) -> None:
        self.wait_for_bmc()
        with self._changed:
            assert self._line is not None
            self._line.sendall(data)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for end in (self._listener, self._line):
                if end is not None:
                    with_shutdown(end)
        self._thread.join(PATIENCE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._line = line
                self._changed.notify_all()
            self._talk(line)
            with self._changed:
                self._line = None

    def _talk(self, line: socket.socket) -> None:
        with line:
            while True:
                try:
                    data = line.recv(4096)
                except OSError:
                    return
                if not data:
                    return
                with self._changed:
                    self.received += data
                    self._changed.notify_all()
                    if self._closed:
                        return
                    line.sendall(data.replace(b"\r", b"\r\nnode> "))


def with_shutdown(end: socket.socket) -> None:
    """Close a socket that another thread may be reading."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class Bmc:
    """Starts on entering, is ready then, and stops by its pid on leaving."""

    def __init__(
        self, directory: Path, user: str = "admin", password: str = "password", kg: str = "", host: str = ""
    ) -> None:
        self.host = host or own_address()
        self.port = 623 if os.geteuid() == 0 else 10623
        self.user, self.password, self.kg = user, password, kg
        self._directory = directory / f"bmc-{self.host}"

    def __enter__(self) -> Bmc:
        self._program = installed_program("ipmi_sim")
        self.node = self._new_node()
        (self._directory / "state").mkdir(parents=True)
        self.power_on()
        return self

    def _new_node(self) -> Node:
        return Node()

    def power_on(self) -> None:
        """Start, again after ``power_off``; it answers when this returns. The node waits for it all the time."""
        self._launch()
        try:
            self.node.wait_for_bmc()
            self._wait_for_answer()
        except BaseException:
            self.__exit__()
            raise

    def _launch(self) -> None:
        lan, emulation = self._directory / "lan.conf", self._directory / "sim.emu"
        emulation.write_text(_EMULATION)
        lan.write_text(
            _LAN.format(
                host=self.host,
                port=self.port,
                key=f'bmc_key "{self.kg}"' if self.kg else "",
                node=self.node.port,
                user=self.user,
                password=self.password,
            )
        )
        with open(self._directory / "log", "wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", lan, "-f", emulation, "-s", self._directory / "state", "-n"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __exit__(self, *failure: object) -> None:
        self.power_off()
        self.node.close()

    def power_off(self) -> None:
        """End at once, and with it all sessions, without a word to anybody."""
        self._process.kill()
        self._process.wait()

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((self.host, self.port))
            while time.monotonic() < deadline:
                assert self._process.poll() is None, (self._directory / "log").read_text()
                try:
                    asking.send(_QUESTION)
                    if select.select([asking], [], [], 0.1)[0]:
                        asking.recv(1024)
                        return
                except ConnectionRefusedError:  # not yet listening
                    select.select([], [], [], 0.01)
        raise AssertionError("the BMC does not answer")

    def stop(self) -> None:
        """Fall silent, as if the cable had been pulled."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def ipmitool(self, *words: str) -> str:
        """What ipmitool says to a command, on either channel."""
        command: List[str] = [str(installed_program("ipmitool")), "-I", "lanplus", "-C", "3", "-H", self.host]
        command += ["-p", str(self.port), "-U", self.user, "-P", self.password]
        command += ["-k", self.kg] if self.kg else []
        done = subprocess.run(
            [*command, *words],
            env={"PATH": "/usr/bin:/bin", "HOME": str(_REGISTRY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return done.stdout.decode()

    @property
    def is_active(self) -> bool:
        """Whether a SOL payload is active (Get Payload Activation Status)."""
        return self.ipmitool("raw", "0x06", "0x4a", "0x01").split() != ["01", "00", "00"]
