"""The four pairings: each client with each daemon, in the same scenario, which has to look the same in all of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

from tests.fakes.daemons import ORIGINAL, OURS, environment, masked
from tests.fakes.devices import Peer
from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.sites import Site
from tests.fakes.terminals import OnTerminal, client_command

CONFIG = """\
server logdir="DIR" resetcmd="true"
global log="%N.log"
console name="u" dev="unix:DIR/u.sock"
console name="n1" dev="test:" testopts="b:0"
console name="n2" dev="test:" testopts="b:0"
console name="n10" dev="test:" testopts="b:0"
"""
Seen = Dict[str, Any]


class Pair:
    """A site whose console ``u`` is the test's, and a client for it."""

    def __init__(
        self,
        client: str,
        site: Site,
        config: str = CONFIG,
        environ: Optional[Mapping[str, str]] = None,
        constants: Optional[Mapping[str, object]] = None,
    ) -> None:
        self.client = client
        self.site = site
        self._environ = environ or {}
        self.node = Peer.on_unix_socket(site.path("u.sock"))
        site.use(self.node)
        site.start(config, constants=constants)
        self.node.accept()
        site.daemon.wait_for("[u] connected")

    @property
    def is_ours(self) -> bool:
        return self.client == OURS

    def argv(self, *arguments: str) -> list[str]:
        return [*client_command(self.client), "-d", f"127.0.0.1:{self.site.daemon.port}", *arguments]

    def start(self, *arguments: str, shell: bool = False) -> OnTerminal:
        """A client on a terminal."""
        argv = self.argv(*arguments)
        return self.site.use(OnTerminal(argv, cwd=self.site.directory, environ=self._environ, shell=shell))

    def open(self, *arguments: str, shell: bool = False) -> OnTerminal:
        """A client whose session is open, for the daemon too."""
        count = self.site.daemon.count("connected to")
        terminal = self.start(*arguments, shell=shell)
        terminal.read_until(b" opened.\r\n")
        self.site.daemon.wait_for("connected to", count=count + 1)
        return terminal

    def run(self, *arguments: str, text: bytes = b"") -> Seen:
        """A client without a terminal."""
        result = subprocess.run(
            self.argv(*arguments),
            input=text,
            capture_output=True,
            cwd=self.site.directory,
            env={**environment(), **self._environ},
            timeout=PATIENCE_SECONDS,
        )
        return {"status": result.returncode, "output": result.stdout, "error": result.stderr}

    def close(self, terminal: OnTerminal) -> Seen:
        terminal.type(b"&.")
        return self.ended(terminal)

    def ended(self, terminal: OnTerminal) -> Seen:
        status = terminal.wait()
        return {"status": status, "screen": terminal.shown, "error": terminal.errors, "raw": terminal.is_raw}


Scenario = Callable[[Pair], Seen]


def play(client: str, daemon: str, scenario: Scenario, directory: Path, config: str = CONFIG) -> Seen:
    with Site(daemon, directory / f"{client}-{daemon}") as site:
        seen = scenario(Pair(client, site, config))
        place = site.directory
        return {name: _masked(value, place) for name, value in seen.items()}


def _masked(value: Any, place: Path) -> Any:
    if isinstance(value, dict):
        return {name: _masked(each, place) for name, each in value.items()}
    return re.sub(rb"pts/\d+", b"pts/N", masked(value, place)) if isinstance(value, bytes) else value


def assert_same(scenario: Scenario, directory: Path, config: str = CONFIG) -> Seen:
    """Play ``scenario`` in all pairings and compare what was seen with the original's own; returns it."""
    reference = play(ORIGINAL, ORIGINAL, scenario, directory, config)
    for client, daemon in ((OURS, OURS), (OURS, ORIGINAL), (ORIGINAL, OURS)):
        seen = play(client, daemon, scenario, directory, config)
        assert seen == reference, f"client: {client}, daemon: {daemon}; they come first"
    return reference
