from __future__ import annotations

import errno
import fnmatch
from typing import Dict, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.server.host_patterns import Answer, Host, HostMatcher, named_host

YES, NO, MAYBE = Answer.YES, Answer.NO, Answer.MAYBE
CLIENT = "10.1.2.3"


def matcher(
    address: str = CLIENT,
    name: Optional[str] = None,
    *,
    verified: bool = True,
    server: Optional[str] = None,
    files: Optional[Dict[str, str]] = None,
) -> HostMatcher:
    def read_file(path: str) -> str:
        if files is None or path not in files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if files[path] == "unreadable":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return files[path]

    return HostMatcher(named_host(address, name, verified), named_host(server), "conmand", read_file)


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("10.1.2.3", YES),
        ("10.1.2.", YES),
        ("10.1.2", NO),
        (".2.3", YES),
        ("10.1.2.30", NO),
        ("10.1.2.03", NO),
        ("ALL", YES),
        ("all", YES),
        ("9.9.9.9,10.1.2.3", YES),
        ("9.9.9.9\t\r10.1.2.3", YES),
        ("", NO),
        ("10.1.*", YES),
        ("10.?.2.?", YES),
        ("10.1.2.??", NO),
        ("[ab]*", MAYBE),
    ],
)
def test_addresses_and_wildcards(clients: str, answer: Answer) -> None:
    assert matcher().match_clients(clients) is answer


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("10.1.2.0/24", YES),
        ("10.1.2.9/24", NO),
        ("10.1.2.0/255.255.255.0", YES),
        ("10.1.2.2/31", YES),
        ("10.1.2.3/32", YES),
        ("0.0.0.0/0.0.0.0", YES),
        ("10.0.2.0/255.0.255.0", YES),
        ("10.1.0.0/24", NO),
        # libwrap takes neither mask; the intent is clear, so that only those it means are in doubt.
        ("0.0.0.0/0", MAYBE),
        ("10.1.2.3/255.255.255.255", MAYBE),
        ("10.1.2.4/255.255.255.255", NO),
        ("10.1.2.0/33", MAYBE),
        ("10.1.2.0/", MAYBE),
        ("10.1.2.0/24x", MAYBE),
        ("10.1.2.0/+24", MAYBE),
        ("10.1.2/24", MAYBE),
        ("10.1.2.256/24", MAYBE),
        ("10.1.2.0/255.255.255", MAYBE),
        ("10.*/8", MAYBE),
        ("[fe80::]/10", NO),
    ],
)
def test_ipv4_nets(clients: str, answer: Answer) -> None:
    assert matcher().match_clients(clients) is answer


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("[fe80::2]", YES),
        ("[FE80:0:0::2]", YES),
        ("[fe80::1]/64", YES),
        ("[fe80::1%eth0]/64", YES),
        ("[::]/0", YES),
        ("[fe80::1]/128", NO),
        ("fe80:*", YES),
        ("0.0.0.0/0.0.0.0", NO),
        ("[fe80::1]/129", MAYBE),
        ("[fe80::1]/", MAYBE),
        ("[fe80::1]64", MAYBE),
        ("[]", MAYBE),
        ("[fe80::", MAYBE),
        ("[10.1.2.3]", MAYBE),
    ],
)
def test_ipv6_nets(clients: str, answer: Answer) -> None:
    assert matcher("fe80::2%eth1").match_clients(clients) is answer


def test_an_ipv4_address_in_ipv6_form_is_ipv4() -> None:
    assert matcher("::ffff:10.1.2.3").match_clients("10.1.2.0/24") is YES
    assert matcher("::ffff:10.1.2.3").match_clients("[::]/0") is NO


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("a.example.org", YES),
        ("A.EXAMPLE.org", YES),
        (".example.org", YES),
        (".a.example.org", NO),
        ("a", NO),
        ("a.", YES),
        ("?.ex*", YES),
        ("KNOWN", YES),
        ("UNKNOWN", NO),
        ("LOCAL", NO),
        ("PARANOID", NO),
    ],
)
def test_names(clients: str, answer: Answer) -> None:
    assert matcher(name="a.example.org").match_clients(clients) is answer


def test_local_is_a_name_without_a_dot() -> None:
    assert matcher(name="alpha").match_clients("local") is YES
    assert matcher().match_clients("LOCAL") is NO


def test_a_client_without_a_name_is_unknown() -> None:
    assert matcher().match_clients("UNKNOWN") is YES
    assert matcher().match_clients("KNOWN") is NO


@pytest.mark.parametrize("name", ["a.example.org", "10.9.9.9"])
def test_a_name_that_is_false_is_not_believed(name: str) -> None:
    lying = matcher(name=name, verified=name[0] == "1")
    assert lying.client == Host(CLIENT, "paranoid")
    assert lying.match_clients("PARANOID") is YES
    assert lying.match_clients(f"KNOWN LOCAL UNKNOWN {name} .example.org") is NO


@pytest.mark.parametrize(("clients", "answer"), [("10.", NO), ("10.9.", NO), (".5", NO), ("10.*", MAYBE), ("*", YES)])
def test_a_name_cannot_pass_for_an_address(clients: str, answer: Answer) -> None:
    assert matcher("1.1.1.1", "10.9.5").match_clients(clients) is answer


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("ALL@10.", YES),
        ("unknown@10.", YES),
        ("UNKNOWN@ALL", YES),
        ("u*@ALL", YES),
        ("KNOWN@ALL", NO),
        ("root@ALL", NO),
        ("ALL@9.", NO),
        ("ALL@", MAYBE),
    ],
)
def test_nobodys_user_is_known(clients: str, answer: Answer) -> None:
    assert matcher().match_clients(clients) is answer


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("ALL EXCEPT 10.", NO),
        ("ALL except 9.", YES),
        ("ALL EXCEPT 10. EXCEPT 10.1.2.3", YES),
        ("9. EXCEPT ALL", NO),
        ("10. EXCEPT", YES),
        ("EXCEPT 9.", NO),
        ("10. EXCEPT EXCEPT 10.", YES),
        ("@group", MAYBE),
        ("@group ALL", YES),
        ("ALL EXCEPT @group", MAYBE),
        ("ALL EXCEPT @group 10.", NO),
        ("9. EXCEPT @group", NO),
    ],
)
def test_except_and_doubt(clients: str, answer: Answer) -> None:
    assert matcher().match_clients(clients) is answer


@pytest.mark.parametrize(
    ("clients", "answer"),
    [
        ("/nets", YES),
        ("/outer", YES),
        ("ALL EXCEPT /nets", NO),
        ("/words", YES),
        ("/missing", NO),
        ("/unreadable", MAYBE),
        ("/loop", MAYBE),
        ("/commas", NO),
    ],
)
def test_patterns_in_files(clients: str, answer: Answer) -> None:
    files = {
        "/nets": "9.9.9.9 .example.org\n10.1.2.0/24",
        "/outer": "/nets\n",
        "/words": "EXCEPT ALL",
        "/commas": "9.9.9.9,10.1.2.3",
        "/unreadable": "unreadable",
        "/loop": "/loop",
    }
    assert matcher(files=files).match_clients(clients) is answer


def test_without_a_reader_a_file_is_in_doubt() -> None:
    assert HostMatcher(named_host(CLIENT), Host(), "conmand").match_clients("/nets") is MAYBE


def test_doubt_is_explained() -> None:
    doubtful = matcher(files={"/f": "unreadable"})
    doubtful.match_clients("@group /f 10.1.2/24 [x] ALL@")
    assert doubtful.warnings == [
        'cannot decide pattern "@group": netgroups are not supported',
        'cannot decide pattern "/f": it cannot be read: Permission denied',
        'cannot decide pattern "10.1.2/24": it is no net/mask',
        'cannot decide pattern "[x]": it is no [address]/length',
        'cannot decide pattern "": it names no host',
    ]


@pytest.mark.parametrize(
    ("daemons", "answer"),
    [
        ("conmand", YES),
        ("CONMAND", YES),
        ("sshd, conmand", YES),
        ("con*", YES),
        ("KNOWN", YES),
        ("ALL", YES),
        ("ALL EXCEPT conmand", NO),
        ("ALL EXCEPT sshd", YES),
        ("con", NO),
        ("@conmand", NO),
        ("/conmand", NO),
        ("7890", NO),
        ("conmand@192.0.2.1", YES),
        ("conmand@192.0.2.0/24", YES),
        ("conmand@192.0.2.2", NO),
        ("sshd@192.0.2.1", NO),
        ("conmand@UNKNOWN", YES),
    ],
)
def test_daemon_lists(daemons: str, answer: Answer) -> None:
    assert matcher(server="192.0.2.1").match_daemons(daemons) is answer


def test_an_unknown_server_address_is_none() -> None:
    assert matcher().match_daemons("conmand@192.0.2.1") is NO


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_wildcards_mean_what_fnmatch_means(pattern: str, name: str) -> None:
    if set(pattern) & set("*?") and name:
        expected = fnmatch.fnmatchcase(name, pattern)
        assert (matcher("::1", name).match_clients(pattern) is YES) == (expected or fnmatch.fnmatchcase("::1", pattern))


def test_any_number_of_excepts_is_read() -> None:
    assert matcher().match_clients("ALL EXCEPT " * 5001 + "ALL") is NO
    assert matcher().match_clients("ALL EXCEPT " * 5000 + "ALL") is YES


def test_many_stars_cost_little() -> None:
    assert matcher(name="a" * 2000).match_clients("*a" * 1000 + "b*") is NO


@given(st.text("conmand ALEXCPTK@/.,*?[]:0123456789-\0é", max_size=30))
def test_any_list_gets_an_answer(text: str) -> None:
    assert matcher().match_clients(text) in Answer
    assert matcher().match_daemons(text) in Answer
