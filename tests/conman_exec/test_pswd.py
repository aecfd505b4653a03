from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conman_exec.pswd import PasswordFile, read

# The specification's worked examples: contents, host, user, password, K_g.
EXAMPLES = [
    (b"n1 : admin : secret", b"n1", b"admin", b"secret", None),
    (b"n1:admin:pw:kg:x:y", b"n1", b"admin", b"pw", b"kg"),
    (b"n:admin:pw", b"n1", b"admin", None, None),
    (rb"n\d+:admin:pw", b"n42", b"admin", b"pw", None),
    (b"node.*:admin:pw", b"node12", b"admin", b"pw", None),
    (b"n(?!1).:admin:pw", b"n2", b"admin", b"pw", None),
    (b"n(?!1).:admin:pw", b"n1", b"admin", None, None),
    (b"n1|n2:admin:pw", b"xn2", b"admin", b"pw", None),
    (b"n1|n2:admin:pw", b"n1xyz", b"admin", b"pw", None),
    (b"(n1|n2):admin:pw", b"n1xyz", b"admin", None, None),
    (b"10.0.0.1:admin:pw", b"10a0b0c1", b"admin", b"pw", None),
    (b":admin:pw", b"any", b"admin", b"pw", None),
    (b"   : admin : pw", b"any", b"admin", b"pw", None),
    (b"n1:admin:\nn1:admin:second", b"n1", b"admin", None, None),
    (b"n1:admin\nn1:admin:second", b"n1", b"admin", None, None),
    (b"n1\nn1:admin:ok", b"n1", b"admin", b"ok", None),
    (b"n1:root:x\nn1:admin:y", b"n1", b"admin", b"y", None),
    (b"n1:Admin:x", b"n1", b"admin", None, None),
    (b"N1:admin:x", b"n1", b"admin", None, None),
    (b"(?i)N1:admin:x", b"n1", b"admin", None, None),
    (b"(?:n1|n2):admin:x", b"n1", b"admin", None, None),
    (b"n[[:digit:]]+:admin:x", b"n1", b"admin", None, None),
    (b"***=n1:admin:x", b"n1", b"admin", None, None),
    (b"n1(:admin:bad\nn1:admin:good", b"n1", b"admin", b"good", None),
    (b"*:admin:bad\nn1:admin:good", b"n1", b"admin", b"good", None),
    (b"n{1:admin:bad\nn1:admin:good", b"n1", b"admin", b"good", None),
    (b"n*:admin:x", b"n1", b"admin", None, None),
    (b"n1:admin:pa:ss", b"n1", b"admin", b"pa", b"ss"),
    (b"fe80::1:admin:pw", b"fe80::1", b"admin", None, None),
    (b"fe80..1:admin:pw", b"fe80::1", b"admin", b"pw", None),
    (b"n1:admin:two words  ", b"n1", b"admin", b"two words", None),
    (b'n1:admin:"pw"', b"n1", b"admin", b'"pw"', None),
    (b"n1:admin:pw # note", b"n1", b"admin", b"pw # note", None),
    (b"n1:admin:#pw", b"n1", b"admin", b"#pw", None),
    (rb'n1:admin:a$b[c]{d\e"f', b"n1", b"admin", rb'a$b[c]{d\e"f', None),
    (b"n1::pw", b"n1", b"", b"pw", None),
    (b"\r\n\r\nn1\t:\tadmin\t:\tpw\r\n\r\n", b"n1", b"admin", b"pw", None),
    (b"n1:admin:pw", b"n1", b"admin", b"pw", None),
    # Observed with ConMan 0.3.1 beyond the specification: what counts as blank, as a comment and as a line's end.
    (b"n1:admin:\0\x0b\x0c\x85\xa0pw\0\x0b\x0c\x85\xa0", b"n1", b"admin", b"pw", None),
    (b"n1:admin:\x01pw\x1c", b"n1", b"admin", b"\x01pw\x1c", None),
    (b"n1:admin:a\rb:kg", b"n1", b"admin", b"a", None),
    (b"#n1:admin:a\rn1:admin:d", b"n1", b"admin", b"d", None),
    (b" \t#n1:admin:a\n:admin:b", b"n1", b"admin", b"b", None),
    (b"\x0b#n1:admin:a\n:admin:b", b"n1", b"admin", b"b", None),
    (b"n1:admin:a\x1ab", b"n1", b"admin", b"a\x1ab", None),
    (b"\xef\xbb\xbfn1:admin:a\n:admin:b", b"n1", b"admin", b"b", None),
    (b"\nn1::pw", b"n1", b"", None, None),  # a blank line is a record for any host and the empty user
    (b"n1\nn1::pw", b"n1", b"", None, None),
    (b"n1:admin:\xe9\xff", b"n1", b"admin", b"\xe9\xff", None),
]


@pytest.mark.parametrize(("contents", "host", "user", "password", "kg"), EXAMPLES)
def test_record_gives_what_the_original_gives(
    contents: bytes, host: bytes, user: bytes, password: bytes | None, kg: bytes | None
) -> None:
    found = PasswordFile(contents).look_up(host, user)
    assert (found and found.password, found and found.kg) == (password, kg)


def test_user_is_taken_from_the_first_record_of_the_host() -> None:
    found = PasswordFile(b"n2:root:x\nn1\nn1:operator:y\nn1:admin:z").look_up(b"n1")
    assert found is not None
    assert (found.user, found.password) == (b"operator", b"y")


def test_invalid_expression_is_reported_with_its_line_and_without_its_secret() -> None:
    passwords = PasswordFile(b"# comment\nn(:admin:t0psecret\nn1:admin:pw", "pswd")
    assert passwords.look_up(b"n1", b"admin") is not None
    (warning,) = passwords.warnings
    assert warning.startswith("pswd line 2 ignored: invalid host expression")
    assert "t0psecret" not in warning


def test_secrets_are_not_shown() -> None:
    found = PasswordFile(b"n1:admin:t0psecret:kgsecret").look_up(b"n1")
    assert found is not None
    assert found.password == b"t0psecret"
    assert "secret'" not in repr(found) and "t0p" not in repr(found) and "kgs" not in str(found)


def test_missing_file_has_no_records_and_is_no_problem(tmp_path: Path) -> None:
    passwords = read(str(tmp_path / "none"))
    assert passwords.look_up(b"n1") is None
    assert passwords.warnings == []


def test_file_readable_by_others_is_used_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "conman.pswd"
    path.write_bytes(b"n1:admin:pw\n")
    path.chmod(0o644)
    passwords = read(str(path))
    assert passwords.look_up(b"n1") is not None
    assert passwords.warnings == [f"{path} is readable by others; its mode should be 0600"]
    path.chmod(0o600)
    assert read(str(path)).warnings == []


def test_directory_in_its_place_is_reported(tmp_path: Path) -> None:
    (warning,) = read(str(tmp_path)).warnings
    assert warning == f"cannot read {tmp_path}: {os.strerror(21)}; going on without passwords"


def test_warnings_are_those_of_one_look_up() -> None:
    passwords = PasswordFile(b"n1:admin:pw\nn(:admin:x\nn2:admin:pw", "pswd", ("readable",))
    passwords.look_up(b"n2")
    assert len(passwords.warnings) == 2
    passwords.look_up(b"n1")
    assert passwords.warnings == ["readable"]


_FIELD = st.text("a1.-", max_size=4) | st.sampled_from(["", "a*", "a|1", "[a1].", "(a"])


@given(st.lists(_FIELD, max_size=8), st.text("a1.-", max_size=4))
def test_index_finds_the_record_that_each_by_itself_would(fields: list[str], host: str) -> None:
    lines = [f"{field}:u:{number}" for number, field in enumerate(fields)]
    found = PasswordFile("\n".join(lines).encode()).look_up(host.encode(), b"u")
    alone = [PasswordFile(line.encode()).look_up(host.encode(), b"u") for line in lines]
    expected = next((each for each in alone if each is not None), None)
    assert (found and found.password) == (expected and expected.password)
    for field, each in zip(fields, alone):
        if field and not set(field) - set("a1.-"):
            assert (each is not None) == (re.match(field + r"\Z", host) is not None)


_NAME = st.from_regex(rb"[a-z0-9_.-]{1,12}", fullmatch=True)
_SECRET = st.binary(min_size=1, max_size=20).filter(
    lambda secret: not set(secret) & set(b":\r\n") and secret.strip(b"\0\t\n\v\f\r \x85\xa0") == secret
)


@given(_NAME, _NAME, _SECRET, _SECRET)
def test_what_is_written_reads_back(host: bytes, user: bytes, password: bytes, kg: bytes) -> None:
    line = b" : ".join((host.replace(b".", rb"\."), user, password, kg))
    found = PasswordFile(b"# x\n\n" + line + b"\n").look_up(host, user)
    assert found is not None
    assert (found.user, found.password, found.kg) == (user, password, kg)


@given(st.binary(max_size=200), st.binary(max_size=10), st.one_of(st.none(), st.binary(max_size=5)))
def test_any_file_reads_without_an_error(contents: bytes, host: bytes, user: bytes | None) -> None:
    found = PasswordFile(contents).look_up(host, user)
    assert found is None or user is None or found.user == user
