"""Reading the configuration again: what is in the files by now, and whether the running daemon may go on with it.

At the start a wrong line costs what it defines, and the rest runs: a site that comes up with one console less is better
than none. A running daemon has more to lose. So a file in which something is wrong that was not wrong before is refused
as a whole, and what runs stays; what was wrong at the start already is no reason.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Callable, FrozenSet, List, Sequence, Tuple

from conmand.config.changes import Changes, KnownProblems, changes, known_problems, new_problems
from conmand.config.errors import no_consoles_defined
from conmand.config.model import Configuration, LogLevel
from conmand.config.native_scripts import serve_natively
from conmand.config.remarks import remarks
from conmand.config.settings import DaemonSettings
from conmand.config.settings_file import SettingsError
from conmand.errors import FatalError
from conmand.server.configlock import LockedFile

Line = Tuple[LogLevel, str]
"""For the daemon's log."""


class Refused(Exception):
    """The files cannot be used, for the reasons in ``lines``; the last one says that nothing has changed."""

    def __init__(self, path: str, reasons: Sequence[str]) -> None:
        super().__init__(path)
        outcome = f'Configuration "{path}" is not reloaded: the running one stays in effect'
        self.lines: Tuple[Line, ...] = tuple((LogLevel.ERROR, text) for text in (*reasons, outcome))


@dataclass(frozen=True)
class Found:
    """What the daemon may go on with. ``remarks`` are warnings about it that have not been given before."""

    configuration: Configuration
    settings: DaemonSettings
    changes: Changes
    remarks: Tuple[Line, ...]
    known: KnownProblems
    complaints: FrozenSet[str]
    remarked: FrozenSet[str]
    digest: bytes


class Source:
    """What configures the daemon: as it is in effect, and in the files.

    ``parse`` makes a configuration of the file's text as at the start; ``load_settings`` reads our own settings file,
    and may raise ``SettingsError``. Both put the command line over what they find.
    """

    def __init__(
        self,
        file: LockedFile,
        text: bytes,
        parse: Callable[[bytes], Configuration],
        load_settings: Callable[[], DaemonSettings],
        configuration: Configuration,
        settings: DaemonSettings,
    ) -> None:
        """``text`` is what ``configuration`` was made of, and its problems have been reported."""
        self.file = file
        self._parse = parse
        self._load_settings = load_settings
        self.configuration = configuration
        self.settings = settings
        self._known = known_problems(configuration.problems, text)
        self._digest = _digest(text)
        self._complaints: FrozenSet[str] = frozenset()
        self._remarked = frozenset(remarks(configuration, file.mode(), settings))

    def serve_natively(self, complain: Callable[[str], None]) -> None:
        """Make those consoles the daemon's own that need not be programs; at the start, once there is a log."""

        self.configuration, complaints = _served_natively(self.configuration, self.settings)
        self._complaints = frozenset(complaints)
        for text in complaints:
            complain(text)

    def read(self) -> Found:
        """What is in the files now. Blocks, runs in a thread, and leaves everything as it is. Raises ``Refused``."""
        path = self.configuration.path
        try:
            text = self.file.read()
            settings = self._load_settings()
        except FatalError as error:
            raise Refused(path, [str(error)]) from error
        except SettingsError as error:
            raise Refused(path, [*map(str, error.problems), str(error)]) from error
        parsed = self._parse(text)
        problems = new_problems(parsed.problems, text, self._known)
        reasons = [str(problem) for problem in problems if problem.level <= LogLevel.ERROR]
        digest = _digest(text)
        if reasons and digest == self._digest:
            # Not a line has changed: it is a device that was there at the start and is not now. It will be back.
            configuration, known, complaints = self.configuration, self._known, self._complaints
            problems, reasons = (), []
        else:
            configuration, complained = _served_natively(parsed, settings)
            known, complaints = known_problems(parsed.problems, text), frozenset(complained)
            # Settings of device scripts that cannot be used, and could before, are a reason too.
            reasons += [text for text in complained if text not in self._complaints]
        remarked = remarks(parsed, self.file.mode(), settings)
        if not configuration.consoles:
            reasons.append(no_consoles_defined(path))
        if reasons:
            raise Refused(path, reasons)
        return Found(
            configuration,
            settings,
            changes(self.configuration, configuration, self.settings, settings),
            (
                *((problem.level, str(problem)) for problem in problems),
                *((LogLevel.WARNING, remark) for remark in remarked if remark not in self._remarked),
            ),
            known,
            complaints,
            frozenset(remarked),
            digest,
        )

    def accept(self, found: Found) -> None:
        """``found`` is in effect from now on."""
        self.configuration, self.settings = found.configuration, found.settings
        self._known, self._complaints, self._digest = found.known, found.complaints, found.digest
        self._remarked = found.remarked


def _served_natively(configuration: Configuration, settings: DaemonSettings) -> Tuple[Configuration, List[str]]:
    """With the consoles that need not be programs, and what is to be complained of."""
    complaints: List[str] = []
    return serve_natively(configuration, complaints.append, settings.scripts), complaints


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text).digest()
