"""Which files logs have open. Two may share one, and if that is deleted, each byte in it is to be rescued once."""

from __future__ import annotations

from typing import Dict

from conmand.server.logs.opening import FileId


class OpenFiles:
    """Of all logs of a process."""

    def __init__(self) -> None:
        self._users: Dict[FileId, int] = {}
        self._rescued: Dict[FileId, int] = {}  # how far, of files that have been deleted

    def opened(self, file: FileId) -> None:
        self._users[file] = self._users.get(file, 0) + 1

    def left(self, file: FileId) -> None:
        self._users[file] -= 1
        if not self._users[file]:
            del self._users[file]
            self._rescued.pop(file, None)  # its number may become another file's

    def is_shared(self, file: FileId) -> bool:
        return self._users[file] > 1

    def to_rescue(self, file: FileId, begin: int) -> int:
        """Where what nobody has rescued begins, at ``begin`` or later; see ``rescued``."""
        return max(begin, self._rescued.get(file, 0))

    def rescued(self, file: FileId, end: int) -> None:
        """All before ``end`` is in somebody's backlog."""
        self._rescued[file] = end
