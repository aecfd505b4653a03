from __future__ import annotations

import array
import fnmatch
import locale
import os
import re
import subprocess
import sys
from typing import Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.server import match_worker


@pytest.fixture(autouse=True, scope="module")
def c_locale() -> Iterator[None]:
    """libc's functions depend on the locale; the program sets it for itself."""
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)


def ask(mode: bytes, patterns: List[bytes], names: List[bytes]) -> bytes:
    request = b"%b %d\n" % (mode, len(patterns)) + b"\0".join([*patterns, *names])
    return match_worker.answer(request)


def matched(mode: bytes, patterns: List[bytes], names: List[bytes]) -> List[bytes]:
    reply = ask(mode, patterns, names)
    assert reply[:1] == b"+"
    return [names[index] for index in array.array("I", reply[1:])]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"n*", b"n1", True),
        (b"N*", b"n1", False),
        (b"n?", b"n10", False),
        (b"n[12]", b"n2", True),
        (b"n[!12]", b"n2", False),
        (b"n[^12]", b"n3", True),
        (b"[[:digit:]]", b"7", True),
        (b"*", b".hidden/path", True),
        (b"\\*", b"*", True),
        (b"\\*", b"x", False),
        (b"[", b"[", True),
        (b"a{b,c}", b"ab", False),
        (b"?", b"\xc3\xa9", False),
        (b"??", b"\xc3\xa9", True),
    ],
)
def test_globs_are_libcs(pattern: bytes, name: bytes, matches: bool) -> None:
    assert matched(b"glob", [pattern], [name]) == ([name] if matches else [])


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"n1|n2", b"N2", True),
        (b"n", b"n1", False),
        (b"1", b"n1", False),
        (b"a|ab", b"ab", True),
        (b"n[0-9]+", b"n12", True),
        (b"^n1$", b"n1", True),
        (b"\\.", b".", True),
        (b"a)", b"a)", True),
        (b"a**", b"aa", True),
        (b"(a)\\1", b"aa", True),
        (b"..", b"\xc3\xa9", True),
        (b"x||y", b"y", True),
    ],
)
def test_regexes_match_whole_names_in_any_case(pattern: bytes, name: bytes, matches: bool) -> None:
    assert matched(b"regex", [pattern], [name]) == ([name] if matches else [])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (b"(a", b"Unmatched ( or \\("),
        (b"[a", b"Unmatched [, [^, [:, [., or [="),
        (b"a{1", b"Unmatched \\{"),
        (b"*a|+", b"Invalid preceding regular expression"),
        (b"a{2,1}", b"Invalid content of \\{\\}"),
        (b"[b-a]", b"Invalid range end"),
        (b"[[:x:]]", b"Invalid character class name"),
        (b"a\\", b"Trailing backslash"),
        (b"\\1", b"Invalid back reference"),
    ],
)
def test_a_bad_regex_gets_libcs_words(pattern: bytes, message: bytes) -> None:
    assert ask(b"regex", [b"fine", pattern], [b"n1"]) in (b"-" + message, b"-Invalid regular expression")


def test_each_regex_stands_for_itself() -> None:
    assert ask(b"regex", [b"(n", b"u)1?"], [b"n1"]) == b"-Unmatched ( or \\("


def test_a_name_that_matches_twice_counts_once() -> None:
    assert matched(b"glob", [b"n*", b"*1", b"x*"], [b"n1", b"m1", b"n2", b"m2"]) == [b"n1", b"m1", b"n2"]


@given(st.text("ab*?", max_size=8).map(str.encode), st.lists(st.text("ab", min_size=1, max_size=8).map(str.encode)))
def test_plain_globs_mean_what_python_means(pattern: bytes, names: List[bytes]) -> None:
    expected = [name for name in names if fnmatch.fnmatchcase(name.decode(), pattern.decode())]
    assert matched(b"glob", [pattern], names) == expected


@given(st.lists(st.sampled_from(["a", "b", ".", "a*", "(ab)", "(a|b)+", "[ab]?"])), st.text("abAB", min_size=1))
def test_plain_regexes_mean_what_python_means(parts: List[str], name: str) -> None:
    pattern = "".join(parts)
    expected = re.fullmatch(pattern, name, re.IGNORECASE) is not None
    assert matched(b"regex", [pattern.encode()], [name.encode()]) == ([name.encode()] if expected else [])


def test_it_runs_as_a_program_without_environment() -> None:
    process = subprocess.run(
        [sys.executable, "-I", "-S", os.path.abspath(match_worker.__file__)],
        input=b"glob 1\nn*\0m1\0n1",
        capture_output=True,
        env={"LC_ALL": "C"},
        cwd="/",
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout == b"+" + array.array("I", [1]).tobytes()


def test_it_limits_its_own_memory_and_time() -> None:
    program = (
        "import resource, sys; from conmand.server import match_worker as worker\n"
        "limits = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE)\n"
        "worker.answer = lambda request: repr([resource.getrlimit(limit)[0] for limit in limits]).encode()\n"
        "worker.main()"
    )
    process = subprocess.run([sys.executable, "-c", program], input=b"", capture_output=True, check=True)
    assert process.stdout.decode() == repr([match_worker.MAX_MEMORY_BYTES, match_worker.MAX_CPU_SECONDS, 0])
