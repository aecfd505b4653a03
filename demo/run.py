"""Start a console daemon on three pretend nodes, to look around and to break things: ``make run``.

Makes a directory with a configuration, starts the terminal server that the nodes hang on in this process and the
daemon in the foreground as its child, and says what to type. Ctrl-C stops both. Needs no privileges and uses the
loopback interface only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence

# Also as a script, "python demo/run.py", from any directory.
PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT)] if str(PROJECT) not in sys.path else []

from demo.node import Node  # noqa: E402
from demo.terminal_server import TerminalServer  # noqa: E402

DEFAULT_PORT = 7890
NODE_NAMES = ("node1", "node2", "node3")
STOP_SECONDS = 10.0
"""How long the daemon may take to exit once asked, before it is killed."""

GUIDE = """
Three pretend nodes are booting. In another terminal:

    export CONMAN_HOST=127.0.0.1:{port}
    alias conman-py='{client}'

    conman-py node1                 attach; log in as root, password demo
    conman-py -m node2              only watch
    conman-py -b node1 node2        type to both
    conman-py --status              all consoles, and who is at them
    conman-py --tail                what all of them say
    conman-py run node1 -- uptime   run a command, where somebody has logged in

ConMan's own client works as well:

    conman -d 127.0.0.1:{port} node1

In a session the escape character is &:

    &?   help              &L   show again what was logged last
    &B   serial break; then t lists the kernel's tasks, m its memory, h more, c crashes it
    &R   reset the node    &.   leave

Things to try: "echo c > /proc/sysrq-trigger", then leave, and find the crash in the log.

    Logs:          {directory}/logs/console.node1 ...{fate}
    Configuration: {directory}/conman.conf

Ctrl-C here stops everything.
"""


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    port = options.port or _free_port([0] if options.port == 0 else [DEFAULT_PORT, 0])
    directory = Path(options.dir).resolve() if options.dir else Path(tempfile.mkdtemp(prefix="demo-site-"))
    try:
        return asyncio.run(_run(directory, port, options))
    finally:
        if not options.dir:
            shutil.rmtree(directory, ignore_errors=True)


def configuration(directory: Path, port: int, node_ports: dict[str, int], control_port: int) -> str:
    """The ``conman.conf`` of the site. Raises ValueError for a directory whose name cannot be written in one."""
    reset = shlex.join([sys.executable, str(PROJECT / "demo" / "nodectl.py"), str(control_port)]).replace("%", "%%")
    logs = str(directory / "logs").replace("%", "%%")
    if any(character in reset + logs for character in '"&\r\n'):
        raise ValueError(f'cannot write a configuration for {directory}: its name has one of the characters " and &')
    lines = [
        "# The demo site; see demo/run.py.",
        f"SERVER port={port}",
        "SERVER loopback=ON",
        f'SERVER logdir="{logs}"',
        "SERVER timestamp=1h",
        f'SERVER resetcmd="{reset} %N reboot"',
        'GLOBAL log="console.%N"',
        'GLOBAL logopts="lock,sanitize,timestamp"',
        *[f'CONSOLE name="{name}" dev="127.0.0.1:{node_port}"' for name, node_port in node_ports.items()],
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo/run.py", description="Start a console daemon on three pretend nodes.")
    parser.add_argument("--dir", help="keep configuration and logs in this directory (default: a temporary one)")
    parser.add_argument("--port", type=int, help=f"the daemon's port (default: {DEFAULT_PORT} if free); 0 is any")
    parser.add_argument("--fast", action="store_true", help="nodes boot without delays")
    parser.add_argument(
        "--daemon",
        default=shlex.join([sys.executable, "-m", "conmand"]),
        metavar="COMMAND",
        help="the daemon to run, for instance ConMan's own (default: %(default)s)",
    )
    return parser


def _free_port(candidates: Sequence[int]) -> int:
    """The first of ``candidates`` that nobody has; 0 stands for any. We have to tell it before the daemon runs."""
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                bound: int = probe.getsockname()[1]
                return bound
    raise OSError("cannot find a free port on 127.0.0.1")


async def _run(directory: Path, port: int, options: argparse.Namespace) -> int:
    """Exit status of the daemon, or 0 if we stopped it."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    nodes = [Node(name, number, pace=0.0 if options.fast else 1.0) for number, name in enumerate(NODE_NAMES, 1)]
    async with TerminalServer(nodes) as server:
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        conf = directory / "conman.conf"
        conf.write_text(configuration(directory, port, server.ports, server.control_port))
        fate = "" if options.dir else "   (removed at the end; --dir keeps them)"
        print(GUIDE.format(port=port, client=_client(), directory=directory, fate=fate), flush=True)
        return await _run_daemon([*shlex.split(options.daemon), "-F", "-c", str(conf)], stopped)


def _client() -> str:
    """What a shell in any directory can run."""
    script = Path(sys.executable).with_name("conman-py")
    if script.exists():
        return shlex.quote(str(script))
    return f"env PYTHONPATH={shlex.quote(str(PROJECT))} {shlex.quote(sys.executable)} -m conman"


async def _run_daemon(command: List[str], stopped: asyncio.Event) -> int:
    """Run the daemon until it exits or ``stopped`` is set.

    It gets its own process group: a Ctrl-C reaches only us, so that it is asked to stop once, by its process id.
    """
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    exited, asked = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({exited, asked}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return exited.result()
        return 0
    finally:
        asked.cancel()
        if not exited.done():
            process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(exited), STOP_SECONDS)
            except asyncio.TimeoutError:
                process.kill()
                await exited


if __name__ == "__main__":
    sys.exit(main())
