"""How names and paths cross between bytes and text.

ConMan's files and wire are bytes without a character set. Inside the programs names and paths are ``str``: UTF-8 where
they are UTF-8, and each other byte as one surrogate escape, so that every byte string survives the way there and back.
The interpreter's own file system encoding is not used: it depends on the locale the daemon happened to be started in.
"""

from __future__ import annotations


def decode(data: bytes) -> str:
    """The text of ``data``; never fails, and ``encode`` gives ``data`` back."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes of a name, path or message that came from :func:`decode` or from our own source."""
    return text.encode("utf-8", "surrogateescape")
