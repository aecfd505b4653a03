"""A private site: a directory, its devices, and one daemon that serves them; and two such sites for a comparison."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Mapping, Optional, Sequence, Tuple, TypeVar

from tests.fakes.daemons import ORIGINAL, OURS, Daemon, masked, masked_log, start_daemon
from tests.fakes.devices import Peer, SerialLine, write_program
from tests.fakes.files import read_when, read_with
from tests.fakes.sessions import GREETING, RawClient, ask, open_session

T = TypeVar("T")
Seen = Dict[str, Any]
"""What a scenario saw: bytes, or a file to be read when the daemon has stopped, both masked; and anything else."""


class Site:
    """Everything a scenario needs. All that it starts or opens ends with it."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.daemon: Daemon
        self._stack = ExitStack()
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def is_ours(self) -> bool:
        return self.kind == OURS

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.__exit__(*failure)  # type: ignore[arg-type]

    def use(self, resource: ContextManager[T]) -> T:
        return self._stack.enter_context(resource)

    def start(
        self,
        config: str,
        *options: str,
        constants: Optional[Mapping[str, object]] = None,
        environ: Optional[Mapping[str, str]] = None,
        prefix: Sequence[str] = (),
    ) -> Daemon:
        """Start the daemon on ``config``, in which DIR stands for the site's directory."""
        path = self.directory / "conman.conf"
        path.write_text(config.replace("DIR", str(self.directory)))
        path.chmod(0o600)  # ours warns of passwords that everybody can read
        self.daemon = self.use(
            start_daemon(self.kind, path, *options, constants=constants, environ=environ, prefix=prefix)
        )
        return self.daemon

    # Devices.

    def unix_peer(self, name: str = "u.sock") -> Peer:
        return self.use(Peer.on_unix_socket(self.directory / name))

    def telnet_peer(self, *, refusing: bool = False) -> Peer:
        return self.use(Peer.on_tcp_port(refusing=refusing))

    def serial_line(self, name: str = "ttyS0") -> SerialLine:
        return self.use(SerialLine(self.directory / name))

    def program(self, name: str, text: str) -> Path:
        return write_program(self.directory / name, text)

    # Clients.

    def ask(self, request: bytes, greeting: bytes = GREETING) -> bytes:
        return ask(self.daemon.port, request, greeting)

    def connection(self) -> RawClient:
        return self.use(RawClient(self.daemon.port))

    def session(self, request: bytes, *, user: str = "root", tty: str = "pts/7") -> RawClient:
        """A session whose start the daemon has logged, so that all it does to others has been done."""
        count = self.daemon.count("Client <", "connected to")
        client = self.use(open_session(self.daemon.port, request, user=user, tty=tty))
        self.daemon.wait_for("Client <", "connected to", count=count + 1)
        return client

    def leave(self, client: RawClient) -> bytes:
        """End a session in order and return what came until its end; the daemon has logged it."""
        count = self.daemon.count("Client <", "disconnected")
        client.half_close()
        rest = client.receive_all()
        client.close()
        self.daemon.wait_for("Client <", "disconnected", count=count + 1)
        return rest

    def settle(self) -> None:
        """Let the original write its logs: it queues lines, and drops at its end what is queued (errata C5).

        Each accepted client is one more turn of its main loop, and two turns write what is queued.
        """
        if self.daemon.is_running:
            for _turn in range(3):
                self.ask(b"QUERY CONSOLE='no such console'\n")

    # Files.

    def path(self, name: str) -> Path:
        return self.directory / name

    def read_with(self, name: str, text: bytes, count: int = 1) -> bytes:
        """A file of the site once it has ``text`` in it."""
        return read_with(self.directory / name, text, count)

    def read_when(self, name: str, ready: Callable[[bytes], bool]) -> bytes:
        return read_when(self.directory / name, ready)


Scenario = Callable[[Site], Seen]


def run_on(kind: str, scenario: Scenario, directory: Path) -> Seen:
    """Play ``scenario`` on one daemon. Its results are masked; the daemon's log is added as ``daemon``."""
    with Site(kind, directory / kind) as site:
        seen = scenario(site)
        site.settle()
        site.daemon.stop()
        place = site.directory
        results: Seen = {}
        for name, value in seen.items():
            content = value.read_bytes() if isinstance(value, Path) else value
            results[name] = masked(content, place) if isinstance(content, bytes) else content
        results.setdefault("daemon", masked_log(site.daemon, place))
    return results


def run_on_both(scenario: Scenario, directory: Path) -> Tuple[Seen, Seen]:
    """The results of ``scenario`` on the original and on ours."""
    return run_on(ORIGINAL, scenario, directory), run_on(OURS, scenario, directory)


def assert_same(scenario: Scenario, directory: Path, *, log_in_order: bool = True) -> Seen:
    """Play ``scenario`` on both daemons and compare all that was seen; returns it.

    Without ``log_in_order`` the daemons' logs need only have the same lines: the original writes some from threads.
    """
    original, ours = run_on_both(scenario, directory)
    if not log_in_order:
        original["daemon"], ours["daemon"] = sorted(original["daemon"]), sorted(ours["daemon"])
    assert ours.keys() == original.keys()
    for name, theirs in original.items():
        assert ours[name] == theirs, f"{name} differs; ours comes first"
    return ours
