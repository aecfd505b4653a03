"""Many simulated BMCs started together, with one program for all their nodes. For a single BMC see ``bmc``.

ipmi_sim wants the workarounds of ``WORKAROUNDS``: it crashes when asked what ``solchannelsupport`` leaves out.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator, List

from tests.fakes.bmc import Bmc, Node, with_shutdown
from tests.fakes.files import PATIENCE_SECONDS

WORKAROUNDS = "W:opensesspriv,W:solchannelsupport,W:solpayloadsize"
IPMIOPTS = f"U:admin,P:password,{WORKAROUNDS}"


def dev(bmc: Bmc) -> str:
    """The ``dev`` string of a console of that BMC."""
    if bmc.port == 623:
        return f"ipmi:{bmc.host}"
    return f"ipmi:[{bmc.host}]:{bmc.port}" if ":" in bmc.host else f"ipmi:{bmc.host}:{bmc.port}"


class Nodes(Node):
    """The nodes of a whole fleet: they say the same at the same time, and do not listen."""

    def __init__(self) -> None:
        self._lines: List[socket.socket] = []
        super().__init__()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def wait_for_bmcs(self, count: int) -> None:
        with self._changed:
            connected = self._changed.wait_for(lambda: len(self._lines) >= count, PATIENCE_SECONDS)
            assert connected, f"only {len(self._lines)} of {count} BMCs have connected"

    def send(self, data: bytes) -> None:
        with self._changed:
            for line in self._lines:
                line.sendall(data)

    def close(self) -> None:
        super().close()
        for line in self._lines:
            with_shutdown(line)


class _Member(Bmc):
    """A BMC that is started without waiting."""

    def __init__(self, directory: Path, nodes: Nodes) -> None:
        super().__init__(directory)
        self._nodes = nodes

    def _new_node(self) -> Node:
        return self._nodes

    def power_on(self) -> None:
        self._launch()

    def __exit__(self, *_failure: object) -> None:
        self.power_off()

    def wait_until_ready(self) -> None:
        self._wait_for_answer()


class Fleet:
    def __init__(self, bmcs: List[Bmc], nodes: Nodes) -> None:
        self.bmcs = bmcs
        self.nodes = nodes


@contextmanager
def fleet(directory: Path, count: int) -> Iterator[Fleet]:
    """``count`` BMCs, all answering and connected to their nodes."""
    with ExitStack() as stack:
        nodes = Nodes()
        stack.callback(nodes.close)
        members = [stack.enter_context(_Member(directory, nodes)) for _ in range(count)]
        nodes.wait_for_bmcs(count)
        for member in members:
            member.wait_until_ready()
        yield Fleet(list(members), nodes)
