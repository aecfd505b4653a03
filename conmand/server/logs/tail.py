"""The end of all that was put into a log, for replays: read back from its file, or kept where no file has it.

Keeping the last 4 KiB of every console in memory cost a tenth of the time for a line, and 37 MB for 9,000 consoles. So
while a log's file takes what it is given, the file is the end. Only what is not, or not certainly, in the open file is
kept in a ring: what came before it was opened, what waits while it cannot be written, and all of a log that is a pipe
or a device.
"""

from __future__ import annotations

import os
from typing import Optional, Tuple

from conmand.proto.replay import REPLAY_BYTES, ReplayRing


class LogTail:
    """Knows the log's file from ``go_on_in`` to ``leave_file``, and only by what is written through its descriptor."""

    __slots__ = ("_ring", "_fd", "_begin", "_end")

    def __init__(self) -> None:
        self._ring = ReplayRing()
        self._fd = -1
        self._begin = 0  # where in the file that begins which is not in the ring
        self._end = 0  # of the file, when it was last asked

    def append(self, data: bytes) -> None:
        """``data`` is put into the log, and not straight into the file."""
        self._ring.append(data)

    def go_on_in(self, fd: int) -> None:
        """All that comes from now on is written to ``fd``, which is open for appending and can be read."""
        self._fd = fd
        self._begin = self._end = os.lseek(fd, 0, os.SEEK_CUR)

    def leave_file(self) -> None:
        """Keep what only the file has; from now on it is not the end any more."""
        newest, count = self._newest_in_file()
        self._fd = -1
        self._ring.skip(count - len(newest))
        self._ring.append(newest)

    def forget_file(self) -> None:
        """The file is about to be closed, and nobody will ask any more."""
        self._fd = -1

    def _newest_in_file(self) -> Tuple[bytes, int]:
        """The last bytes, at most 4096, that only the file has, and how many it has in all."""
        if self._fd < 0:
            return b"", 0
        try:
            end = self._file_end()
            count = end - self._begin
            wanted = min(count, REPLAY_BYTES)
            return os.pread(self._fd, wanted, end - wanted), count
        except OSError:
            return b"", 0

    @property
    def last_bytes(self) -> bytes:
        """The last bytes put into the log, at most 4096."""
        kept = self._ring.tail()
        return kept if self._fd < 0 else (kept + self._newest_in_file()[0])[-REPLAY_BYTES:]

    @property
    def kept_bytes(self) -> int:
        """How much is kept in memory."""
        return len(self._ring.tail())

    @property
    def total_bytes(self) -> int:
        """How much was ever put into the log."""
        return self._ring.total_bytes + self._newest_in_file()[1]

    @property
    def file_bytes(self) -> Optional[int]:
        """How long the file was after our last write; ``None`` unless it is the end."""
        return None if self._fd < 0 else self._file_end()

    @property
    def file_has_grown(self) -> bool:
        """Whether the file got anything since it became the end."""
        return self._fd >= 0 and self._file_end() > self._begin

    def _file_end(self) -> int:
        """How long the file was after our last write.

        One that is shorter than before was truncated, as logrotate(8) does it with ``copytruncate``: all that is in it
        came since. It is asked every few seconds; one that has outgrown its old length by then shows a little less.
        """
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        if end < self._end:
            self._ring.skip(self._end - self._begin)
            self._begin = 0
        self._end = end
        return end
