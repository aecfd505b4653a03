"""The rotated files of one log: ``FILE.1`` is the youngest; ``FILE.2.gz``, ``FILE.3.gz`` and so on are older.

Everything here blocks, runs in threads, and raises ``OSError``. Each step leaves files that the next call can go on
with, whatever ends the daemon in between: nothing is removed before what replaces it is complete and on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zlib
from dataclasses import dataclass
from typing import AbstractSet, Callable, Dict, Iterable, List, Optional, Tuple

from conman.text import decode, encode
from conmand.server.logs.opening import FileId

SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
_ENDINGS = ("", *SUFFIXES.values())
_UNFINISHED = ".unfinished"
"""Ends the name of a compressed file that is not complete."""

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class RotatedFile:
    path: str
    size_bytes: int
    changed: float  # seconds since the epoch
    file_id: FileId


def numbered(base: str, number: int) -> str:
    return f"{base}.{number}"


def rotated_files(base: str) -> List[RotatedFile]:
    """All there are, the youngest first."""
    return [file for files in _by_number(base) for file in files.values()]


def _by_number(base: str) -> List[Dict[str, RotatedFile]]:
    """The files of each number by their ending, from number 1 up to the first that has none."""
    found: List[Dict[str, RotatedFile]] = []
    while True:
        files: Dict[str, RotatedFile] = {}
        for ending in _ENDINGS:
            path = numbered(base, len(found) + 1) + ending
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(encode(path))
                files[ending] = RotatedFile(path, status.st_size, status.st_mtime, (status.st_dev, status.st_ino))
        if not files:
            return found
        found.append(files)


def make_room(base: str, keep: int) -> None:
    """Give each file the next number, so that number 1 is free; what exceeds ``keep`` is removed, the oldest first."""
    by_number = _by_number(base)
    for number in range(len(by_number), 0, -1):
        for ending, file in by_number[number - 1].items():
            if number >= max(keep, 1):
                os.unlink(encode(file.path))
            else:
                os.rename(encode(file.path), encode(numbered(base, number + 1) + ending))


def real_file(path: str) -> Tuple[str, Optional[os.stat_result]]:
    """Where the file is that ``path`` leads to, and what it is; ``None`` if there is none."""
    real = decode(os.path.realpath(encode(path)))
    try:
        return real, os.stat(encode(real))
    except FileNotFoundError:
        return real, None


def rotate(base: str, keep: int) -> None:
    """Rename ``base``, in which a log may still be written, to number 1."""
    make_room(base, keep)
    os.rename(encode(base), encode(numbered(base, 1)))


def undo_rotate(base: str) -> None:
    """Give number 1 its name back, if nobody else has it by now."""
    if not os.path.lexists(encode(base)):
        os.rename(encode(numbered(base, 1)), encode(base))


def like(fd: int, model: os.stat_result) -> None:
    """Give a new file the mode and the owner of the one it follows, as far as we may."""
    with contextlib.suppress(OSError):
        os.fchown(fd, model.st_uid, model.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(model.st_mode))


def tidy(base: str, keep: int, busy: Callable[[], AbstractSet[FileId]]) -> List[RotatedFile]:
    """Remove what exceeds ``keep``, what an interrupted compression left, and each file that has been compressed.

    Returns the rest. Files that are ``busy``, which somebody still writes, are left alone; it is asked only if need be.
    """
    for number, files in enumerate(_by_number(base), 1):
        for ending in SUFFIXES.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(encode(numbered(base, number) + ending + _UNFINISHED))
        plain = files.get("")
        for ending, file in files.items():
            # A compressed file gets its name when it is complete; its time is that of what it was made from.
            done = ending == "" and any(other.changed == file.changed for other in files.values() if other is not plain)
            if (number > keep or done) and file.file_id not in busy():
                os.unlink(encode(file.path))
    return rotated_files(base)


def uncompressed(base: str, busy: AbstractSet[FileId]) -> List[RotatedFile]:
    """The files to be compressed: all that are not, but for those in ``busy``, which somebody still writes."""
    return [
        files[""]
        for files in _by_number(base)
        if list(files) == [""] and files[""].file_id not in busy and files[""].size_bytes > 0
    ]


class Compression:
    """Of one file, ``finish`` or ``abandon`` to be called in the end.

    ``source_fd`` and ``target_fd`` are for whoever compresses.
    """

    def __init__(self, file: RotatedFile, method: str) -> None:
        self._source = encode(file.path)
        self._target = self._source + SUFFIXES[method].encode("ascii")
        self.source_fd = os.open(self._source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self.target_fd = os.open(self._unfinished, flags, 0o600)
        except BaseException:
            os.close(self.source_fd)
            raise

    @property
    def _unfinished(self) -> bytes:
        return self._target + _UNFINISHED.encode("ascii")

    def gzip(self, is_over: Callable[[], bool]) -> bool:
        """Compress with zlib; returns whether it was done before ``is_over``."""
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        while True:
            if is_over():
                return False
            chunk = os.read(self.source_fd, CHUNK_BYTES)
            if not chunk:
                break
            _write_all(self.target_fd, packer.compress(chunk))
        _write_all(self.target_fd, packer.flush())
        return True

    def finish(self) -> None:
        """Put the compressed file into the place of the other.

        Raises ``FileNotFoundError`` if that has been removed or renamed since, by logrotate say: what has its name by
        now, in one form or the other, is another piece of the log.
        """
        source = os.fstat(self.source_fd)
        if os.path.lexists(self._target) or not os.path.samestat(source, os.lstat(self._source)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._source)
        like(self.target_fd, source)
        os.utime(self.target_fd, ns=(source.st_atime_ns, source.st_mtime_ns))
        os.fsync(self.target_fd)
        os.rename(self._unfinished, self._target)
        os.unlink(self._source)
        self._close()

    def abandon(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._unfinished)
        self._close()

    def _close(self) -> None:
        os.close(self.source_fd)
        os.close(self.target_fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def remove_oldest(
    files: Iterable[RotatedFile], quota_bytes: int, busy: AbstractSet[FileId]
) -> Tuple[List[RotatedFile], Optional[OSError]]:
    """Remove the oldest of ``files`` until the rest is within the quota; what was removed, and the first failure.

    A file that has changed its name since is left alone, and so is one in ``busy``.
    """
    removed: List[RotatedFile] = []
    failure: Optional[OSError] = None
    ages = sorted(files, key=lambda file: file.changed)
    excess = sum(file.size_bytes for file in ages) - quota_bytes
    for file in ages:
        if excess <= 0:
            break
        if file.file_id in busy:
            continue
        try:
            status = os.lstat(encode(file.path))
            if (status.st_dev, status.st_ino) == file.file_id:
                os.unlink(encode(file.path))
        except FileNotFoundError:
            pass
        except OSError as error:
            failure = failure or error
            continue
        excess -= file.size_bytes
        removed.append(file)
    return removed, failure
