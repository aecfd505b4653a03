"""The completion files know every option, and bash's asks the server for names."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import List

import pytest

from conman import options
from conman.address import Address
from conman.texts import help_text

DIRECTORY = Path(__file__).resolve().parents[2] / "compat" / "completions"
OPTIONS = re.findall(r"(?m)^  (--?\w+)", help_text("conman-py", Address(), options.DEFAULT_ESCAPE))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_known(option: str) -> None:
    assert re.search(rf"[' ]{option}[' ]", (DIRECTORY / "conman-py.bash").read_text())
    assert re.search(rf"['*)]{option}\[", (DIRECTORY / "_conman-py").read_text())
    fish = f" -l {option[2:]} " if option.startswith("--") else f" -s {option[1:]} "
    assert fish in (DIRECTORY / "conman-py.fish").read_text()


COMPLETE = """\
source "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_conman_py
printf '%s\\n' "${COMPREPLY[@]}"
"""

CLIENT = """\
#!/bin/sh
echo "$*" >> "$0.log"
case "$*" in *'n*') printf 'n1\\nn10\\nn 2\\n' ;; esac
"""


@pytest.fixture
def client(tmp_path: Path) -> Path:
    path = tmp_path / "conman-py"
    path.write_text(CLIENT)
    path.chmod(0o755)
    return path


def complete(client: Path, *words: str) -> List[str]:
    result = subprocess.run(
        ["bash", "-c", COMPLETE, str(DIRECTORY / "conman-py.bash"), *words],
        env={"PATH": f"{client.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    "words", [["h"], ["h", ":", "99"], ["[", "::", "1]", ":", "99"], ["::", "1"], ["[", "::", "1]"]], ids="".join
)
def test_bash_completes_names_of_the_server_that_is_meant(words: List[str], client: Path) -> None:
    assert complete(client, "conman-py", "-d", *words, "n") == ["n1", "n10", "n 2"]
    assert Path(f"{client}.log").read_text() == f"-d {''.join(words)} -q -- n*\n"


def test_bash_completes_in_lists_of_names(client: Path) -> None:
    assert complete(client, "conman-py", "a/b,n") == ["a/b,n1", "a/b,n10", "a/b,n 2"]


def test_bash_completes_options(client: Path) -> None:
    assert complete(client, "conman-py", "--") == ["--status", "--json", "--tail"]
    assert complete(client, "conman-py", "run", "--c") == ["--credentials"]
    assert "-T" in complete(client, "conmen-py", "-")
    assert complete(client, "conman-py", "ru") == ["run"]


def test_bash_keeps_quiet_without_a_server(client: Path) -> None:
    assert complete(client, "conman-py", "zz") == [""]
