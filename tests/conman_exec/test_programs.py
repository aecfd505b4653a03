"""Which files are taken for our device scripts."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

import conman_exec
from conman_exec import PROGRAMS
from conman_exec.dialogue import Dialogue
from conman_exec.programs import DIALOGUES, form_of, script_of
from tests.fakes.installed import Installed

# What pip has written over the years, and RPM's macros, which use it.
LAUNCHERS = {
    "pip 9": """\
#!/usr/bin/python3

# -*- coding: utf-8 -*-
import re
import sys

from conman_exec.ipmitool_exp import main

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
""",
    "pip 21": """\
#!/opt/venv/bin/python3
# -*- coding: utf-8 -*-
import re
import sys
from conman_exec.ipmitool_exp import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
""",
    "pip 24": """\
#!/opt/venv/bin/python
import sys
from conman_exec.ipmitool_exp import main
if __name__ == '__main__':
    if sys.argv[0].endswith('.exe'):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit(main())
""",
    "uv": """\
#!/opt/venv/bin/python
# -*- coding: utf-8 -*-
import sys
from conman_exec.ipmitool_exp import main
if __name__ == "__main__":
    sys.exit(main())
""",
}


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def script_name(file_name: str) -> str:
    """``sun-v20z-v40z.exp`` and ``sun_v20z_v40z_exp.py`` are ``sun_v20z_v40z``."""
    return PROGRAMS.get(file_name, file_name)[: -len("_exp.py")]


def test_all_that_is_installed_is_ours_but_the_serial_script(installed: Installed) -> None:
    found = {path.name: script_of(str(path)) for path in installed.directory.iterdir()}
    expected = {name: script_name(name) for name in (*PROGRAMS, *PROGRAMS.values())}
    assert found == {**expected, "serial_exp.py": None}
    assert script_of(str(installed.prefix / "bin" / "ssh_exp.py")) == "ssh"


@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_launcher_is_ours_wherever_it_is(name: str, tmp_path: Path) -> None:
    assert script_of(program(tmp_path / "bmc.exp", LAUNCHERS[name])) == "ipmitool"


def test_module_itself_is_ours() -> None:
    assert script_of(str(Path(conman_exec.__file__).parent / "hp_ilo_exp.py")) == "hp_ilo"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("sys.exit", "print('hello')\n    sys.exit"),
        lambda text: text.replace("import sys", "import os, sys\nos.environ['X'] = '1'", 1),
        lambda text: text.replace("ipmitool_exp", "my_exp"),
        lambda text: text.replace("conman_exec", "my_scripts"),
        lambda text: text.replace("import sys", "import sys\nsys.path.insert(0, '/srv/mine')", 1),
        lambda text: text + "#" * 5000,
    ],
)
@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_changed_launcher_is_not_ours(name: str, change: object, tmp_path: Path) -> None:
    text = change(LAUNCHERS[name])  # type: ignore[operator]
    assert text != LAUNCHERS[name]
    assert script_of(program(tmp_path / "ipmitool_exp.py", text)) is None


def test_changed_copies_of_scripts_are_not_ours(tmp_path: Path, installed: Installed) -> None:
    module = Path(conman_exec.__file__).parent / "ipmitool_exp.py"
    assert script_of(program(tmp_path / "ipmitool_exp.py", module.read_text())) is None
    launcher = installed.directory / "ipmitool.exp"
    text = launcher.read_text()
    program(launcher, text.replace("exec ", "export X=1; exec "))
    assert script_of(str(launcher)) is None
    # A launcher that is ours, but starts something else.
    program(launcher, text)
    program(installed.prefix / "bin" / "ipmitool_exp.py", "#!/bin/sh\necho mine\n")
    assert script_of(str(launcher)) is None


def test_links_lead_to_what_they_name(tmp_path: Path, installed: Installed) -> None:
    (tmp_path / "link.exp").symlink_to(installed.directory / "ipmiconsole.exp")
    assert script_of(str(tmp_path / "link.exp")) == "ipmiconsole"


def test_command_of_a_launcher_is_searched_where_the_shell_would(installed: Installed, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (installed.prefix / "bin" / "ipmitool_exp.py").rename(elsewhere / "ipmitool_exp.py")
    launcher = str(installed.directory / "ipmitool_exp.py")
    assert script_of(launcher, search=str(tmp_path)) is None
    assert script_of(launcher, search=f"{tmp_path}:{elsewhere}") == "ipmitool"


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    assert script_of(program(tmp_path / "a.exp", "#!/usr/bin/expect -f\nspawn ipmitool\n")) is None
    (tmp_path / "b.exp").write_bytes(b"\x7fELF\xff\n\n\n\n\n")
    assert script_of(str(tmp_path / "b.exp")) is None
    assert script_of(str(tmp_path)) is None
    assert script_of(str(tmp_path / "none.exp")) is None


def test_table_names_the_dialogues_that_the_programs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    import conman_exec.program

    monkeypatch.setattr(conman_exec.program, "run", lambda *arguments: calls.append(arguments) or 0)
    for script in DIALOGUES:
        module = import_module(f"conman_exec.{script}_exp")
        monkeypatch.setattr(module, "run", conman_exec.program.run, raising=False)
        assert module.main() == 0
        form, dialogue = form_of(script)
        assert issubclass(dialogue, Dialogue)
        assert calls.pop() == (script, form, dialogue, sys.argv)
    assert {f"{script}_exp.py" for script in DIALOGUES} == set(PROGRAMS.values())
