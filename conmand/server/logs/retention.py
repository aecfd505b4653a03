"""What becomes of rotated files: compressed one at a time, counted, and the oldest removed beyond the quota.

All that touches files runs in threads, a lane for each file system; compression has threads of its own, so that a large
file keeps nothing else waiting. A log is not rotated while one of its files is being compressed, since numbers change.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import threading
from functools import partial
from typing import Callable, Dict, FrozenSet, List, Optional, Protocol, Set, Tuple

from conmand.config.settings import RotationSettings
from conmand.errors import reason
from conmand.server.daemonlog import DaemonLog
from conmand.server.logs import rotated_files
from conmand.server.logs.lanes import Lanes
from conmand.server.logs.opening import FileId
from conmand.server.logs.rotated_files import Compression, RotatedFile

COMPRESSION_SECONDS = 3600.0
"""After this long without a file done, another thread begins with the next: the file server must be dead."""


class NoCompressor(OSError):
    """The program is missing: one complaint for the daemon, not one for each log."""


class Spawner(Protocol):
    """Starts programs; implemented by ``conmand.server.children``."""

    def spawn(
        self, argv: List[str], *, stdin: int, stdout: int, stderr: int, on_exit: Optional[Callable[[int], None]] = None
    ) -> int: ...

    def kill(self, pid: int, signal_number: int) -> None: ...


class Retention:
    """``busy`` gives the files that logs are being written to: those are never touched, whatever they are called."""

    def __init__(
        self,
        settings: RotationSettings,
        loop: asyncio.AbstractEventLoop,
        daemon_log: DaemonLog,
        children: Spawner,
        busy: Callable[[], FrozenSet[FileId]],
        lanes: Optional[Lanes] = None,
    ) -> None:
        self.settings = settings
        self._loop = loop
        self._log = daemon_log
        self._children = children
        self._busy = busy
        self._lanes = lanes or Lanes(loop)
        self._compressors = Lanes(loop, hung_seconds=COMPRESSION_SECONDS)
        self._files: Dict[str, List[RotatedFile]] = {}  # of each log
        self._total_bytes = 0
        self._waiting: Dict[str, RotatedFile] = {}  # to be compressed: of each log the youngest file
        self._waiting_bytes = 0
        self._removing = False
        self._guard = threading.Lock()
        self._moving: Set[str] = set()  # logs whose files change their numbers now
        self._compressing: Set[str] = set()
        self._queued: Set[str] = set()
        self._said: Dict[str, str] = {}
        self._programs: Set[int] = set()
        self._working = 0
        self._idle = asyncio.Event()
        self._closed = False

    def begin_move(self, base: str) -> bool:
        """Whether the files of ``base`` may change their numbers now; if so, ``end_move`` must follow."""
        with self._guard:
            if base in self._compressing:
                return False
            self._moving.add(base)
            return True

    def end_move(self, base: str) -> None:
        with self._guard:
            self._moving.discard(base)
        self.tidy(base)

    def tidy(self, base: str) -> None:
        """See to the rotated files of the log ``base``: also to what a daemon that was killed has left."""
        keep = self.settings.keep
        self._run(self._lanes, base, partial(self._tidy, base, keep), partial(self._tidied, base))

    @property
    def total_bytes(self) -> int:
        """Of all rotated files."""
        return self._total_bytes

    async def settled(self) -> None:
        """Wait until nothing is left to do."""
        while self._working:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Begin nothing more. What is half compressed is begun anew by the next daemon."""
        self._closed = True
        for pid in self._programs:
            self._children.kill(pid, signal.SIGKILL)
        self._lanes.close()
        self._compressors.close()

    def complain(self, base: str, complaint: Optional[str]) -> None:
        """Log a complaint unless it is the same as the last about ``base``; ``None`` if all is well."""
        if complaint is None:
            self._said.pop(base, None)
        elif self._said.get(base) != complaint:
            self._said[base] = complaint
            self._log.warning(complaint)

    # Counting.

    def _tidy(self, base: str, keep: int) -> Tuple[List[RotatedFile], bool]:
        """Runs in a thread."""
        with self._guard:
            if base in self._moving or base in self._compressing:
                return [], False  # whoever does that calls again
            self._compressing.add(base)
        try:
            return rotated_files.tidy(rotated_files.real_file(base)[0], keep, self._busy), True
        finally:
            with self._guard:
                self._compressing.discard(base)

    def _tidied(self, base: str, result: Tuple[List[RotatedFile], bool]) -> None:
        files, done = result
        if not done:
            return
        self._total_bytes += _size(files) - _size(self._files.pop(base, []))
        if files:
            self._files[base] = files
        method = self.settings.compress
        plain = [file for file in files if _is_plain(file)] if method in rotated_files.SUFFIXES else []
        self._let_wait(base, plain[0] if plain else None)
        if plain:
            self._compress_later(base, method)
        self._enforce_quota()

    def _let_wait(self, base: str, file: Optional[RotatedFile]) -> None:
        before = self._waiting.pop(base, None)
        self._waiting_bytes -= 0 if before is None else before.size_bytes
        if file is not None:
            self._waiting[base] = file
            self._waiting_bytes += file.size_bytes

    def _enforce_quota(self) -> None:
        """What waits to be compressed does not count before it is: it may be a tenth then, and all logs of an age wait
        at once. But for one file of each log only, so that no more can wait than the logs themselves take."""
        quota = self.settings.quota_bytes
        if quota is None or self._total_bytes - self._waiting_bytes <= quota or self._removing:
            return
        self._removing = True
        waiting = set(self._waiting.values())
        files = [file for files in self._files.values() for file in files if file not in waiting]
        self._run(self._lanes, "", partial(rotated_files.remove_oldest, files, quota, self._busy()), self._removed)

    def _removed(self, result: Tuple[List[RotatedFile], Optional[OSError]]) -> None:
        self._removing = False
        removed, failure = result
        gone = set(removed)
        self._files = {
            base: left
            for base, files in self._files.items()
            for left in [[file for file in files if file not in gone]]
            if left
        }
        self._total_bytes = sum(map(_size, self._files.values()))
        self.complain("", None if failure is None else f"Unable to remove rotated logs: {reason(failure)}")
        if removed:
            self._log.info(
                f"Removed {len(removed)} rotated log{'' if len(removed) == 1 else 's'} to stay within the quota"
            )
            self._enforce_quota()

    # Compression.

    def _compress_later(self, base: str, method: str) -> None:
        if base in self._queued:
            return
        self._queued.add(base)
        self._run(self._compressors, base, partial(self._compress, base, method), partial(self._compressed, base))

    def _compress(self, base: str, method: str) -> Optional[Tuple[int, Optional[OSError]]]:
        """Runs in a thread; how many files were compressed, and what failed. ``None``: not now."""
        with self._guard:
            if base in self._moving or base in self._compressing:
                return None  # it is tidied when that is over
            self._compressing.add(base)
        count = 0
        try:
            for file in rotated_files.uncompressed(rotated_files.real_file(base)[0], self._busy()):
                with contextlib.suppress(FileNotFoundError):  # the quota, or whoever, has removed or renamed it since
                    self._compress_file(file, method)
                    count += 1
        except OSError as error:
            return count, error
        finally:
            with self._guard:
                self._compressing.discard(base)
        return count, None

    def _compress_file(self, file: RotatedFile, method: str) -> None:
        compression = Compression(file, method)
        try:
            if method == "zstd":
                self._run_zstd(compression)
            elif not compression.gzip(lambda: self._closed):
                raise InterruptedError("the daemon stops")
            compression.finish()
        except BaseException:
            compression.abandon()
            raise

    def _run_zstd(self, compression: Compression) -> None:
        ended = threading.Event()
        outcome: List[object] = []

        def end(result: object) -> None:
            outcome.append(result)
            ended.set()

        def start() -> None:
            try:
                pid = self._children.spawn(
                    ["zstd", "--quiet", "--stdout"],
                    stdin=compression.source_fd,
                    stdout=compression.target_fd,
                    stderr=subprocess.DEVNULL,
                    on_exit=lambda status: exited(pid, status),
                )
            except OSError as error:
                end(error)
            else:
                self._programs.add(pid)

        def exited(pid: int, status: int) -> None:
            self._programs.discard(pid)
            end(status)

        self._loop.call_soon_threadsafe(start)
        ended.wait()
        if isinstance(outcome[0], OSError):
            raise NoCompressor(outcome[0].errno, f"cannot run zstd: {reason(outcome[0])}")
        if outcome[0]:
            raise OSError(None, f"zstd ended with status {outcome[0]}")

    def _compressed(self, base: str, result: Optional[Tuple[int, Optional[OSError]]]) -> None:
        self._queued.discard(base)
        if result is None:
            return
        count, error = result
        if isinstance(error, NoCompressor):
            self.complain("", f"Unable to compress rotated logs: {reason(error)}; they stay as they are")
        elif error is not None and not self._closed:
            self.complain(base, f'Unable to compress rotated logs of "{base}": {reason(error)}; they stay as they are')
        if count:
            self.tidy(base)  # sizes have changed, and there may be more
        else:
            self._let_wait(base, None)
            self._enforce_quota()

    # Odds and ends.

    def _run(self, lanes: Lanes, base: str, work: Callable[[], object], done: Callable[..., None]) -> None:
        def finished(result: object) -> None:
            done(result)
            self._one_less()

        def failed(error: BaseException) -> None:
            self._queued.discard(base)
            self._let_wait(base, None)
            self._removing = False if not base else self._removing
            if not isinstance(error, OSError):
                self._one_less()
                raise error
            self.complain(base, f'Unable to keep rotated logs of "{base}" in order: {reason(error)}')
            self._one_less()

        if not self._closed:
            self._working += 1
            lanes.submit(base, work, finished, failed)

    def _one_less(self) -> None:
        self._working -= 1
        if not self._working:
            self._idle.set()


def _size(files: List[RotatedFile]) -> int:
    return sum(file.size_bytes for file in files)


def _is_plain(file: RotatedFile) -> bool:
    return not file.path.endswith(tuple(rotated_files.SUFFIXES.values()))
