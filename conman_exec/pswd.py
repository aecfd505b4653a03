"""The password file of the device scripts, ``conman.pswd``, read as the original's scripts read it.

A record is a line ``HOST : USER : PASSWORD [: K_g]``. What the original makes of a file it makes to the byte: sites
have files that were written by trial. Added are a look-up without a user, and warnings, which never quote a field.

Pure but for :func:`read`. Secrets are of a type that does not show them.
"""

from __future__ import annotations

import os
import re
import stat

from conman_exec.record import Record
from conman_exec.secret import Secret
from conman_exec.tcl_regex import InvalidExpression, compile_host

# What the original strips from a field (observed): Tcl's white space in Latin-1, and NUL.
_BLANKS = b"\0\t\n\v\f\r \x85\xa0"

_LINE_END = re.compile(rb"\r\n|\r|\n")
_COMMENT = re.compile(rb"[ \t]*#")
_PLAIN = re.compile(rb"[0-9A-Za-z_.-]+\Z")
_DOT = ord(".")


class Credentials(Record):
    """What a record gives. An empty password or K_g is none: None."""

    user: bytes
    password: Secret | None
    kg: Secret | None


class _Record(Record):
    line: int
    host: bytes
    user: bytes | None  # None: the line has one field, or none
    password: Secret | None
    kg: Secret | None


class PasswordFile:
    """The records of a file's contents. ``name`` stands in warnings only.

    A daemon looks thousands of hosts up in thousands of records. Most host fields are names or addresses and need no
    expression: they are found by an index. The expressions of the others are compiled once.
    """

    def __init__(self, contents: bytes, name: str = "", warnings: tuple[str, ...] = ()) -> None:
        self._name = name
        self._records = [
            _record(number, line)
            for number, line in enumerate(_LINE_END.split(contents), 1)
            if not _COMMENT.match(line)
        ]
        self._expressions: dict[bytes, re.Pattern[str] | InvalidExpression] = {}
        # Places of records by the text of their fields; by where a field's dots are first, as a dot is any character.
        self._plain: dict[tuple[int, ...], dict[bytes, list[int]]] = {}
        self._others: list[int] = []
        for place, record in enumerate(self._records):
            if _PLAIN.match(record.host):
                dots = tuple(at for at, byte in enumerate(record.host) if byte == _DOT)
                self._plain.setdefault(dots, {}).setdefault(record.host, []).append(place)
            else:
                self._others.append(place)
        self._file_warnings = warnings
        self.warnings = list(warnings)

    def look_up(self, host: bytes, user: bytes | None = None) -> Credentials | None:
        """The first record for this host, and for this user unless that is None; None when there is none.

        The search ends at that record even when its password is empty. Records before it whose host is no valid
        expression are skipped and left in ``warnings``, which are this look-up's and the file's.
        """
        self.warnings = list(self._file_warnings)
        text = host.decode("latin-1")
        for record in (self._records[place] for place in self._candidates(host)):
            # To the original a missing field is an empty one, so that even a blank line is a record for the empty user.
            if record.user is None if user is None else (record.user or b"") != user:
                # Its expression decides nothing; but say once that it is wrong.
                self._matches(record, text)
            elif self._matches(record, text):
                return Credentials(record.user or b"", record.password, record.kg)
        return None

    def _candidates(self, host: bytes) -> list[int]:
        """The places of the records that may match the host, in order."""
        found = list(self._others)
        for dots, fields in self._plain.items():
            if not dots or dots[-1] < len(host):
                masked = bytearray(host)
                for at in dots:
                    masked[at] = _DOT
                found += fields.get(bytes(masked), ())
        return sorted(found)

    def _matches(self, record: _Record, host: str) -> bool:
        if not record.host:
            return True
        expression = self._expression(record.host)
        if isinstance(expression, InvalidExpression):
            warning = f"{self._name} line {record.line} ignored: invalid host expression: {expression}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return False
        return expression.search(host) is not None

    def _expression(self, field: bytes) -> re.Pattern[str] | InvalidExpression:
        found = self._expressions.get(field)
        if found is None:
            try:
                found = compile_host(field)
            except InvalidExpression as error:
                found = error
            self._expressions[field] = found
        return found


def _record(line: int, text: bytes) -> _Record:
    fields = [part.strip(_BLANKS) for part in text.split(b":")]
    user, password, kg = [*fields[1:4], None, None, None][:3]
    return _Record(line, fields[0], user, Secret(password) if password else None, Secret(kg) if kg else None)


def read(path: str) -> PasswordFile:
    """The file's records; of a missing or unreadable file none, as with the original.

    A file that others may read is used all the same, with a warning.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            contents = file.read()
    except FileNotFoundError:
        return PasswordFile(b"", path)
    except OSError as error:
        return PasswordFile(b"", path, (f"cannot read {path}: {error.strerror}; going on without passwords",))
    readable = (f"{path} is readable by others; its mode should be 0600",) if mode & stat.S_IROTH else ()
    return PasswordFile(contents, path, readable)
