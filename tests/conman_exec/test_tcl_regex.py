from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman_exec.tcl_regex import InvalidExpression, compile_host


def matches(field: bytes, host: bytes) -> bool | None:
    """None: the expression is refused."""
    try:
        return compile_host(field).search(host.decode("latin-1")) is not None
    except InvalidExpression:
        return None


# Observed with Tcl 8.6: field, host, whether it matches (None: refused).
CASES: list[tuple[bytes, bytes, bool | None]] = [
    (b"a{1", b"a{1", None),
    (b"a{x", b"a{x", True),
    (b"a{,3}", b"a{,3}", True),
    (b"a{256}", b"a", None),
    (b"a{2,1}", b"a", None),
    (b"a**", b"a", None),
    (b"a??", b"", True),
    (b"a{1}{1}", b"a", None),
    (b"a||b", b"b", True),
    (b"a]", b"a]", True),
    (b"a)", b"a", None),
    (b"[]a]", b"]", True),
    (b"[b-a]", b"a", None),
    (b"[a-]", b"-", True),
    (b"[[.hyphen.]]", b"-", True),
    (b"[[=a=]]", b"a", True),
    (rb"[\d]", b"5", True),
    (rb"[\D]", b"a", None),
    (rb"\Y", b"a", False),
    (rb"\ma\M", b"a", True),
    (rb"\1", b"1", None),
    (rb"(a)\1", b"aa", True),
    (rb"\x61", b"a", True),
    (rb"\q", b"q", None),
    (rb"\_", b"_", True),
    (b"a\\", b"a$b", True),
    (b"(?=a)*a", b"a", None),
    (b"(?<=a)b", b"b", None),
    (b"(?#note)a", b"a", True),
    (b"(?i)a", b"A", None),
    (b"^*", b"", None),
    (rb"\w+", "\u00e9\u00b5".encode("latin-1"), True),
    (rb"\w", b"\xb2", False),
    (b".", b"\n", True),
    (b"a", b"a\n", False),
]


@pytest.mark.parametrize(("field", "host", "expected"), CASES)
def test_expression_means_what_it_means_to_tcl(field: bytes, host: bytes, expected: bool | None) -> None:
    assert matches(field, host) is expected


_PIECES = rb"""n 1 a . * + ? | ( ) [ ] ^ $ \ { } {1} {1,2} {2, , - (?= (?! [a-z] [0-9]+ \d \w \1 \s (n|1) n1 (?i) x \x
\y \M \m [^ [. .] [= =] \W \D \2 0 \0 _ (? # \e \ca \u0041""".split()
_HOSTS = [b"n1", b"n12", b"a", b"n", b"", b"1a", b"n1xyz", b"\xe9n", b"a-b", b"aa", b"n1n1", b"n$", b"]", b"a{1", b"\\"]


@given(st.lists(st.sampled_from(_PIECES), max_size=7).map(b"".join), st.sampled_from(_HOSTS))
def test_any_expression_matches_or_is_refused(field: bytes, host: bytes) -> None:
    assert matches(field, host) in (True, False, None)


TCL = """
set in [open [lindex $argv 0] rb]
foreach line [split [read $in] "\\n"] {
  if {$line eq ""} continue
  lassign [split $line "\\t"] field host
  set expression "^[binary decode hex $field]\\$"
  if {[catch {regexp -- $expression [binary decode hex $host]} found]} { puts "None" } else { puts $found }
}
"""


def test_generated_expressions_mean_what_they_mean_to_tcl(tmp_path: Path) -> None:
    tclsh = shutil.which("tclsh") or shutil.which("expect")
    if not tclsh:
        assert not os.environ.get("CI"), "tclsh is missing"
        pytest.skip("tclsh is missing")
    pairs = [(bytes((a,)), bytes((b,))) for a in range(1, 256) for b in (a, 97) if a != 10]
    pairs += [(b"\\" + field, host) for field, host in pairs] + [(b"[" + field + b"]", host) for field, host in pairs]
    pairs += [(field, bytes((code,))) for field in (rb"\w", rb"\s", rb"\d", rb"\W", rb"\S") for code in range(256)]
    pairs += [(one + two, host) for one in _PIECES for two in _PIECES for host in (b"n1", b"a", b"aa", b"1")]
    pairs += [(one + two + b"a" + one, b"naa") for one in _PIECES for two in _PIECES]
    (tmp_path / "ask.tcl").write_text(TCL)
    (tmp_path / "pairs").write_text("".join(f"{field.hex()}\t{host.hex()}\n" for field, host in pairs))
    run = subprocess.run([tclsh, tmp_path / "ask.tcl", tmp_path / "pairs"], capture_output=True, text=True, check=True)
    theirs = [{"0": False, "1": True, "None": None}[word] for word in run.stdout.split()]
    assert len(theirs) == len(pairs)
    assert [pair for pair, answer in zip(pairs, theirs) if matches(*pair) is not answer] == []
