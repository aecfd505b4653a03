"""``python -m tests.soak``: run the daemon under mixed work for so many minutes, then check every log byte by byte.

Printing devices, users who look, type, fight and vanish, consoles that come and go in the configuration, and logs that
are rotated: in the first half by rename and SIGHUP, in the second by the daemon itself. At the end: the daemon has
stopped in order and complained of nothing, every byte each printer printed is in its logs once and in order, and
neither memory nor descriptors have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Coroutine, Dict, List, Optional, Sequence, Tuple

from tests.fakes.daemons import OURS, Daemon, start_daemon
from tests.soak.devices import Printer, first_difference, without_notices
from tests.soak.users import Users
from tests.system.faults.logs import rotated

ECHOES = ("echo-fights", "echo1", "echo2", "echo3")
USERS_AT_ONCE = 12
ROTATED_BYTES = 200 * 1024
MAX_GROWTH_BYTES = 16 * 1024 * 1024
"""Buffers of the moment differ; a leak of one object in each session is more than this within half an hour."""


class Site:
    """The daemon, its devices and its configuration in a private directory."""

    def __init__(self, directory: Path, printers: int, chance: random.Random, rotated_bytes: int) -> None:
        self._directory = directory
        self._chance = chance
        self._rotated_bytes = rotated_bytes
        (directory / "logs").mkdir()
        self.printers = [
            Printer(f"node{number}", directory, chance, telnet=number % 3 == 2) for number in range(printers)
        ]
        self._passing = [Printer(f"passing{number}", directory, chance) for number in range(3)]
        self._rotations = 0
        self.rotated_files = 0
        """By the daemon; known when ``differences`` has looked."""

    async def start(self, options: Sequence[str]) -> Daemon:
        for printer in [*self.printers, *self._passing]:
            await printer.start()
        self._write(passing=0)
        self._settings.touch()
        config = self._directory / "conman.conf"
        every = ("--settings", str(self._settings), *options)
        starting = asyncio.get_running_loop().run_in_executor(None, lambda: start_daemon(OURS, config, *every))
        return await starting

    @property
    def _settings(self) -> Path:
        return self._directory / "conmand-py.conf"

    def _write(self, passing: int) -> None:
        consoles = [(printer.name, printer.device) for printer in [*self.printers, *self._passing[:passing]]]
        # The name in the path makes the program's; "cat" echoes whatever is typed.
        consoles += [(name, "/bin/cat") for name in ECHOES]
        lines = [f'server loopback=on logdir="{self._directory}/logs" nofile=-1', 'global log="%N.log"']
        lines += [f'console name="{name}" dev="{device}"' for name, device in consoles]
        fresh = self._directory / "conman.conf.new"
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self._directory / "conman.conf")

    def change(self, daemon: Daemon) -> None:
        """Consoles come or go."""
        self._write(passing=self._chance.randrange(4))
        daemon.signal(signal.SIGHUP)

    def rotate(self, daemon: Daemon) -> None:
        """As logrotate does: rename, then tell."""
        self._rotations += 1
        for printer in self.printers:
            log = self._log(printer)
            if log.exists():
                log.rename(f"{log}-{self._rotations:06d}")
        daemon.signal(signal.SIGHUP)

    def let_daemon_rotate(self, daemon: Daemon) -> None:
        """From now on; nobody else may then."""
        self._settings.write_text(f"[rotation]\nsize = {self._rotated_bytes}\nkeep = 10000\n")
        daemon.signal(signal.SIGHUP)

    def _log(self, printer: Printer) -> Path:
        return self._directory / "logs" / f"{printer.name}.log"

    async def stop_devices(self) -> None:
        await asyncio.gather(*[printer.stop() for printer in [*self.printers, *self._passing]])

    def logged_bytes(self) -> int:
        return sum(entry.stat().st_size for entry in (self._directory / "logs").iterdir())

    def differences(self) -> List[str]:
        """Of every printer, where its logs are not exactly what it printed."""
        found: List[str] = []
        for printer in self.printers:
            log = self._log(printer)
            moved = sorted(log.parent.glob(f"{log.name}-??????"))
            by_daemon = rotated(log.parent, log.name)
            self.rotated_files += len(by_daemon) - 1
            logged = b"".join([*(part.read_bytes() for part in moved), *by_daemon])
            difference = first_difference(printer.name, printer.lines, without_notices(logged))
            if difference is not None:
                found.append(difference)
        return found


class Soak:
    """One run. ``report`` is what came of it, line by line; it has failed if ``problems`` is not empty."""

    def __init__(
        self,
        directory: Path,
        seconds: float,
        printers: int,
        seed: int,
        options: Sequence[str],
        rotated_bytes: int = ROTATED_BYTES,
    ) -> None:
        self._seconds = seconds
        self._options = options
        self._chance = random.Random(seed)
        self._site = Site(directory, printers, self._chance, rotated_bytes)
        self.problems: List[str] = []
        self.report: List[str] = []

    async def run(self) -> None:
        daemon = await self._site.start(self._options)
        try:
            await self._until_all_print()
            users = Users(
                daemon.port, [printer.name for printer in self._site.printers], ECHOES, self._chance
            )
            now = time.monotonic()
            self._end = now + self._seconds
            working = [asyncio.ensure_future(self._work(users)) for _count in range(USERS_AT_ONCE)]
            working += [
                asyncio.ensure_future(self._rotate(daemon, now + self._seconds / 2)),
                asyncio.ensure_future(self._at_intervals(self._site.change, daemon, 11, self._end)),
            ]
            first = await self._measure_after(daemon, self._seconds * 0.25)
            await asyncio.gather(*working)
            self._compare(first, measure(daemon.pid))
            await self._site.stop_devices()
        finally:
            status = await asyncio.get_running_loop().run_in_executor(None, daemon.stop)
        self._judge(daemon, status)
        self.report += [f"{count} x {what}" for what, count in sorted(users.done.items())]

    async def _until_all_print(self) -> None:
        while not all(printer.lines for printer in self._site.printers):
            await asyncio.sleep(0.01)

    async def _work(self, users: Users) -> None:
        actions: List[Tuple[Callable[[], Coroutine[None, None, None]], int]] = [
            (users.watch, 6), (users.dawdle, 2), (users.type, 6), (users.steal, 2), (users.broadcast, 2),
            (users.query, 3), (users.status, 1), (users.hang_up, 10),
        ]  # fmt: skip
        choices, weights = zip(*actions)
        while time.monotonic() < self._end:
            (action,) = self._chance.choices(choices, weights)
            try:
                await action()
            except Exception as error:  # a user who was let down tells it, and comes back
                self.problems.append(f"{action.__name__}: {type(error).__name__}: {error}")
                await asyncio.sleep(1)

    async def _rotate(self, daemon: Daemon, until: float) -> None:
        await self._at_intervals(self._site.rotate, daemon, 7, until)
        self._site.let_daemon_rotate(daemon)

    async def _at_intervals(
        self, action: Callable[[Daemon], None], daemon: Daemon, mean_seconds: float, until: float
    ) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(min(self._chance.expovariate(1 / mean_seconds), max(until - time.monotonic(), 0)))
            action(daemon)

    async def _measure_after(self, daemon: Daemon, seconds: float) -> Dict[str, int]:
        await asyncio.sleep(seconds)
        return measure(daemon.pid)

    def _compare(self, first: Dict[str, int], last: Dict[str, int]) -> None:
        self.report += [f"{what}: {first[what]} after a quarter, {last[what]} at the end" for what in first]
        if last["memory (bytes)"] > first["memory (bytes)"] + MAX_GROWTH_BYTES:
            self.problems.append(f"memory grew: {first} to {last}")
        if last["descriptors"] > first["descriptors"] + 4 * USERS_AT_ONCE:
            self.problems.append(f"descriptors grew: {first} to {last}")

    def _judge(self, daemon: Daemon, status: int) -> None:
        if status != 0:
            self.problems.append(f"the daemon ended with status {status}")
        self.problems += [line for line in daemon.lines if line.startswith("ERROR") or "Internal error" in line]
        self.problems += self._site.differences()
        self.problems += [
            f"the daemon hung up on {printer.name}, {printer.lost_connections} times"
            for printer in self._site.printers
            if printer.lost_connections
        ]
        lines = sum(printer.lines for printer in self._site.printers)
        connections = sum(printer.connections for printer in self._site.printers)
        self.report.append(
            f"{lines} lines printed over {connections} connections, {self._site.logged_bytes()} bytes in the logs"
        )
        self.report.append(f"{self._site.rotated_files} files rotated by the daemon")


def measure(pid: int) -> Dict[str, int]:
    """Resident memory and open descriptors of the process and its children."""
    pids = [pid, *_children(pid)]
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in pids)
    return {
        "memory (bytes)": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": sum(len(os.listdir(f"/proc/{one}/fd")) for one in pids),
    }


def _children(pid: int) -> List[int]:
    """Of these only workers, which are Python programs as the daemon is; devices come and go."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    program = os.readlink(f"/proc/{pid}/exe")
    return [int(child) for child in found if os.readlink(f"/proc/{child}/exe") == program]


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--printers", type=int, default=30)
    parser.add_argument("--seed", type=int, default=None, help="of all that happens by chance")
    parser.add_argument("options", nargs="*", help="for the daemon, after --")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {given.minutes:g} minutes, {given.printers} printing consoles", flush=True)
    with tempfile.TemporaryDirectory(prefix="conman-soak-") as directory:
        soak = Soak(Path(directory), given.minutes * 60, given.printers, seed, given.options)
        asyncio.run(soak.run())
    print("\n".join(soak.report))
    for problem in soak.problems:
        print(f"PROBLEM {problem[:1000]}")
    print("failed" if soak.problems else "passed")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
