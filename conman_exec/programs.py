"""Which files are our device scripts, for a daemon that runs their dialogues itself instead of the files.

A file counts by what is in it, not by where it is or how it is called: a launcher that does nothing but start one of
our scripts, as pip and the packages install them. So a script that a site has changed, or another of that name, is
not taken for ours, and runs as the program that it is.
"""

from __future__ import annotations

import ast
import os
import re
from importlib import import_module

from conman_exec.arguments import Arguments
from conman_exec.dialogue import Dialogue

# The scripts whose dialogue a daemon can run, by their names in the settings file, and the class of it in their module.
# The serial script is none of them: an open port may need threads, which are better in a process of their own.
DIALOGUES = {
    "cyclades_ssh": "LineDialogue",
    "cyclades_telnet": "LineDialogue",
    "hp_ilo": "HpIloDialogue",
    "hp_lo100": "HpLo100Dialogue",
    "ibm_bc": "IbmBcDialogue",
    "ipmiconsole": "IpmiconsoleDialogue",
    "ipmitool": "IpmitoolDialogue",
    "ssh": "HostDialogue",
    "sun_elom": "SunElomDialogue",
    "sun_ilom": "SunIlomDialogue",
    "sun_v20z_v40z": "SunV20zDialogue",
}

# No launcher is larger.
_MAX_BYTES = 4096

# The launchers of compat/exec, without their comments.
_SHELL_LAUNCHER = """\
file=$0
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
command=${file%/*}/../../../bin/NAME
[ -x "$command" ] || command=NAME
exec "$command" "$@"
"""

# What stands in the launchers that pip's several generations have written, besides the import that names the script.
_PYTHON_LINES = re.compile(
    r"import (re|sys)|if __name__ == ['\"]__main__['\"]:"
    r"|sys\.argv\[0\] = re\.sub\(r?'[^']*', '', sys\.argv\[0\]\)"
    r"|if sys\.argv\[0\]\.endswith\('\.exe'\):|sys\.argv\[0\] = sys\.argv\[0\]\[:-4\]"
    r"|sys\.exit\(main\(\)\)"
)
_IMPORT = re.compile(r"from conman_exec\.(\w+)_exp import main")
_PATH = re.compile(r"sys\.path\.insert\(0, ('[^']*')\)")

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def script_of(path: str, search: str = "/usr/bin:/bin:/usr/sbin:/sbin") -> str | None:
    """The script that the program ``path`` is, by its name in :data:`DIALOGUES`; None for any other program.

    ``search`` is where a launcher of the ``compat`` directory would look for its command.
    """
    real = os.path.realpath(path)
    directory, name = os.path.split(real)
    is_module = directory == _PACKAGE and name.endswith("_exp.py")
    script = name[: -len("_exp.py")] if is_module else _started_by(real, search)
    return script if script in DIALOGUES else None


def form_of(script: str) -> tuple[Arguments, type[Dialogue]]:
    """The script's arguments, and its dialogue."""
    module = import_module(f"conman_exec.{script}_exp")
    return module.ARGUMENTS, getattr(module, DIALOGUES[script])


def _started_by(path: str, search: str) -> str | None:
    """The script that the launcher in this file starts."""
    lines = _lines(path)
    return _of_python_launcher(lines) or _of_shell_launcher(lines, path, search)


def _lines(path: str) -> list[str]:
    """A short program's lines without comments and empty ones; none of a file that cannot be read, or is longer."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError:
        return []
    if len(text) > _MAX_BYTES:
        return []
    return [line for line in text.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]


def _of_shell_launcher(lines: list[str], path: str, search: str) -> str | None:
    name = lines[3].partition("|| command=")[2] if len(lines) == 5 else ""
    if not name or "/" in name or "\n".join([*lines, ""]) != _SHELL_LAUNCHER.replace("NAME", name):
        return None
    for directory in [os.path.join(os.path.dirname(path), "../../../bin"), *search.split(":")]:
        command = os.path.join(directory, name)
        if os.access(command, os.X_OK):
            # It may have been changed, or be such a launcher too, which would be a mistake, and not ours to follow.
            return _of_python_launcher(_lines(command))
    return None


def _of_python_launcher(lines: list[str]) -> str | None:
    lines = [line.strip() for line in lines]
    scripts = [match[1] for match in map(_IMPORT.fullmatch, lines) if match]
    others = [line for line in lines if not _IMPORT.fullmatch(line) and not _PYTHON_LINES.fullmatch(line)]
    if len(scripts) != 1 or not all(map(_is_our_path, others)):
        return None
    return scripts[0]


def _is_our_path(line: str) -> bool:
    """Whether the line makes the launcher find this very package."""
    match = _PATH.fullmatch(line)
    return match is not None and os.path.realpath(ast.literal_eval(match[1])) == os.path.dirname(_PACKAGE)
