"""The lists of hosts.allow and hosts.deny: does this client, or this daemon, match ``ALL EXCEPT 10.0.0.0/8 .evil.org``?

It knows the patterns of hosts_access(5) and their EXCEPT. It does not know rules, options or files: whoever calls it
brings a function that reads a ``/file`` pattern.

Hard here: some patterns cannot be decided (a netgroup, a file that cannot be read, a mask that makes no sense). libwrap
takes those as "no match", which opens a door wherever "no match" means access. Here a list answers YES, NO or MAYBE,
and whoever owns the rule turns a MAYBE to the safe side.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Sequence, Union

#: ``/file`` patterns within ``/file`` patterns. Ours: it ends a file that names itself.
MAX_FILE_DEPTH = 8

_UNKNOWN = "unknown"
_PARANOID = "paranoid"
_NUMERIC = re.compile(r"(?=.*[0-9])[0-9.*?]+")  # a pattern for IPv4 addresses, whatever else it could match
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%[^]]*)?\](?:/([0-9]+))?")

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Answer(enum.IntEnum):
    """Ordered, so that ``max`` is "or" and ``min`` is "and"."""

    NO = 0
    MAYBE = 1
    YES = 2

    @property
    def inverse(self) -> Answer:
        return Answer(2 - self)


@dataclass(frozen=True)
class Host:
    """One end of a connection; what is not known about it reads ``unknown``, a name that is false ``paranoid``."""

    address: str = _UNKNOWN
    name: str = _UNKNOWN


def named_host(address: Optional[str], name: Optional[str] = None, name_verified: bool = True) -> Host:
    """A host as the patterns see it.

    ``name_verified`` is false if the name does not lead back to the address; such a name is not believed, nor is one
    that looks like an address. An IPv4 address in IPv6 form counts as IPv4.
    """
    if address is None:
        shown = _UNKNOWN
    else:
        parsed = _parse_address(address)
        shown = address if parsed is None else str(parsed)
    if not name:
        return Host(shown)
    if not name_verified or _parse_address(name) is not None:
        return Host(shown, _PARANOID)
    return Host(shown, name)


@dataclass
class HostMatcher:
    """Evaluates lists and collects in ``warnings`` what it could not decide.

    ``read_file`` returns a ``/file`` pattern's text and raises ``OSError``; ``None`` reads no files.
    """

    client: Host
    server: Host
    daemon: str
    read_file: Optional[Callable[[str], str]] = None
    warnings: List[str] = field(default_factory=list)

    def match_daemons(self, text: str) -> Answer:
        """Whether a daemon list means our daemon, reached at the address it was reached at."""
        return _match_list(_split(text), self._match_daemon)

    def match_clients(self, text: str) -> Answer:
        """Whether a client list means the client."""
        return _match_list(_split(text), self._match_client)

    def _match_daemon(self, pattern: str) -> Answer:
        name, at, host = _split_at(pattern)
        if not at:
            return _answer(_match_text(name, self.daemon))
        return min(_answer(_match_text(name, self.daemon)), self._match_host(host, self.server))

    def _match_client(self, pattern: str) -> Answer:
        user, at, host = _split_at(pattern)
        if not at:
            return self._match_host(pattern, self.client)
        # We ask no ident server, so that nobody's name is known.
        return min(_answer(_match_text(user, _UNKNOWN)), self._match_host(host, self.client))

    def _match_host(self, pattern: str, host: Host, depth: int = 0) -> Answer:
        if not pattern:
            return self._undecided(pattern, "it names no host")
        if pattern.startswith("@"):
            return self._undecided(pattern, "netgroups are not supported")
        if pattern.startswith("/"):
            return self._match_file(pattern, host, depth)
        word = pattern.upper()
        if word == "KNOWN":
            return _answer(_is_known(host.address) and _is_known(host.name))
        if word == "LOCAL":
            return _answer("." not in host.name and _is_known(host.name))
        if pattern.startswith("["):
            return self._match_ipv6(pattern, host)
        if "/" in pattern:
            return self._match_ipv4_net(pattern, host)
        return self._match_name(pattern, host)

    def _match_name(self, pattern: str, host: Host) -> Answer:
        if _match_text(pattern, host.address):
            return Answer.YES
        if not _NUMERIC.fullmatch(pattern):
            return _answer(_match_text(pattern, host.name))
        if ("*" in pattern or "?" in pattern) and _match_text(pattern, host.name):
            # libwrap lets everyone in by 10.* who calls his machine 10.example.org.
            return self._undecided(pattern, "it matches the client's name, not its address")
        return Answer.NO

    def _match_file(self, path: str, host: Host, depth: int) -> Answer:
        """Any pattern of the file (none if it does not exist); blanks separate them, there is no EXCEPT, no comment."""
        if depth == MAX_FILE_DEPTH:
            return self._undecided(path, "files name each other too deeply")
        if self.read_file is None:
            return self._undecided(path, "no files are read here")
        try:
            text = self.read_file(path)
        except FileNotFoundError:
            return Answer.NO
        except OSError as error:
            return self._undecided(path, f"it cannot be read: {error.strerror}")
        return _any(text.split(), lambda pattern: self._match_host(pattern, host, depth + 1))

    def _match_ipv4_net(self, pattern: str, host: Host) -> Answer:
        net_text, _, mask_text = pattern.partition("/")
        net = _parse_ipv4(net_text)
        mask = _parse_mask(mask_text)
        if net is None or mask is None:
            return self._undecided(pattern, "it is no net/mask")
        address = _parse_address(host.address)
        matches = isinstance(address, ipaddress.IPv4Address) and int(address) & mask == net
        if matches and mask_text in ("0", "255.255.255.255"):
            # Plain words for most, but libwrap takes neither: 0.0.0.0/0.0.0.0 and the bare address are its ways.
            return self._undecided(pattern, f"libwrap does not take /{mask_text} as a mask")
        return _answer(matches)

    def _match_ipv6(self, pattern: str, host: Host) -> Answer:
        found = _BRACKETED.fullmatch(pattern)
        prefix = int((found[2] or "128")[:4]) if found else 0
        try:
            net = ipaddress.IPv6Address(found[1]) if found and prefix <= 128 else None
        except ValueError:
            net = None
        if net is None:
            return self._undecided(pattern, "it is no [address]/length")
        address = _parse_address(host.address)
        if not isinstance(address, ipaddress.IPv6Address):
            return Answer.NO
        return _answer((int(address) ^ int(net)) >> (128 - prefix) == 0)

    def _undecided(self, pattern: str, why: str) -> Answer:
        self.warnings.append(f'cannot decide pattern "{pattern}": {why}')
        return Answer.MAYBE


def _split(text: str) -> List[str]:
    """The elements of a list: blanks, TABs, CRs and commas separate them."""
    return [word for word in re.split("[ ,\t\r\n]+", text) if word]


def _split_at(pattern: str) -> Sequence[str]:
    """``a@b`` as ``a``, ``@``, ``b``; a pattern that begins with ``@`` is a netgroup and stays whole."""
    head, at, tail = pattern[1:].partition("@")
    return pattern[:1] + head, at, tail


def _match_list(words: Sequence[str], match_one: Callable[[str], Answer]) -> Answer:
    """``a EXCEPT b EXCEPT c`` is a, unless it is b, unless that is c."""
    lists: List[List[str]] = [[]]
    for word in words:
        if word.upper() == "EXCEPT":
            lists.append([])
        else:
            lists[-1].append(word)
    answer = Answer.NO
    for one_list in reversed(lists):
        answer = min(_any(one_list, match_one), answer.inverse)
    return answer


def _any(words: Sequence[str], match_one: Callable[[str], Answer]) -> Answer:
    answer = Answer.NO
    for word in words:
        answer = max(answer, match_one(word))
        if answer is Answer.YES:
            break
    return answer


def _match_text(pattern: str, text: str) -> bool:
    """The patterns that all names share: ALL, KNOWN, ``.tail``, ``head.``, ``*`` and ``?``, or the name itself."""
    pattern, text = pattern.lower(), text.lower()
    if pattern == "all":
        return True
    if pattern == "known":
        return _is_known(text)
    if pattern.startswith("."):
        return len(text) > len(pattern) and text.endswith(pattern)
    if pattern.endswith("."):
        return text.startswith(pattern)
    if "*" in pattern or "?" in pattern:
        return _match_wildcards(pattern, text)
    return pattern == text


def _match_wildcards(pattern: str, text: str) -> bool:
    """``*`` and ``?`` only; in time proportional to both lengths, however many stars there are."""
    at = star = mark = 0
    after_star = -1
    while star < len(text):
        if at < len(pattern) and pattern[at] == "*":
            after_star, mark = at + 1, star
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[star]):
            at += 1
            star += 1
        elif after_star >= 0:
            mark += 1
            at, star = after_star, mark
        else:
            return False
    return not pattern[at:].strip("*")


def _is_known(text: str) -> bool:
    return text.lower() not in (_UNKNOWN, _PARANOID)


def _answer(matches: bool) -> Answer:
    return Answer.YES if matches else Answer.NO


def _parse_address(text: str) -> Optional[Address]:
    """An address without its scope; IPv4 in IPv6 form is IPv4. ``None`` if ``text`` is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _parse_ipv4(text: str) -> Optional[int]:
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _parse_mask(text: str) -> Optional[int]:
    """The mask of ``24`` or ``255.255.255.0`` as a number."""
    if re.fullmatch("[0-9]{1,3}", text):
        length = int(text)
        return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF if length <= 32 else None
    return _parse_ipv4(text)
