"""A terminal server: one telnet port for each machine's serial line, and a control port in place of its reset button.

For instance::

    async with TerminalServer([Node("node1")]) as server:
        print(server.ports["node1"], server.control_port)

Any number of peers may connect to a port; all see the same console and all may type. As on a real serial line, what a
machine says while nobody is connected is lost.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Dict, List, Optional, Protocol, Sequence, Set, Type

from demo.telnet_server import Signal, TelnetPort

MAX_UNSENT_BYTES = 1 << 20
"""A peer that has not taken this much is hung up on, so that it costs no more memory."""

MAX_COMMAND_BYTES = 1024


class Machine(Protocol):
    """What hangs on a port: ``demo.node.Node``, or a test's own device."""

    name: str

    def power_on(self, now: float) -> bytes: ...

    def receive(self, data: bytes, now: float) -> bytes: ...

    def receive_break(self, now: float) -> bytes: ...

    def crash(self, now: float) -> bytes: ...

    def tick(self, now: float) -> bytes: ...

    def next_deadline(self) -> Optional[float]: ...


class TerminalServer:
    """Serves from ``async with`` on, when it also powers the machines on, until the block is left.

    Ports are ``port``, ``port`` + 1 and so on, or any free ones if it is 0.
    """

    def __init__(self, machines: Sequence[Machine], host: str = "127.0.0.1", port: int = 0) -> None:
        self.ports: Dict[str, int] = {}
        self.control_port = 0
        self._lines = {machine.name: _Line(machine) for machine in machines}
        self._host = host
        self._port = port
        self._servers: List[asyncio.AbstractServer] = []
        self._controls: Set[_Control] = set()

    async def __aenter__(self) -> TerminalServer:
        try:
            await self._listen()
        except BaseException:
            await self.close()
            raise
        for line in self._lines.values():
            line.power_on()
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop accepting, stop the machines' clocks, hang up. May be called again."""
        for server in self._servers:
            server.close()
        for line in self._lines.values():
            line.close()
        for control in list(self._controls):
            control.hang_up()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def hang_up(self, name: str) -> None:
        """Close the connections to one port, as a terminal server does that is restarted. It still accepts."""
        self._lines[name].hang_up()

    def perform(self, name: str, action: str) -> str:
        """What the control port does for ``NAME ACTION``: ``ok``, or ``error: `` and the reason."""
        line = self._lines.get(name)
        if line is None:
            return f'error: no machine "{name}"'
        if action == "reboot":
            line.power_on()
        elif action == "crash":
            line.crash()
        else:
            return f'error: no action "{action}"; there are reboot and crash'
        return "ok"

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number, (name, line) in enumerate(self._lines.items()):
            port = self._port + number if self._port else 0
            server = await loop.create_server(line.accept, self._host, port)
            self._servers.append(server)
            self.ports[name] = server.sockets[0].getsockname()[1]
        server = await loop.create_server(lambda: _Control(self), self._host, 0)
        self._servers.append(server)
        self.control_port = server.sockets[0].getsockname()[1]


class _Line:
    """One serial line: a machine, its clock, and the peers connected to its port."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._peers: Set[_Peer] = set()
        self._timer: Optional[asyncio.TimerHandle] = None

    def accept(self) -> asyncio.Protocol:
        return _Peer(self)

    def power_on(self) -> None:
        self._emit(self._machine.power_on(time.time()))

    def crash(self) -> None:
        self._emit(self._machine.crash(time.time()))

    def connected(self, peer: _Peer) -> None:
        self._peers.add(peer)

    def disconnected(self, peer: _Peer) -> None:
        self._peers.discard(peer)

    def typed(self, data: bytes) -> None:
        self._emit(self._machine.receive(data, time.time()))

    def broken(self) -> None:
        self._emit(self._machine.receive_break(time.time()))

    def hang_up(self) -> None:
        for peer in list(self._peers):
            peer.hang_up()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.hang_up()

    def _tick(self) -> None:
        self._emit(self._machine.tick(time.time()))

    def _emit(self, output: bytes) -> None:
        """Send, and set the machine's clock."""
        if output:
            for peer in list(self._peers):
                peer.send(output)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._machine.next_deadline()
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - time.time()), self._tick)


class _Peer(asyncio.Protocol):
    """One connection to a line."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._telnet = TelnetPort()
        self._transport: Optional[asyncio.Transport] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._line.connected(self)
        self._write(self._telnet.start())

    def data_received(self, data: bytes) -> None:
        items = self._telnet.receive(data)
        self._write(self._telnet.take_output())
        for item in items:
            if isinstance(item, Signal):
                self._line.broken()
            else:
                self._line.typed(item)

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._transport = None
        self._line.disconnected(self)

    def send(self, data: bytes) -> None:
        self._write(self._telnet.escape(data))

    def hang_up(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._line.disconnected(self)
            # A peer that does not read must not keep its connection open.
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is None or not data:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.hang_up()


class _Control(asyncio.Protocol):
    """One connection to the control port: a line ``NAME ACTION``, one line in reply, closed."""

    def __init__(self, server: TerminalServer) -> None:
        self._server = server
        self._received = b""
        self._transport: Optional[asyncio.Transport] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._controls.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        line, newline, _ = self._received.partition(b"\n")
        if newline:
            name, _, action = line.decode("utf-8", "replace").strip().rpartition(" ")
            self._reply(self._server.perform(name, action))
        elif len(self._received) > MAX_COMMAND_BYTES:
            self._reply("error: the command is too long")

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._transport = None
        self._server._controls.discard(self)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, text: str) -> None:
        if self._transport is not None:
            self._transport.write(text.encode() + b"\n")
            self._transport.close()
            self._transport = None
