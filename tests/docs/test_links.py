"""Links between documents lead somewhere: to files of the project, and to headings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Set, Tuple

import pytest

from tests.docs.pages import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\(([^()\s]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in _links(document):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert REPOSITORY in (target, *target.parents), f"{path} is outside of the project"
        if anchor:
            assert anchor in _anchors(target), f"{path}#{anchor}"


def _links(document: Path) -> Iterator[Tuple[str, str]]:
    for target in _LINK.findall(_without_code(document.read_text(encoding="utf-8"))):
        if "://" not in target and not target.startswith("mailto:"):
            path, _hash, anchor = target.partition("#")
            yield path, anchor


def _without_code(text: str) -> str:
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    text = re.sub(r"(?m)^ {4}.*$", "", text)
    return re.sub(r"`[^`\n]*`", "", text)


def _anchors(document: Path) -> Set[str]:
    """The headings as GitHub and GitLab name them."""
    text = re.sub(r"(?ms)^```.*?^```", "", document.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ +(.*?) *$", text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
