"""The messages of docs/messages.md are worded as in the code, so that who looks for one finds it."""

from __future__ import annotations

import ast
import re
from typing import List

from tests.docs.pages import REPOSITORY

PLACEHOLDER = re.compile(r"\b(?:CON|DEV|CLIENT|PATH|WHY|Ns?)\b")


def test_messages_are_worded_as_in_the_code() -> None:
    words = "\n".join(_constants())
    page = (REPOSITORY / "docs" / "messages.md").read_text()
    messages = re.findall(r"(?m)^\| [A-Z]+ \*? ?\| `([^`]+)`", page)
    assert len(messages) > 50
    for message in messages:
        for part in PLACEHOLDER.split(message):
            assert part.strip(' :"') in words, f"{part!r} of {message!r}"


def _constants() -> List[str]:
    """Every string, and piece of one, in the daemon's code."""
    return [
        node.value
        for file in (REPOSITORY / "conmand").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
