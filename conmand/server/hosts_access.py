"""``server tcpwrappers=on``: may this client connect, by /etc/hosts.allow and /etc/hosts.deny?

The original asks libwrap, which RHEL 8 and later no longer have. This module knows the rules of hosts_access(5) and the
options of hosts_options(5); the lists inside a rule are ``host_patterns``'. ``evaluate`` is pure; ``check`` reads the
files, and may hang as long as they do: the daemon calls it in a thread.

Nothing is executed for a rule: spawn, twist, aclexec, banners and user are refused with the client. Wherever a rule or
a pattern cannot be carried out or decided, the client is refused unless it would be let in either way.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from conman.text import decode
from conmand.server.host_patterns import Answer, HostMatcher, named_host

ALLOW_PATH = "/etc/hosts.allow"
DENY_PATH = "/etc/hosts.deny"

#: Bytes of hosts.allow, hosts.deny or a ``/file`` pattern. Ours; a larger file counts as one that cannot be read.
MAX_FILE_BYTES = 4 * 1024 * 1024

_FACILITY = "kern|user|mail|daemon|auth|authpriv|syslog|lpr|news|uucp|cron|ftp|local[0-7]"
_LEVEL = "emerg|panic|alert|crit|err|error|warning|warn|notice|info|debug"

#: What is accepted and has no effect on us, and the values it takes.
_HARMLESS: Dict[str, str] = {
    "severity": rf"(({_FACILITY})\.)?({_LEVEL})",
    "keepalive": r"",
    "linger": r"[0-9]+",
    "rfc931": r"(0*[1-9][0-9]*)?",
    "nice": r"([+-]?[0-9]+)?",
    "umask": r"0*[0-7]{1,3}",
    "setenv": r"[^\s=].*",
}
_UNSUPPORTED = ("aclexec", "banners", "group", "spawn", "twist", "user")


@dataclass(frozen=True)
class ClientInfo:
    """Who connects. ``hostname`` is ``None`` if the address has no name; it is verified if it leads back to it."""

    address: str
    hostname: Optional[str] = None
    hostname_verified: bool = False


@dataclass(frozen=True)
class Decision:
    """``rule`` is what decided, as ``file:line: text``, or empty if nothing matched. ``warnings`` are for the log."""

    granted: bool
    rule: str = ""
    warnings: Tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    """A logical line, with the number of its first physical line. ``complete`` is false if the file ends within it."""

    number: int
    text: str
    complete: bool


class _Refused(Exception):
    """The rule matched and cannot be carried out."""


def check(
    client: ClientInfo,
    server_address: Optional[str] = None,
    *,
    daemon: str = "conmand",
    allow_path: str = ALLOW_PATH,
    deny_path: str = DENY_PATH,
) -> Decision:
    """Read the files and decide; a file that does not exist is empty, one that cannot be read refuses everybody."""
    try:
        allow_text, deny_text = _read_rules(allow_path), _read_rules(deny_path)
    except OSError as error:
        return Decision(False, "", (f'cannot read "{error.filename}": {error.strerror}; refusing the client',))
    return evaluate(
        allow_text,
        deny_text,
        client,
        server_address,
        daemon,
        allow_name=allow_path,
        deny_name=deny_path,
        read_file=_read,
    )


def evaluate(
    allow_text: str,
    deny_text: str,
    client: ClientInfo,
    server_address: Optional[str] = None,
    daemon: str = "conmand",
    *,
    allow_name: str = "hosts.allow",
    deny_name: str = "hosts.deny",
    read_file: Optional[Callable[[str], str]] = None,
) -> Decision:
    """The first rule that matches in ``allow_text`` grants, else the first in ``deny_text`` refuses, else all may come.

    ``server_address`` is the address that the client reached (``None``: not known), for ``daemon@address`` lists. The
    names are those of the files in ``rule`` and ``warnings``; ``read_file`` reads ``/file`` patterns.
    """
    matcher = HostMatcher(
        client=named_host(client.address, client.hostname, client.hostname_verified),
        server=named_host(server_address),
        daemon=daemon,
        read_file=read_file,
    )
    decision = _decide_by(allow_text, allow_name, matcher, grants=True)
    if decision is None:
        decision = _decide_by(deny_text, deny_name, matcher, grants=False)
    if decision is None:
        decision = Decision(True)
    return Decision(decision.granted, decision.rule, tuple(matcher.warnings))


def _decide_by(text: str, name: str, matcher: HostMatcher, *, grants: bool) -> Optional[Decision]:
    """What this file says, or ``None``; ``grants`` is what a rule without options does here."""
    for line in _logical_lines(text):
        seen = len(matcher.warnings)
        granted = _apply(line, matcher, grants)
        where = f"{name}:{line.number}"
        matcher.warnings[seen:] = [f"{where}: {warning}" for warning in matcher.warnings[seen:]]
        if granted is not None:
            return Decision(granted, f"{where}: {line.text.strip()}")
    return None


def _apply(line: _Line, matcher: HostMatcher, grants: bool) -> Optional[bool]:
    """Whether the rule grants; ``None`` if it says nothing about the client. Every doubt leads to the safe side."""
    if not line.complete or "\0" in line.text:
        # libwrap does the same: a last line without its newline never grants, and in hosts.deny refuses everybody.
        cause = "it holds a NUL byte" if line.complete else "the file ends without a newline"
        consequence = "rule passed over" if grants else "client refused"
        matcher.warnings.append(f"cannot read the line: {cause}; {consequence}")
        return None if grants else False
    fields = _split_fields(line.text)
    seen = len(matcher.warnings)
    matched = _match_rule(fields, matcher)
    if matched is not Answer.MAYBE:
        del matcher.warnings[seen:]  # what could not be decided did not matter
    if matched is Answer.NO:
        return None
    try:
        granted = _run_options(fields[2:], grants)
    except _Refused as reason:
        matcher.warnings.append(f"cannot carry out the rule: {reason}; client refused")
        return False
    if matched is Answer.YES:
        return granted
    consequence = "rule passed over" if granted else "client refused"
    matcher.warnings[seen:] = [f"{warning}; {consequence}" for warning in matcher.warnings[seen:]]
    return None if granted else False


def _match_rule(fields: List[str], matcher: HostMatcher) -> Answer:
    matched = matcher.match_daemons(fields[0])
    if matched is Answer.NO:
        return matched
    if len(fields) > 1 and fields[1].strip():
        return min(matched, matcher.match_clients(fields[1]))
    matcher.warnings.append("cannot decide the rule: it has no client list")
    return Answer.MAYBE


def _run_options(options: List[str], grants: bool) -> bool:
    """What the rule does in the end; raises ``_Refused``."""
    for position, option in enumerate(options):
        keyword, value = _split_option(option)
        if keyword in ("allow", "deny"):
            if value:
                raise _Refused(f'option "{keyword}" takes no value')
            if position + 1 < len(options):
                raise _Refused(f'option "{keyword}" is not the last one')
            return keyword == "allow"
        if keyword in _UNSUPPORTED:
            raise _Refused(f'option "{keyword}" is not supported')
        if keyword not in _HARMLESS:
            raise _Refused(f'option "{option.strip()}" is not known')
        if not re.fullmatch(_HARMLESS[keyword], value, re.IGNORECASE | re.DOTALL):
            raise _Refused(f'option "{keyword}" has the bad value "{value}"')
    return grants


def _split_option(option: str) -> Tuple[str, str]:
    """``keyword value`` or ``keyword = value``; the keyword in lower case."""
    keyword, *value = re.split(r"\s*=\s*|\s+", option.strip(), maxsplit=1)
    return keyword.lower(), "".join(value)


def _split_fields(text: str) -> List[str]:
    """The parts between colons; a colon in brackets (an IPv6 address) is none, nor is ``\\:`` in an option."""
    fields = [""]
    for part in re.findall(r"\\:|\[[^]]*\]|.", text, re.DOTALL):
        if part == "\\:" and len(fields) > 2:
            fields[-1] += ":"
        elif part.endswith(":"):
            fields[-1] += part[:-1]
            fields.append("")
        else:
            fields[-1] += part
    return fields


def _logical_lines(text: str) -> Iterator[_Line]:
    """Lines with their continuations joined, without blank lines and comments."""
    joined = ""
    first = 1
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1], 1):
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        yield from _rule(_Line(first, joined + line, True))
        joined = ""
        first = number + 1
    rest = joined + lines[-1]
    if rest or first < len(lines):
        yield _Line(first, rest, False)


def _rule(line: _Line) -> Iterator[_Line]:
    if line.text.strip() and not line.text.startswith("#"):
        yield line


def _read_rules(path: str) -> str:
    try:
        return _read(path)
    except FileNotFoundError:
        return ""


def _read(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return decode(data)
