"""Learning at once that a file came into being, by inotify(7) through ctypes; the standard library has no binding.

A path's directory may not exist yet, or go away: then its nearest existing ancestor is watched until it does
(the original registers a directory only at start, errata D10). Where inotify is not to be had, nothing is watched and
the consoles' retry timers do the work alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from typing import Callable, Dict, List, Optional, Set, Tuple, Union

from conman.text import decode, encode

IN_CREATE = 0x00000100
IN_MOVED_TO = 0x00000080
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800
IN_IGNORED = 0x00008000
IN_Q_OVERFLOW = 0x00004000
IN_ONLYDIR = 0x01000000
_MASK = IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
_EVENT = struct.Struct("iIII")

Callback = Callable[[], None]
Entry = Tuple[str, Callback]  # a watched path and whom to tell


class _Directory:
    """A watched directory and who waits for what name in it.

    Nearly always one waits for a name; a set for each would be half a megabyte for every 2,000 sockets.
    """

    __slots__ = ("path", "descriptor", "_waiting")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self._waiting: Dict[str, Union[Entry, Set[Entry]]] = {}

    def add(self, name: str, entry: Entry) -> None:
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = entry
        elif isinstance(waiting, set):
            waiting.add(entry)
        else:
            self._waiting[name] = {waiting, entry}

    def discard(self, name: str, entry: Entry) -> None:
        waiting = self._waiting.get(name)
        if isinstance(waiting, set):
            waiting.discard(entry)
        if not waiting or waiting == entry:
            self._waiting.pop(name, None)

    def waiting_for(self, name: str) -> List[Entry]:
        waiting = self._waiting.get(name)
        if waiting is None:
            return []
        return list(waiting) if isinstance(waiting, set) else [waiting]

    def all_waiting(self) -> List[Entry]:
        return [entry for name in self._waiting for entry in self.waiting_for(name)]

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)


class PathWatcher:
    """Calls back, on the event loop, when a watched path is created or moved to its place."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failed: Callable[[str], None]) -> None:
        self._loop = loop
        self._failed = failed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: Optional[int] = None
        self._broken = False
        self._directories: Dict[int, _Directory] = {}
        self._by_path: Dict[str, _Directory] = {}
        self._places: Dict[Entry, Tuple[_Directory, str]] = {}

    def watch(self, path: str, appeared: Callback) -> None:
        if self._fd is None and not self._broken:
            self._open()
        if self._fd is not None:
            self._place(path, appeared)

    def unwatch(self, path: str, appeared: Callback) -> None:
        place = self._places.pop((path, appeared), None)
        if place is None:
            return
        directory, name = place
        directory.discard(name, (path, appeared))
        if not directory and self._directories.get(directory.descriptor) is directory:
            self._drop(directory)
            assert self._fd is not None
            self._libc.inotify_rm_watch(self._fd, directory.descriptor)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
        self._directories.clear()
        self._by_path.clear()
        self._places.clear()

    def _open(self) -> None:
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            self._broken = True
            self._failed(f"unable to initialize inotify: {os.strerror(ctypes.get_errno())}")
            return
        self._fd = fd
        self._loop.add_reader(fd, self._on_readable)

    def _place(self, path: str, appeared: Callback) -> None:
        """Watch the deepest directory on the way to ``path`` that exists, for the next name on that way."""
        directory: Optional[_Directory] = None
        name = ""
        for _attempt in range(3):
            parent, name = os.path.split(path)
            directory = self._directory(parent)
            while directory is None and parent not in ("", "/"):
                parent, name = os.path.split(parent)
                directory = self._directory(parent)
            if directory is None:
                return
            # A directory made between our look at it and the watch on its parent would otherwise go unseen.
            way_on = os.path.join(parent, name)
            if way_on == path or not os.path.isdir(encode(way_on)):
                break
        assert directory is not None, "the loop returns without one"
        entry = (path, appeared)
        directory.add(name, entry)
        self._places[entry] = (directory, name)

    def _directory(self, path: str) -> Optional[_Directory]:
        """The watched directory ``path``; ``None`` if it cannot be watched."""
        known = self._by_path.get(path)
        return self._add(path) if known is None else known

    def _add(self, path: str) -> Optional[_Directory]:
        assert self._fd is not None
        descriptor = self._libc.inotify_add_watch(self._fd, encode(path), _MASK)
        if descriptor < 0:
            return None
        known = self._directories.get(descriptor)  # the same directory under another name
        if known is None:
            known = self._directories[descriptor] = _Directory(path, descriptor)
        self._by_path[path] = known
        return known

    def _drop(self, directory: _Directory) -> None:
        self._directories.pop(directory.descriptor, None)
        for path in [path for path, known in self._by_path.items() if known is directory]:
            del self._by_path[path]

    def _on_readable(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, 65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(f"unable to read inotify fd: {error.strerror}")
            self.close()
            self._broken = True
            return
        offset = 0
        while offset < len(data):
            descriptor, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = decode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            self._happened(descriptor, mask, name)

    def _happened(self, descriptor: int, mask: int, name: str) -> None:
        if mask & IN_Q_OVERFLOW:
            # Names were lost, of directories too: everybody looks again.
            self._replace(list(self._places))
            return
        directory = self._directories.get(descriptor)
        if directory is None:
            return
        if mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED):
            self._drop(directory)
            self._replace(directory.all_waiting())
            return
        arrived = directory.waiting_for(name)
        for path, appeared in arrived:
            if os.path.split(path) == (directory.path, name) or os.path.lexists(encode(path)):
                appeared()
        self._replace([entry for entry in arrived if os.path.split(entry[0]) != (directory.path, name)])

    def _replace(self, entries: List[Entry]) -> None:
        """Watch again, one directory nearer or farther; what came into being meanwhile is noticed here."""
        for path, appeared in entries:
            self.unwatch(path, appeared)
            self._place(path, appeared)
            if os.path.lexists(encode(path)):
                appeared()
