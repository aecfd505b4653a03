"""What the device scripts inside the daemon share: turns to log in, and the files they read.

Only so many log in at a time, those that somebody waits for before the others.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Optional, Tuple

from conman_exec.arguments import Files, Invocation, parse
from conman_exec.dialogue import Dialogue
from conman_exec.programs import form_of
from conman_exec.pswd import PasswordFile
from conman_exec.settings import DEFAULT_FILE, Settings
from conmand.config.model import ScriptDevice
from conmand.config.settings import ScriptSettings
from conmand.consoles.base import Services
from conmand.consoles.script_tools import Tools
from conmand.consoles.turns import Turns
from conmand.timeouts import within

TURN_SECONDS = 3.0
"""A login that takes longer waits for a device that does not answer, and stands in nobody's way: with half of the BMCs
dead, the others come up all the same. Its tool costs no more than it would in an open session."""

READ_SECONDS = 30.0
"""For settings and passwords; they may be on a file server that does not answer."""


class Prepared:
    """A login that can begin. ``path`` is where its tools are searched."""

    def __init__(self, dialogue: Dialogue, path: str, warnings: Tuple[str, ...]) -> None:
        self.dialogue, self.path, self.warnings = dialogue, path, warnings


class ScriptLogins:
    """One for all consoles of a process."""

    def __init__(self, services: Services) -> None:
        self._loop = services.loop
        self.turns = Turns(services.loop, services.scripts.logins_at_once, TURN_SECONDS)
        self.tools = Tools(services.loop, services.children, services.resolver)
        self._files = KeptFiles()
        # One thread, so that what it keeps needs no lock. A look at a file takes microseconds, or for ever.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scripts")

    def configure(self, settings: ScriptSettings) -> None:
        """For the logins from now on."""
        self.turns.limit(settings.logins_at_once)

    async def prepare(self, device: ScriptDevice) -> Prepared:
        """Read what the script's command line leads to. Raises ``UsageError``, or ``OSError`` if that cannot be."""
        try:
            reading = self._loop.run_in_executor(self._thread, self._prepare, device)
        except RuntimeError as error:  # no thread can be started
            raise OSError(str(error)) from error
        try:
            return await within(reading, READ_SECONDS)
        except asyncio.TimeoutError:
            raise OSError(f"reading settings and passwords takes more than {READ_SECONDS:g} s") from None

    def _prepare(self, device: ScriptDevice) -> Prepared:
        form, dialogue = form_of(device.script)
        invocation: Invocation = parse(device.script, form, list(device.argv), self._files)
        settings = invocation.settings
        if hasattr(settings, "relay"):
            settings = settings.replace(relay=True)  # we are it, and need no process for that
        return Prepared(dialogue(invocation.target, settings), getattr(settings, "path", ""), invocation.warnings)


def shared_logins(services: Services) -> ScriptLogins:
    """Those of this process's consoles; made for the first one that asks."""
    if services.script_logins is None:
        services.script_logins = ScriptLogins(services)
    return services.script_logins


class KeptFiles(Files):
    """Settings and passwords, read again when their file has changed."""

    def __init__(self) -> None:
        self._settings: Dict[Tuple[str, Optional[str]], Tuple[object, Settings]] = {}
        self._passwords: Dict[str, Tuple[object, PasswordFile]] = {}

    def settings(self, script: str, path: Optional[str]) -> Settings:
        key = (script, path)
        # The look comes first: what is read after it may be newer, and is read once more then.
        state = _state(DEFAULT_FILE if path is None else path)
        if key not in self._settings or self._settings[key][0] != state:
            self._settings[key] = (state, super().settings(script, path))
        return self._settings[key][1]

    def passwords(self, path: str) -> PasswordFile:
        state = _state(path)
        if path not in self._passwords or self._passwords[path][0] != state:
            self._passwords[path] = (state, super().passwords(path))
        return self._passwords[path][1]


def _state(path: str) -> object:
    """What changes whenever a file does; ``None`` if there is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode
