"""A client session whose far end the test holds, on consoles that have no real device."""

from __future__ import annotations

import socket
from typing import Any, Dict, List, Optional

from conmand.config.model import ConsoleSettings, TestDevice, TestOptions
from conmand.consoles.base import State
from conmand.server.client import Client, ClientContext
from conmand.server.hub import SharedConsole
from conmand.server.logs.console_log import ConsoleLog
from conmand.server.reset import ResetCommands
from tests.fakes.loops import ManualLoop
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingLog


class Device:
    """Takes a console's device's place: remembers what clients send it."""

    def __init__(self) -> None:
        self.sent: List[bytes] = []
        self.breaks = 0
        self.attended: List[bool] = []
        self.on_hold = False
        self.down: Optional[str] = None
        self.retries = 0
        self.adopted: List[ConsoleSettings] = []
        self.can_adopt = True
        self.state = State.UP
        self.label = "<device>"
        self.is_stopped = False
        self.sinks = 0

    def adopt(self, settings: ConsoleSettings) -> bool:
        self.adopted.append(settings)
        return self.can_adopt

    def sink_changed(self) -> None:
        self.sinks += 1

    def stop(self) -> None:
        self.is_stopped = True

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def send_break(self) -> None:
        self.breaks += 1

    def set_attended(self, attended: bool) -> None:
        self.attended.append(attended)

    def hold_output(self) -> None:
        self.on_hold = True

    def release_output(self) -> None:
        self.on_hold = False

    def client_attached(self) -> Optional[str]:
        return self.down

    def retry_now(self) -> None:
        self.retries += 1


class FakeLog:
    """A console's log that is a list."""

    def __init__(self) -> None:
        self.notices: List[str] = []
        self.written = b""
        self.tail: Optional[bytes] = b"tail"

    def write(self, data: bytes) -> None:
        self.written += data

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def replay(self) -> Optional[bytes]:
        return self.tail


class Site:
    """Consoles ``n1``, ``n2``, ... with recording devices and logs, and clients of theirs."""

    def __init__(self, loop: ManualLoop, consoles: int = 1, *, logged: bool = True) -> None:
        self.loop = loop
        self.daemon_log = RecordingLog()
        self.closed: List[Client] = []
        self.resets = Resets()
        self.context = ClientContext(loop, self.daemon_log, self.resets, self.closed.append)  # type: ignore[arg-type]
        self.consoles: List[SharedConsole] = []
        self.devices: List[Device] = []
        self.logs: List[FakeLog] = []
        for number in range(1, consoles + 1):
            log = FakeLog()
            console = SharedConsole(
                ConsoleSettings(f"n{number}", TestDevice(TestOptions(burst_bytes=0))),
                FakeServices(loop),
                self.daemon_log,
                as_log(log) if logged else None,
            )
            console.device = device = Device()  # type: ignore[assignment]
            self.consoles.append(console)
            self.devices.append(device)
            self.logs.append(log)
        self._ends: List[socket.socket] = []
        self.clients: Dict[socket.socket, Client] = {}

    def connect(
        self, user: str, *numbers: int, reply: bytes = b"OK\n", rest: bytes = b"", writing: bool = True, **options: Any
    ) -> End:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._ends.append(theirs)
        client = Client(
            ours, self.context, user=user, tty=options.pop("tty", None), host="h", fqdn="h.example", port=9, **options
        )
        end = End(theirs, client, self.loop)
        client.start([self.consoles[number - 1] for number in numbers or (1,)], reply, rest, writing=writing)
        return end

    def close(self) -> None:
        for console in self.consoles:
            for client in {*console.readers, *console.writers}:
                client.abort()
        for end in self._ends:
            end.close()


class Resets(ResetCommands):
    """Remembers what was to be reset."""

    def __init__(self) -> None:
        self.asked: List[str] = []

    configured = False  # type: ignore[assignment]

    def reset(self, console: SharedConsole, client: Client) -> None:
        self.asked.append(f"{console.name} by {client.user}")


class End:
    """The far end of a session."""

    def __init__(self, sock: socket.socket, client: Client, loop: ManualLoop) -> None:
        self.sock = sock
        self.client = client
        self._loop = loop
        self.ended = False

    def seen(self) -> bytes:
        """What has arrived since the last look, dates replaced; ``ended`` tells whether the end of file has too."""
        data = b""
        while not self.ended:
            try:
                chunk = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            self.ended = not chunk
            data += chunk
        return data

    def type(self, data: bytes) -> None:
        self.sock.send(data)


def as_log(log: FakeLog) -> ConsoleLog:
    return log  # type: ignore[return-value]
