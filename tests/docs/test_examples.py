"""Every example of a configuration in the documents is one that the programs accept without a word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Set, Tuple

import pytest

from conman_exec import pswd, settings
from tests.docs import pages
from tests.docs.pages import PAGES, REPOSITORY
from tests.docs.test_links import DOCUMENTS
from tests.docs.test_man_pages import HELP_LINE, _help

SCRIPTS = REPOSITORY / "compat" / "exec"
PROGRAMS = {"/usr/bin/virsh", "/usr/local/libexec/rack7_exp.py", "/usr/bin/ipmiconsole"}
"""What examples run, and a machine that runs the tests need not have."""


class Example(NamedTuple):
    source: str
    file: str
    text: str


def _examples() -> Iterator[Example]:
    for document in DOCUMENTS:
        found = re.findall(r"(?ms)^```(\w+) ([\w.-]+)\n(.*?)^```$", document.read_text(encoding="utf-8"))
        for number, (language, file, text) in enumerate(found, 1):
            yield Example(f"{document.name}-{number}", file, _output(text) if language == "sh" else text)
    for page in PAGES:
        for number, (file, text) in enumerate(pages.examples(page), 1):
            yield Example(f"{page.name}-{number}", file, text)


def _output(script: str) -> str:
    """The file that a shell script generates."""
    return subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout.decode()


EXAMPLES = list(_examples())


def _of(*files: str) -> pytest.MarkDecorator:
    found = [example for example in EXAMPLES if example.file in files]
    return pytest.mark.parametrize("example", found, ids=lambda example: example.source)


def test_examples_are_of_known_files() -> None:
    known = {"conman.conf", "conmand-py.conf", "conman-exec.conf", "conman.pswd"}
    assert {example.file for example in EXAMPLES} == known


def test_no_configuration_is_left_unchecked() -> None:
    for document in DOCUMENTS:
        text = re.sub(r"(?ms)^```\w+ [\w.-]+\n.*?^```$", "", document.read_text(encoding="utf-8"))
        assert not re.findall(r"(?im)^ *(?:console name=|server \w+=|global \w+=|\[(?:listen|rotation)\]$)", text)
    for page in PAGES:
        text = re.sub(r'(?ms)^\.\\" example: .*?^\.Ed$', "", page.read_text(encoding="utf-8"))
        assert not re.findall(r"(?m)^(?:console name=|server \w+=|global \w+=)", text)


@_of("conman.conf")
def test_daemon_accepts_the_configuration(example: Example, tmp_path: Path) -> None:
    text = _on_a_pretended_machine(example.text, tmp_path)
    if "console name=" not in text:
        text += 'console name="any" dev="test:"\n'
    assert _check(text, tmp_path) == []


@_of("conmand-py.conf")
def test_daemon_accepts_the_settings(example: Example, tmp_path: Path) -> None:
    assert _check('console name="any" dev="test:"\n', tmp_path, example.text) == []


@_of("conman-exec.conf")
def test_scripts_accept_the_settings(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "conman-exec.conf"
    path.write_text(example.text)
    for script in settings.SCRIPTS:
        settings.load(script, str(path))


@_of("conman.pswd")
def test_records_of_the_password_file_are_good(example: Example) -> None:
    file = pswd.PasswordFile(example.text.encode(), "conman.pswd")
    assert file.look_up(b"no such host", b"nor user") is None  # looks at all of them
    assert file.look_up(b"bmc-rack1-17") is not None
    assert file.warnings == []


def _check(configuration: str, directory: Path, own_settings: str = "") -> List[str]:
    """What ``conmand-py --check`` complains of."""
    for name, text in (("conman.conf", configuration), ("conmand-py.conf", own_settings)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    command = [sys.executable, "-m", "conmand", "--check", "conman.conf", "--settings", "conmand-py.conf"]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode().splitlines()
    problems = [line for line in said if re.match(r"(ERROR|WARNING|NOTICE|Log collision):", line)]
    return problems if done.returncode == 0 else [*problems, f"exit status {done.returncode}"]


def _on_a_pretended_machine(text: str, root: Path) -> str:
    """``text`` with the devices, programs and scripts that it names, below ``root``, where they exist."""

    def moved(found: re.Match[str]) -> str:
        before, path = found.groups()
        _pretend(path, root / path[1:])
        return f"{before}{root}{path}"

    text = re.sub(r"""(dev=["'](?:pty:)?)(/[^\s"']+)""", moved, text)
    return f'server execpath="{SCRIPTS}"\n{text}'  # where an installation's scripts are found without it


def _pretend(path: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    if path.startswith("/dev/"):
        place.symlink_to("/dev/null")
    elif path.startswith("/usr/share/conman/exec/"):
        shutil.copy(SCRIPTS / place.name, place)
    else:
        assert path in PROGRAMS, path
        place.write_text("#!/bin/sh\n")
        place.chmod(0o755)


def _commands() -> Iterator[Tuple[str, str, str]]:
    """Document, program and arguments of every command line of ours that a document shows."""
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            found = re.match(r"(?: {4}|)(?:[$#] )?(conman-py|conmen-py|conmand-py) (-.*|[^—:,;.]*)$", line)
            if found and line.startswith(("    ", "$ ", "# ")):
                yield document.name, found[1], found[2]


def test_options_in_the_documents_exist() -> None:
    known = {
        program: {option for option, _argument in HELP_LINE.findall(_help(module))}
        for program, module in (("conman-py", "conman"), ("conmen-py", "conman.conmen"), ("conmand-py", "conmand"))
    }
    known["conman-py run"] = {option for option, _argument in HELP_LINE.findall(_help("conman", "run"))}
    commands = list(_commands())
    assert commands
    for document, program, arguments in commands:
        if arguments.startswith("run "):
            program = "conman-py run"
        used = _options(re.split(r" -- | \| | # |  ", f"{arguments} ")[0])
        assert used <= known[program], f"{document}: {program} {arguments}"


def _options(arguments: str) -> Set[str]:
    words = re.sub(r"""'[^']*'|"[^"]*\"""", "", arguments).split()
    long = {word for word in words if word.startswith("--")}
    short = {f"-{letter}" for word in words if re.fullmatch(r"-[A-Za-z]+", word) for letter in word[1:]}
    return long | short
