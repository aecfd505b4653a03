"""The manual pages, as far as the tests have to understand mdoc(7): sections, list items, and words without macros."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple

REPOSITORY = Path(__file__).resolve().parents[2]
MAN = REPOSITORY / "man"
PAGES = sorted(MAN.glob("*.[1-9]"))

_MACROS = ("Cm", "Ar", "Fl", "Ns", "No", "Op", "Nm", "Ic", "Li", "Ql", "Pa", "Sy", "Xr", "Pq", "Xo", "Xc")
_ESCAPES = (("\\&", ""), ("\\(dq", '"'), ("\\-", "-"), ("\\e", "\\"))


@dataclass(frozen=True)
class Item:
    """A list's ``.It``: its section and subsection, and its words."""

    section: str
    subsection: str
    words: Tuple[str, ...]


def lines(page: Path) -> Iterator[str]:
    """The page's lines, those that a backslash continues joined."""
    yield from page.read_text(encoding="utf-8").replace("\\\n", "").splitlines()


def items(page: Path) -> List[Item]:
    section = subsection = ""
    found = []
    for line in lines(page):
        macro, _blank, rest = line.partition(" ")
        if macro == ".Sh":
            section, subsection = rest, ""
        elif macro == ".Ss":
            subsection = rest
        elif macro == ".It":
            found.append(Item(section, subsection, tuple(rest.split())))
    return found


def plain(words: Tuple[str, ...]) -> str:
    """What the reader sees, without blanks."""
    text = "".join(word for word in words if word not in _MACROS)
    for escape, meaning in _ESCAPES:
        text = text.replace(escape, meaning)
    return text


def text(page: Path, section: Optional[str] = None) -> str:
    """The words of a page, or of one section, without macros; good enough to look for a word."""
    current, parts = "", []
    for line in lines(page):
        if line.startswith(".Sh "):
            current = line[4:]
        if section is None or current == section:
            parts += [word for word in re.sub(r"^\.", "", line).split() if word not in _MACROS]
    found = " ".join(parts)
    for escape, meaning in _ESCAPES:
        found = found.replace(escape, meaning)
    return found


def options(page: Path, command: Tuple[str, ...] = ()) -> Set[Tuple[str, str]]:
    """Option and argument of each item that describes one; those of ``.It Cm COMMAND Fl ...`` for a ``command``."""
    found = set()
    lead = tuple(word for name in command for word in ("Cm", name))
    for item in items(page):
        words = item.words
        if words[: len(lead)] != lead:
            continue
        words = words[len(lead) :]
        if words[:1] == ("Fl",) and len(words) in (2, 4):
            found.add((f"-{words[1]}", words[3] if len(words) == 4 else ""))
    return found


def examples(page: Path) -> Iterator[Tuple[str, str]]:
    """File name and text of each display that stands after a ``.\\" example: FILE``."""
    name: Optional[str] = None
    content: Optional[List[str]] = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith('.\\" example: '):
            name = line.split()[-1]
        elif line.startswith(".Bd") and name is not None:
            content = []
        elif line == ".Ed" and name is not None and content is not None:
            yield name, "".join(f"{one}\n" for one in content)
            name = content = None
        elif content is not None:
            for escape, meaning in _ESCAPES:
                line = line.replace(escape, meaning)
            content.append(line)


def settings(page: Path) -> Dict[str, Dict[str, str]]:
    """For each subsection its keys and what stands behind their equals sign."""
    found: Dict[str, Dict[str, str]] = {}
    for item in items(page):
        key, equals, value = " ".join(word for word in item.words if word not in ("Cm", "No")).partition(" = ")
        if equals:
            for escape, meaning in _ESCAPES:
                value = value.replace(escape, meaning)
            found.setdefault(item.subsection, {})[key] = value
    return found
