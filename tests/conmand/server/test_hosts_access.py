from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.server import hosts_access
from conmand.server.hosts_access import ClientInfo, Decision, check, evaluate

CLIENT = ClientInfo("10.1.2.3")
ORACLE = Path(__file__).parents[2] / "fakes" / "libwrap_oracle.py"


def granted(allow: str, deny: str = "ALL: ALL\n", client: ClientInfo = CLIENT) -> bool:
    return evaluate(allow, deny, client).granted


def test_allow_comes_before_deny_and_silence_grants() -> None:
    assert evaluate("conmand: 10.\n", "ALL: ALL\n", CLIENT) == Decision(True, "hosts.allow:1: conmand: 10.")
    assert evaluate("conmand: 9.\n", "\nALL: ALL\n", CLIENT) == Decision(False, "hosts.deny:2: ALL: ALL")
    assert evaluate("conmand: 9.\n", "sshd: ALL\n", CLIENT) == Decision(True)
    assert evaluate("", "", CLIENT) == Decision(True)


@pytest.mark.parametrize(
    "allow",
    [
        "conmand: 10.\n",
        "  conmand : 10.  \r\n",
        "# comment\n\nconmand: 10.\n",
        "conm\\\nand: 10.\\\n1.2.3\n",
        " # conmand: 10.\n",  # only a line that begins with # is a comment
        "conmand: [::1] 10.\n",
        "conmand: 10. : allow\n",
        "conmand: 10. : ALLOW =\n",
        "conmand: 10. : severity auth.info : nice : linger 3 : rfc931 5 : umask 022 : keepalive : allow\n",
        "conmand: 10. : setenv A b\\:c : allow\n",
        "conmand: 10. : severity=info\n",
    ],
)
def test_a_rule_grants(allow: str) -> None:
    assert evaluate(allow, "ALL: ALL\n", CLIENT).granted
    assert evaluate(allow, "ALL: ALL\n", CLIENT).warnings == ()


@pytest.mark.parametrize(
    ("option", "warning"),
    [
        ("twist /bin/echo no", 'option "twist" is not supported'),
        ("spawn (/bin/true) &", 'option "spawn" is not supported'),
        ("aclexec /bin/true", 'option "aclexec" is not supported'),
        ("banners /etc/banners", 'option "banners" is not supported'),
        ("user nobody", 'option "user" is not supported'),
        ("(/usr/sbin/safe_finger) &", 'option "(/usr/sbin/safe_finger) &" is not known'),
        ("", 'option "" is not known'),
        ("allow : severity info", 'option "allow" is not the last one'),
        ("deny : allow", 'option "deny" is not the last one'),
        ("allow me", 'option "allow" takes no value'),
        ("severity", 'option "severity" has the bad value ""'),
        ("severity loud", 'option "severity" has the bad value "loud"'),
        ("umask 1000", 'option "umask" has the bad value "1000"'),
        ("linger x", 'option "linger" has the bad value "x"'),
        ("rfc931 0", 'option "rfc931" has the bad value "0"'),
        ("keepalive x", 'option "keepalive" has the bad value "x"'),
        ("setenv", 'option "setenv" has the bad value ""'),
    ],
)
def test_a_rule_that_cannot_be_carried_out_refuses_and_says_so(option: str, warning: str) -> None:
    decision = evaluate(f"conmand: 10. : {option}\n", "", CLIENT)
    assert not decision.granted
    assert decision.warnings == (f"hosts.allow:1: cannot carry out the rule: {warning}; client refused",)
    assert evaluate(f"conmand: 9. : {option}\n", "", CLIENT) == Decision(True)


def test_options_turn_a_rule_round() -> None:
    assert not granted("conmand: 10. : deny\n", "")
    assert granted("", "conmand: 10. : allow\nALL: ALL\n")


def test_doubt_never_grants() -> None:
    decision = evaluate("conmand: @friends\n", "ALL: ALL\n", CLIENT)
    assert decision == Decision(
        False,
        "hosts.deny:1: ALL: ALL",
        ('hosts.allow:1: cannot decide pattern "@friends": netgroups are not supported; rule passed over',),
    )
    assert evaluate("", "conmand: @foes\n", CLIENT) == Decision(
        False,
        "hosts.deny:1: conmand: @foes",
        ('hosts.deny:1: cannot decide pattern "@foes": netgroups are not supported; client refused',),
    )
    assert not granted("conmand: @foes : deny\n", "")
    assert not granted("", "ALL: @friends : allow\nALL: ALL\n")


def test_doubt_that_does_not_matter_is_not_mentioned() -> None:
    assert evaluate("conmand: @friends 10.\n", "", CLIENT).warnings == ()
    assert evaluate("sshd: @friends\n", "", CLIENT).warnings == ()


@pytest.mark.parametrize("line", ["conmand 10.1.2.3", "conmand:", "conmand: : allow", "ALL"])
def test_a_rule_without_clients_never_grants(line: str) -> None:
    assert not granted(line + "\n")
    decision = evaluate("", line + "\n", CLIENT)
    assert not decision.granted or "allow" in line
    assert evaluate("", "sshd 10.1.2.3\n", CLIENT) == Decision(True)
    assert decision.warnings[0].startswith("hosts.deny:1: cannot decide the rule: it has no client list; ")


def test_a_last_line_without_newline_never_grants() -> None:
    assert not granted("conmand: ALL")
    assert not granted("conmand: ALL\\\n")
    assert evaluate("", "# the end", CLIENT).warnings == (
        "hosts.deny:1: cannot read the line: the file ends without a newline; client refused",
    )
    assert not granted("", "sshd: ALL")


def test_a_line_with_a_nul_byte_never_grants() -> None:
    assert not granted("conmand: ALL\0\n")
    assert not granted("", "sshd: \0\n")


def test_the_address_reached_can_decide() -> None:
    rules = ("conmand@192.0.2.1: ALL\n", "ALL: ALL\n", CLIENT)
    assert evaluate(*rules, "192.0.2.1").granted
    assert not evaluate(*rules, "192.0.2.2").granted
    assert not evaluate(*rules).granted


@given(st.text("conmand:ALEXCPT#@/.\\\n ,10", max_size=60), st.text("conmand:ALEXCPT#@/.\\\n ,10", max_size=60))
def test_any_files_give_a_decision(allow: str, deny: str) -> None:
    assert evaluate(allow, deny, CLIENT).granted in (True, False)


# Files


def test_files_are_read(tmp_path: Path) -> None:
    allow, deny, nets = tmp_path / "allow", tmp_path / "deny", tmp_path / "nets"
    allow.write_text(f"conmand: {nets}\n")
    deny.write_text("ALL: ALL\n")
    nets.write_bytes(b"\xff 10.\n")
    decision = check(CLIENT, allow_path=str(allow), deny_path=str(deny))
    assert decision == Decision(True, f"{allow}:1: conmand: {nets}")


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert check(CLIENT, allow_path=missing, deny_path=missing) == Decision(True)


def test_a_file_that_cannot_be_read_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing")
    decision = check(CLIENT, allow_path=str(tmp_path), deny_path=missing)
    assert decision == Decision(False, "", (f'cannot read "{tmp_path}": Is a directory; refusing the client',))
    large = tmp_path / "large"
    large.write_text("# 4567890\n")
    monkeypatch.setattr(hosts_access, "MAX_FILE_BYTES", 9)
    decision = check(CLIENT, allow_path=missing, deny_path=str(large))
    assert decision == Decision(False, "", (f'cannot read "{large}": File too large; refusing the client',))


# Against libwrap. Where ours differs on purpose, the random rules below hold nothing of the kind:
# - masks and [addresses] that make no sense and netgroups match nobody in libwrap; ours refuses who might be meant;
# - libwrap skips a line without a colon; ours refuses in hosts.deny if it might mean our daemon;
# - libwrap matches 10.* with a host name; ours only with an address;
# - libwrap runs spawn, aclexec, banners, user; ours refuses. Ours knows more names for severity;
# - libwrap stops at lines of more than 2 KiB; ours reads them.

DAEMONS = ["conmand", "CONMAND", "con*", "ALL", "KNOWN", "sshd", "conmand@192.0.2.1", "conmand@192.0.2.0/24"]
DAEMONS += ["ALL@198.51.100.1", "sshd@ALL", "conmand@[2001:db8::1]", "ALL@[2001:db8::]/33"]
CLIENTS = ["10.1.2.3", "10.1.", "10.1.2.0/24", "10.0.0.0/255.0.0.0", "9.9.9.9", "10.*.3", "10.?.?.?", "unknown@10."]
CLIENTS += [".example.org", ".org", "alpha", "alpha.example.org", "ALPHA", "*.example.*", "a*", "KNOWN@ALL", "root@ALL"]
CLIENTS += [  # ::1 without brackets is no pattern: its colons end the list
    "[fe80::2]",
    "[fe80::]/10",
    "[2001:db8::]/32",
    "[2001:db8:8000::]/33",
    "[::1]",
    "[::]/0",
    "fe80*",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "ALL",
]
CLIENTS += ["ALL@ALL", "EXCEPT", "EXCEPT"]
OPTIONS = [
    "allow",
    "deny",
    "severity info",
    "severity=auth.notice",
    "umask 022",
    "nice 5",
    "bogus",
    "linger x",
    "deny=",
]


def random_rules(random_: random.Random) -> str:
    lines: List[str] = []
    for _ in range(random_.randrange(4)):
        daemons = random_.choice([" ", ",", ", "]).join(random_.choices(DAEMONS, k=random_.choice([1, 1, 2, 3])))
        if random_.random() < 0.2:
            daemons += " EXCEPT " + random_.choice(DAEMONS)
        clients = random_.choice([" ", ",", "\t"]).join(random_.choices(CLIENTS, k=random_.choice([1, 1, 2, 4])))
        options = random_.choices(OPTIONS, k=random_.choice([0, 0, 0, 1, 2]))
        line = " : ".join([daemons, clients, *options])
        if random_.random() < 0.2:
            cut = random_.randrange(len(line))
            line = line[:cut] + "\\\n" + line[cut:]
        lines.append(random_.choice(["", "", "# no\n", "\n", " \t\n"]) + line)
    return "".join(line + "\n" for line in lines)


def random_case(random_: random.Random) -> Dict[str, str]:
    return {
        "allow": random_rules(random_),
        "deny": random_rules(random_) + random_.choice(["", "ALL: ALL\n", "ALL: ALL EXCEPT 10.\n"]),
        "daemon": "conmand",
        "address": random_.choice(["10.1.2.3", "9.9.9.9", "fe80::2", "2001:db8::7", "2001:db8:8000::7", "::1"]),
        "name": random_.choice(["", "alpha", "alpha.example.org", "beta.example.net", "paranoid"]),
        "server": random_.choice(["", "192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:db8:8000::1"]),
    }


def skip_or_fail(missing: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{missing} is not installed")
    pytest.skip(f"{missing} is not installed")


def test_random_rules_are_decided_as_libwrap_decides(tmp_path: Path) -> None:
    random_ = random.Random(20240229)
    cases = [random_case(random_) for _ in range(1500)]
    oracle = subprocess.run(
        [sys.executable, "-I", str(ORACLE)],
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        cwd=tmp_path,
        text=True,
    )
    if "libwrap.so.0: cannot open" in oracle.stderr:
        skip_or_fail("libwrap.so.0")
    answers = oracle.stdout.split()
    assert len(answers) == len(cases), oracle.stderr
    assert 0.2 < answers.count("1") / len(answers) < 0.8  # the rules are worth comparing
    for case, answer in zip(cases, answers):
        client = ClientInfo(case["address"], case["name"] or None, case["name"] != "paranoid")
        decision = evaluate(case["allow"], case["deny"], client, case["server"] or None)
        assert decision.granted == (answer == "1"), (case, decision)


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ("", "", "granted"),
        ("conmand: 127.0.0.1\n", "ALL: ALL\n", "granted"),
        ("conmand: 127.0.0.0/8 EXCEPT 127.0.0.1\n", "ALL: ALL\n", "denied"),
        ("conmand: UNKNOWN\n", "ALL: ALL\n", "granted"),
        ("conmand@127.0.0.2: ALL\n", "ALL: ALL\n", "granted"),
        ("conmand@127.0.0.3: ALL\n", "ALL: ALL\n", "denied"),
        ("conmand: ALL : severity info : deny\n", "", "denied"),
        ("conmand: ALL : bogus\n", "", "denied"),
        ("conmand: ALL : twist /bin/false\n", "", "delegated"),  # to a program; ours refuses
        ("sshd: ALL", "sshd: ALL", "denied"),
    ],
)
def test_rules_are_decided_as_tcpdmatch_predicts(tmp_path: Path, allow: str, deny: str, expected: str) -> None:
    predicted = predict(tmp_path, allow, deny, "conmand@127.0.0.2", "127.0.0.1")
    assert predicted == expected
    decision = evaluate(allow, deny, ClientInfo("127.0.0.1"), "127.0.0.2")
    assert decision.granted == (predicted == "granted")


@pytest.mark.parametrize("address", ["::1", "fe80::5", "2001:db8:1::5", "192.0.2.1"])
@pytest.mark.parametrize(
    "clients",
    [
        "[::1]",
        "[0:0::1]",
        "[fe80::]/10",
        "[2001:db8::]/32 EXCEPT [2001:db8:1::]/48",
        "[2001:db8:1::5]/128",
        "ALL EXCEPT [::]/0",
        "[::ffff:192.0.2.1]",
        "[::ffff:0:0]/96",
        "[::1]/0",
        "2001:",
        "::1",
        "192.0.2.",
    ],
)
def test_ipv6_patterns_mean_what_tcpdmatch_takes_them_for(tmp_path: Path, clients: str, address: str) -> None:
    predicted = predict(tmp_path, f"conmand: {clients}\n", "ALL: ALL\n", "conmand", address)
    decision = evaluate(f"conmand: {clients}\n", "ALL: ALL\n", ClientInfo(address))
    assert decision.granted == (predicted == "granted"), decision


def predict(directory: Path, allow: str, deny: str, daemon: str, client: str) -> str:
    """libwrap's own tool: ``granted``, ``denied`` or ``delegated``."""
    tcpdmatch = shutil.which("tcpdmatch", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if tcpdmatch is None:
        skip_or_fail("tcpdmatch")
    (directory / "hosts.allow").write_text(allow)
    (directory / "hosts.deny").write_text(deny)
    output = subprocess.run(
        [str(tcpdmatch), "-d", daemon, client], cwd=directory, stdout=subprocess.PIPE, text=True
    ).stdout
    (predicted,) = [line.split()[1] for line in output.splitlines() if line.startswith("access:")]
    return predicted
