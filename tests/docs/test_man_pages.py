"""What the manual pages say is what the programs do: options, settings, keywords; and mandoc(1) finds nothing wrong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Set, Tuple, get_args

import pytest

from conman_exec import PROGRAMS, settings
from conman_exec.settings import SCRIPTS
from conmand.config import grammar, model, options, specifiers
from conmand.config.settings_file import _SPECIFICATION
from conmand.config.syslognames import LOG_LEVELS, SYSLOG_FACILITIES
from tests.docs import pages
from tests.docs.pages import MAN, PAGES, REPOSITORY
from tests.fakes.peers import installed_program

CONF = MAN / "conman.conf.5"
HELP_LINE = re.compile(r"  (-\w|--[\w-]+)(?: ([A-Z]+)(?:\|\w+)?)?(?:  |$)", re.MULTILINE)


def test_no_page_is_missing() -> None:
    assert [page.name for page in PAGES] == [
        "conman-exec.8",
        "conman-exec.conf.5",
        "conman-py.1",
        "conman.conf.5",
        "conman.pswd.5",
        "conmand-py.8",
        "conmand-py.conf.5",
        "conmen-py.1",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    mandoc = installed_program("mandoc")
    checked = subprocess.run(
        [str(mandoc), "-T", "lint", "-W", "warning", str(page)], stdout=subprocess.PIPE, check=False
    )
    assert checked.stdout.decode() == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_references_between_our_pages_resolve(page: Path) -> None:
    for name, section in re.findall(r"\.Xr (\S*conm\S*) (\d)", page.read_text()):
        assert (MAN / f"{name}.{section}").exists(), f"{name}({section})"
    for document in re.findall(r"\b(?:docs|compat)/[\w./-]*\w", page.read_text()):
        assert (REPOSITORY / document).exists(), document


@pytest.mark.parametrize("module, page", [("conman", "conman-py.1"), ("conman.conmen", "conmen-py.1")])
def test_page_has_the_options_of_the_program(module: str, page: str) -> None:
    assert pages.options(MAN / page) == {tuple(option) for option in HELP_LINE.findall(_help(module))}


def test_daemon_page_has_the_options_of_the_program() -> None:
    shown = {tuple(option) for option in HELP_LINE.findall(_help("conmand"))}
    assert pages.options(MAN / "conmand-py.8") == shown


def test_every_kind_of_device_in_a_status_is_described() -> None:
    described = set(re.findall(r"\w+", pages.text(MAN / "conman-py.1", "STATUS OBJECTS")))
    assert {device.__name__.replace("Device", "").lower() for device in get_args(model.Device)} <= described


def test_every_key_of_a_status_is_described() -> None:
    described = set(re.findall(r"\w+", pages.text(MAN / "conman-py.1", "STATUS OBJECTS")))
    code = ast.parse((REPOSITORY / "conmand" / "server" / "status.py").read_text())
    objects = [node for node in ast.walk(code) if isinstance(node, ast.Dict)]
    keys = {key.value for found in objects for key in found.keys if isinstance(key, ast.Constant)}
    assert {"console", "clients"} < keys <= described


def test_page_has_the_options_of_run() -> None:
    text = re.sub(r"-h, --help", "-h", _help("conman", "run"))
    shown = {(option, argument) for option, argument in HELP_LINE.findall(text)}
    assert pages.options(MAN / "conman-py.1", ("run",)) == shown


def _help(module: str, *words: str) -> str:
    run = [sys.executable, "-m", module, *words, "-h"]
    return subprocess.run(run, stdout=subprocess.PIPE, cwd=REPOSITORY, check=True).stdout.decode()


# Scripts.


def test_every_script_is_described_with_its_arguments() -> None:
    described = pages.text(MAN / "conman-exec.8")
    for script in (*PROGRAMS.values(), "serial_exp.py"):
        module = __import__(f"conman_exec.{script[:-3]}", fromlist=["ARGUMENTS"])
        described_usage = _usage(script)
        assert re.findall(r"\w+", described_usage) == re.findall(r"\w+", module.ARGUMENTS.usage().lower())
        assert described.count(script) >= 2


def _usage(script: str) -> str:
    found = list(pages.lines(MAN / "conman-exec.8"))
    line = found[found.index(f".Nm {script}") + 1]
    return " ".join(word for word in line.split() if word not in (".Ar", "Ar", "Op"))


# Settings.


def test_every_setting_of_the_scripts_stands_there_with_its_default() -> None:
    groups = pages.settings(MAN / "conman-exec.conf.5")
    assert {script: _settings_of(script, groups) for script in SCRIPTS} == {
        script: {setting.name: _written(setting) for setting in table} for script, table in SCRIPTS.items()
    }


def _settings_of(script: str, groups: Dict[str, Dict[str, str]]) -> Dict[str, str]:
    """What the page says of ``script``: what its own subsection says counts more than what it shares with others."""
    found: Dict[str, str] = {}
    shared = [
        title for title in groups if title == "All scripts" or script in re.findall(r"\w+", title.partition(":")[2])
    ]
    for title in (*shared, script):
        found.update(groups.get(title, {}))
    return found


def _written(setting: settings.Setting) -> str:
    """A default as it would be written in the file."""
    value = setting.default
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) if len(value) > 1 else f"{''.join(map(str, value))},"
    return str(value) or '""'


def test_every_setting_of_the_daemon_stands_there_with_its_default() -> None:
    page = pages.settings(MAN / "conmand-py.conf.5")
    sections: Dict[str, Set[str]] = {}
    for line in _SPECIFICATION.splitlines():
        if line.startswith("["):
            keys = sections.setdefault(line, set())
        else:
            keys.add(line.partition(" ")[0])
    assert {section: set(found) for section, found in page.items()} == sections
    example = (REPOSITORY / "compat" / "conmand-py.conf.example").read_text()
    assert {key: value for found in page.values() for key, value in found.items()} == dict(
        re.findall(r"(?m)^#(\w+) = (.*)$", example)
    )


# conman.conf.


@pytest.mark.parametrize(
    "section, keys",
    [("SERVER", grammar._SERVER_KEYS), ("GLOBAL", grammar._GLOBAL_KEYS), ("CONSOLE", grammar._CONSOLE_KEYS)],
)
def test_every_key_of_the_grammar_is_described(section: str, keys: Dict[str, object]) -> None:
    described = {item.words[1].upper() for item in pages.items(CONF) if item.section == section}
    assert described == set(keys)


def test_every_directive_is_described() -> None:
    described = {pages.plain(item.words).upper() for item in pages.items(CONF) if item.subsection == "Lines"}
    assert set(grammar._DIRECTIVES) <= described


@pytest.mark.parametrize(
    "words",
    [
        tuple(options._LOG_WORDS),
        tuple(options.WORKAROUND_FLAGS),
        tuple(options.PRIVILEGE_LEVELS),
        tuple(map(str, options.BPS_RATES)),
        tuple(map(str, options.CIPHER_SUITES)),
    ],
    ids=["logopts", "workarounds", "privileges", "rates", "suites"],
)
def test_every_word_of_the_options_is_described(words: Tuple[str, ...]) -> None:
    described = set(re.findall(r"\w+", pages.text(CONF, "OPTION STRINGS")))
    assert set(words) <= described


def test_every_letter_of_the_options_is_described() -> None:
    for subsection, letters in (("ipmiopts", options._IPMI_ITEMS), ("testopts", options._TEST_FIELDS)):
        described = {pages.plain(item.words).lower() for item in pages.items(CONF) if item.subsection == subsection}
        assert described == set(letters)


def test_every_specifier_is_described() -> None:
    described = [pages.plain(item.words) for item in pages.items(CONF) if item.section == "SPECIFIERS"]
    letters = "".join(described).replace("%%", "%P%%", 1)  # keep the sign itself apart from what leads the others
    assert set(re.findall("%(.)", letters)) == set(specifiers._CONVERSIONS)


def test_every_name_of_syslog_is_described() -> None:
    described = set(re.findall(r"\w+", pages.text(CONF, "SYSLOG NAMES")))
    missing = {*LOG_LEVELS, *SYSLOG_FACILITIES} - described
    assert missing <= {f"local{number}" for number in range(1, 7)}  # "local0 to local7"
