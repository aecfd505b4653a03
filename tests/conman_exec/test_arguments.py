from __future__ import annotations

from pathlib import Path

import pytest

from conman_exec import cyclades_ssh_exp, hp_ilo_exp, ibm_bc_exp, ipmitool_exp, serial_exp, ssh_exp
from conman_exec.arguments import Arguments, Invocation, UsageError, parse


def invoke(tmp_path: Path, script: str, form: Arguments, *words: str, passwords: bytes = b"") -> Invocation:
    (tmp_path / "pswd").write_bytes(passwords)
    (tmp_path / "pswd").chmod(0o600)
    conf = tmp_path / "conf"
    if not conf.exists():
        conf.write_text("")
    conf.write_text(conf.read_text() + f"[{script}]\npassword_file = {tmp_path}/pswd\n")
    return parse(script, form, ["/x/prog", "-c", str(conf), *words])


@pytest.mark.parametrize(
    ("script", "form", "usage"),
    [
        ("ipmitool", ipmitool_exp.ARGUMENTS, "<host> <user> <pswd> [<keyg>]"),
        ("ssh", ssh_exp.ARGUMENTS, "<host> <port> <user> <pswd>"),
        ("cyclades_ssh", cyclades_ssh_exp.ARGUMENTS, "<host> <port> [<user> <pswd>]"),
        ("hp_ilo", hp_ilo_exp.ARGUMENTS, "<host> <port> <user> <pswd>"),
        ("ibm_bc", ibm_bc_exp.ARGUMENTS, "<host> <blade> <user> <pswd>"),
    ],
)
def test_usage_is_the_originals(script: str, form: Arguments, usage: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(script, form, ["/x/prog"])
    assert caught.value.text == f"Usage: prog {usage}"


@pytest.mark.parametrize(
    ("script", "form", "words", "message"),
    [
        ("ipmitool", ipmitool_exp.ARGUMENTS, ["h"], "Unspecified username."),
        ("ipmitool", ipmitool_exp.ARGUMENTS, ["h", "u"], "Unspecified password."),
        ("ssh", ssh_exp.ARGUMENTS, ["h"], "Unspecified port number."),
        ("ssh", ssh_exp.ARGUMENTS, ["h", "1"], "Unspecified username."),
        ("ibm_bc", ibm_bc_exp.ARGUMENTS, ["h"], "Unspecified blade number."),
        ("cyclades_ssh", cyclades_ssh_exp.ARGUMENTS, ["h", "7", "u"], "Unspecified password."),
    ],
)
def test_first_missing_argument_is_told(
    tmp_path: Path, script: str, form: Arguments, words: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        invoke(tmp_path, script, form, *words)
    assert caught.value.text == f"Error: {message}"


def test_password_of_the_record_without_a_password_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unspecified password."):
        invoke(tmp_path, "ipmitool", ipmitool_exp.ARGUMENTS, "h", passwords=b"h:admin:")


def test_user_and_secrets_come_from_the_password_file(tmp_path: Path) -> None:
    target = invoke(tmp_path, "ipmitool", ipmitool_exp.ARGUMENTS, "h", passwords=b"h:admin:pw:kg").target
    assert (target.user, target.password, target.kg) == ("admin", b"pw", b"kg")


def test_given_password_leaves_the_file_alone(tmp_path: Path) -> None:
    form = ipmitool_exp.ARGUMENTS
    target = invoke(tmp_path, "ipmitool", form, "h", "admin", "arg", passwords=b"h:admin:pw:kg").target
    assert (target.password, target.kg) == (b"arg", None)
    assert parse("ipmitool", form, ["x", "h", "u", "p", "k"]).target.kg == b"k"


def test_empty_arguments_count_as_given() -> None:
    target = parse("ipmitool", ipmitool_exp.ARGUMENTS, ["x", "", "", "", ""]).target
    assert (target.host, target.user, target.password, target.kg) == ("", "", b"", None)


def test_extra_arguments_are_ignored() -> None:
    assert parse("ssh", ssh_exp.ARGUMENTS, ["x", "h", "1", "u", "p", "more"]).target.user == "u"


def test_terminal_server_without_a_user_wants_no_login() -> None:
    assert parse("cyclades_ssh", cyclades_ssh_exp.ARGUMENTS, ["x", "h", "7001"]).target.user is None


def test_user_and_port_have_settings(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[ssh]\nuser = root\nport = 22\n")
    conf = str(tmp_path / "conf")
    (tmp_path / "pswd").write_bytes(b"h:admin:no\nh:root:yes")
    (tmp_path / "conf").write_text(f"[ssh]\nuser = root\nport = 22\npassword_file = {tmp_path}/pswd\n")
    target = parse("ssh", ssh_exp.ARGUMENTS, ["x", "-c", conf, "h"]).target
    assert (target.port, target.user, target.password) == ("22", "root", b"yes")


def test_bytes_of_arguments_survive() -> None:
    target = parse("ipmitool", ipmitool_exp.ARGUMENTS, ["x", "h", "u", "p\udce9"]).target
    assert target.password == b"p\xe9"


def test_wrong_settings_file_is_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[ssh]\nport = x\n")
    with pytest.raises(UsageError, match="^Error: cannot use settings file .*key 'port'"):
        parse("ssh", ssh_exp.ARGUMENTS, ["x", "-c", str(tmp_path / "conf"), "h"])


def test_serial_arguments_stand_for_settings() -> None:
    chosen = parse("serial", serial_exp.ARGUMENTS, ["x", "/dev/ttyS0", "115200", "7E2", "rtscts"]).settings
    assert (chosen.speed, chosen.framing, chosen.flow) == (115200, "7E2", "rtscts")
    with pytest.raises(UsageError, match="Error: Invalid speed 'fast'"):
        parse("serial", serial_exp.ARGUMENTS, ["x", "/dev/ttyS0", "fast"])


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    invocation = invoke(tmp_path, "ipmitool", ipmitool_exp.ARGUMENTS, "h", passwords=b"h:admin:t0psecret:kgsecret")
    assert "t0p" not in repr(invocation) and "kgs" not in repr(invocation)
