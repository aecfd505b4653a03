"""The device scripts as pip installs them: commands in a prefix's ``bin``, and the files of ``share/conman/exec``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Dict

from conman_exec import PROGRAMS

REPOSITORY = Path(__file__).resolve().parents[2]

_COMMAND = """\
#!{python}
import sys
sys.path.insert(0, {repository!r})
from conman_exec.{module} import main
sys.exit(main())
"""


class Installed:
    """A prefix of its own. ``settings`` writes the file that :meth:`argv` passes by ``-c``."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.settings_file = prefix / "exec.conf"
        self.password_file = prefix / "conman.pswd"
        bin_directory, self.directory = prefix / "bin", prefix / "share" / "conman" / "exec"
        bin_directory.mkdir()
        self.directory.mkdir(parents=True)
        for program in (*PROGRAMS.values(), "serial_exp.py"):
            command = bin_directory / program
            command.write_text(
                _COMMAND.format(python=sys.executable, repository=str(REPOSITORY), module=program.partition(".")[0])
            )
            command.chmod(0o755)
        for stub in (REPOSITORY / "compat" / "exec").iterdir():
            shutil.copy(stub, self.directory / stub.name)
        self._sections: Dict[str, Dict[str, object]] = {}
        self.passwords(b"")

    def passwords(self, contents: bytes) -> None:
        self.password_file.write_bytes(contents)
        self.password_file.chmod(0o600)

    def settings(self, script: str, **values: object) -> None:
        self._sections.setdefault(script, {}).update(values)
        lines = []
        for section, settings in self._sections.items():
            lines += [f"[{section}]", f"password_file = {self.password_file}"]
            for name, value in settings.items():
                if isinstance(value, (list, tuple)):
                    lines.append(f"{name} = " + ", ".join(f'"{item}"' for item in value) + ",")
                else:
                    lines.append(f'{name} = "{value}"')
        self.settings_file.write_text("\n".join(lines) + "\n")

    def argv(self, script: str, *words: str) -> list[str]:
        """The command line of a script, by its name without ``_exp.py``, with this prefix's settings."""
        if script not in self._sections:
            self.settings(script)
        return [str(self.directory / f"{script}_exp.py"), "-c", str(self.settings_file), *words]
