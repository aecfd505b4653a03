"""Tcl's advanced regular expressions (re_syntax(n)), as far as a host field of ``conman.pswd`` can contain them.

The original matches hosts with Tcl's expressions, and sites' files are written in them. Most mean the same to Python's
``re``; some that Tcl refuses Python accepts (``n{1``, ``(?i)n1`` after an anchor) and the other way round (``a||b`` is
fine, a lone ``]`` too), and a record with a refused expression is skipped, so the difference decides who gets which
password. Hence a translation that refuses what Tcl refuses, and writes the rest with nothing but what ``re`` surely
means the same. Observed with Tcl 8.6.

Text is Latin-1: one character a byte, as the original reads it. A host field never holds a colon, so character classes
like ``[[:digit:]]`` and groups like ``(?:...)`` need no translation: what is left of them after the split is refused.
"""

from __future__ import annotations

import re

# Tcl's classes, for the 256 characters there are.
_ALL = [chr(code) for code in range(256)]
_DIGITS = frozenset("0123456789")
_SPACES = frozenset("\t\n\v\f\r \x85\xa0")
_WORD = frozenset(c for c in _ALL if c.isalpha() or c in _DIGITS or c == "_")
_CLASSES = {"d": _DIGITS, "s": _SPACES, "w": _WORD}

_CHARACTER_ESCAPES = {"a": 7, "b": 8, "B": 92, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
# Collating elements with a name of more than one letter that a host could need (POSIX).
_COLLATING = {"hyphen": "-", "hyphen-minus": "-", "period": ".", "full-stop": ".", "underscore": "_", "low-line": "_"}

MAX_REPEAT = 255  # of {m,n}: Tcl's own limit


class InvalidExpression(ValueError):
    """Tcl would refuse the expression."""


def compile_host(field: bytes) -> re.Pattern[str]:
    """The expression of a host field, to be given to ``search`` with the host's bytes decoded as Latin-1.

    It is the field between ``^`` and ``$``, put there as text, as the original does: so ``n1|n2`` also matches
    ``n1xyz``, and a field that ends in a backslash loses its ``$``. Raises :class:`InvalidExpression`.
    """
    try:
        return re.compile(_Translator("^" + field.decode("latin-1") + "$").translate(), re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:  # what re cannot do, though Tcl may
        raise InvalidExpression(str(error)) from error


def _constraint(letter: str) -> str:
    """What a constraint escape is in ``re``, whose own ``\\b`` has another idea of a word."""
    word = _set(_WORD)
    before, after = f"(?<={word})", f"(?={word})"
    no_before, no_after = f"(?<!{word})", f"(?!{word})"
    return {
        "A": r"\A",
        "Z": r"\Z",
        "m": no_before + after,
        "M": before + no_after,
        "y": f"(?:{no_before}{after}|{before}{no_after})",
        "Y": f"(?:{no_before}{no_after}|{before}{after})",
    }[letter]


class _Translator:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.groups_opened = self.groups_closed = 0

    def translate(self) -> str:
        out = self.alternatives()
        if self.at < len(self.text):
            raise InvalidExpression("unbalanced parenthesis")
        return out

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def next(self) -> str:
        if self.at >= len(self.text):
            raise InvalidExpression("unexpected end")
        self.at += 1
        return self.text[self.at - 1]

    def alternatives(self, lookahead: bool = False) -> str:
        branches = [self.branch(lookahead)]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.branch(lookahead))
        return "|".join(branches)

    def branch(self, lookahead: bool) -> str:
        out = []
        while self.at < len(self.text) and self.peek() not in ("|", ")"):
            atom, repeatable = self.atom(lookahead)
            repeat = self.quantifier()
            if repeat and not repeatable:
                raise InvalidExpression("nothing to repeat")
            if repeat and self.quantifier():
                raise InvalidExpression("a repeat of a repeat")
            out.append(f"(?:{atom}){repeat}" if repeat else atom)
        return "".join(out)

    def atom(self, lookahead: bool) -> tuple[str, bool]:
        """The next atom or constraint, and whether it may be repeated."""
        char = self.next()
        if char == "(":
            return self.group(lookahead)
        if char == "[":
            return self.bracket(), True
        if char == "\\":
            return self.escape(lookahead)
        if char == "^":
            return r"\A", False
        if char == "$":
            return r"\Z", False
        if char == ".":
            return ".", True
        if char in "*+?" or (char == "{" and self.peek() in _DIGITS and self.peek()):
            raise InvalidExpression("nothing to repeat")
        return re.escape(char), True

    def group(self, lookahead: bool) -> tuple[str, bool]:
        if self.peek() != "?":
            # Inside a lookahead Tcl does not count groups.
            number = 0
            if not lookahead:
                self.groups_opened += 1
                number = self.groups_opened
            inner = self.alternatives(lookahead)
            self.close()
            if number:
                self.groups_closed += 1
                return f"(?P<g{number}>{inner})", True
            return f"(?:{inner})", True
        self.at += 1
        kind = self.next()
        if kind == "#":
            end = self.text.find(")", self.at)
            self.at = end + 1 if end >= 0 else len(self.text)  # an endless comment is allowed
            return "", False
        if kind not in "=!":
            raise InvalidExpression("unknown group")
        inner = self.alternatives(True)
        self.close()
        return f"(?{kind}{inner})", False

    def close(self) -> None:
        if self.peek() != ")":
            raise InvalidExpression("unbalanced parenthesis")
        self.at += 1

    def quantifier(self) -> str:
        char = self.peek()
        if char and char in "*+?":
            self.at += 1
            repeat = char
        elif char == "{" and self.peek(2)[1:] in _DIGITS and len(self.peek(2)) == 2:
            repeat = self.bound()
        else:
            return ""
        if self.peek() == "?":  # the shortest match instead of the longest: the same for "does it match"
            self.at += 1
        return repeat

    def bound(self) -> str:
        match = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}").match(self.text, self.at)
        if not match:
            raise InvalidExpression("invalid repetition count")
        self.at = match.end()
        low = int(match[1])
        high = int(match[3]) if match[3] else (low if not match[2] else None)
        if low > MAX_REPEAT or (high is not None and (high > MAX_REPEAT or high < low)):
            raise InvalidExpression("invalid repetition count")
        return f"{{{low},{'' if high is None else high}}}"

    def escape(self, lookahead: bool) -> tuple[str, bool]:
        char = self.peek()
        if char and char in "AZmMyY":
            self.at += 1
            return _constraint(char), False
        if char and char in "dswDSW":
            self.at += 1
            members = _CLASSES[char.lower()]
            return _set(members if char.islower() else frozenset(_ALL) - members), True
        number = re.compile("[1-9][0-9]*").match(self.text, self.at)
        if number and (len(number[0]) == 1 or int(number[0]) <= self.groups_closed):
            self.at = number.end()
            if lookahead or not 1 <= int(number[0]) <= self.groups_closed:
                raise InvalidExpression("invalid back reference")
            return f"(?P=g{number[0]})", True
        return re.escape(self.character()), True

    def character(self) -> str:
        """The character that an escape stands for; the backslash has been read."""
        char = self.next()
        if not (char.isascii() and char.isalnum()):
            if char.isalpha():
                raise InvalidExpression("invalid escape")
            return char
        if char in _CHARACTER_ESCAPES:
            return chr(_CHARACTER_ESCAPES[char])
        if char == "c":
            return chr(ord(self.next()) & 0x1F)
        digits = {"x": "[0-9a-fA-F]{1,2}", "u": "[0-9a-fA-F]{1,4}", "U": "[0-9a-fA-F]{1,8}"}.get(char)
        if digits is None and char in "01234567":
            self.at -= 1
            digits, base = "[0-7]{1,3}", 8
        elif digits is None:
            raise InvalidExpression("invalid escape")
        else:
            base = 16
        match = re.compile(digits).match(self.text, self.at)
        if not match:
            raise InvalidExpression("invalid escape")
        self.at = match.end()
        return chr(int(match[0], base) & 0x10FFFF if int(match[0], base) <= 0x10FFFF else 0xFFFD)

    def bracket(self) -> str:
        negated = self.peek() == "^"
        self.at += negated
        members: set[str] = set()
        first = True
        while first or self.peek() != "]":
            start = self.member(first)
            first = False
            if self.peek() == "-" and self.peek(2) != "-]":
                self.at += 1
                end = self.member(False, range_end=True)
                if len(start) != 1 or len(end) != 1 or min(start) > min(end):
                    raise InvalidExpression("invalid character range")
                members.update(chr(code) for code in range(ord(min(start)), min(ord(min(end)), 255) + 1))
            else:
                members |= start
        self.at += 1
        chosen = frozenset(members) & frozenset(_ALL)
        return _set(frozenset(_ALL) - chosen if negated else chosen)

    def member(self, first: bool, range_end: bool = False) -> frozenset[str]:
        """One element of a bracket expression: the characters it stands for."""
        char = self.next()
        if char == "-" and not first and not range_end and self.peek() != "]":
            raise InvalidExpression("invalid character range")
        if char == "\\":
            kind = self.peek()
            if kind and kind in "dsw":
                self.at += 1
                if range_end:
                    raise InvalidExpression("invalid character range")
                return _CLASSES[kind] | frozenset(("", "\0range"))  # never one character: no range starts here
            if kind and kind in "DSWAZmMyY":
                raise InvalidExpression("invalid escape")
            if kind and kind in "123456789" and self.peek(2)[1:] not in _DIGITS:
                raise InvalidExpression("invalid back reference")
            return frozenset(self.character())
        if char == "[" and self.peek() in (".", "=") and self.peek():
            mark = self.next()
            end = self.text.find(mark + "]", self.at)
            if end < 0:
                raise InvalidExpression("unbalanced bracket")
            name = self.text[self.at : end]
            self.at = end + 2
            name = _COLLATING.get(name, name)
            if len(name) != 1:
                raise InvalidExpression("invalid collating element")
            return frozenset(name)
        return frozenset(char)


def _set(members: frozenset[str]) -> str:
    if not members:
        return "(?!)"
    return "[" + "".join(re.escape(c) for c in sorted(members) if len(c) == 1) + "]"
