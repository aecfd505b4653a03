"""The terminal line discipline of a pretend node: keys in, echo and whole lines out."""

from __future__ import annotations

import enum
from typing import Tuple, Union

MAX_LINE_BYTES = 1024
"""Keys beyond this are not taken. Ours; Linux has 4096."""

ESC = 0x1B


class Key(enum.Enum):
    """A key that ends the line without giving one."""

    INTERRUPT = "^C"
    EOF = "^D on an empty line"


class LineEditor:
    """Knows backspace, DEL, ^U, ^W, ^C and ^D, and swallows cursor keys. CR, CR LF and CR NUL are one Enter."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._after_cr = False
        self._escape = b""

    def clear(self) -> None:
        """Forget what was typed, as when another program takes over the terminal."""
        self._line.clear()

    def receive_byte(self, byte: int, echo: bool) -> Tuple[bytes, Union[bytes, Key, None]]:
        """The echo of one key, and the line (without its end) or special key that it completes."""
        after_cr, self._after_cr = self._after_cr, byte == 0x0D
        if self._in_escape(byte) or (after_cr and byte in (0x00, 0x0A)):
            return b"", None
        if byte in (0x0D, 0x0A):
            line = bytes(self._line)
            self._line.clear()
            return b"\r\n", line
        if byte == 0x03:
            self._line.clear()
            return b"^C\r\n", Key.INTERRUPT
        if byte == 0x04:
            return b"", None if self._line else Key.EOF
        if byte in (0x08, 0x7F, 0x15, 0x17):
            return self._erase(byte, echo), None
        if byte < 0x20 or len(self._line) >= MAX_LINE_BYTES:
            return b"", None
        self._line.append(byte)
        return (bytes([byte]) if echo else b""), None

    def _erase(self, byte: int, echo: bool) -> bytes:
        if byte == 0x15:
            kept = 0
        elif byte == 0x17:
            kept = self._line.rstrip().rfind(b" ") + 1
        else:
            kept = max(0, len(self._line) - 1)
        erased = len(self._line) - kept
        del self._line[kept:]
        return b"\b \b" * erased if echo else b""

    def _in_escape(self, byte: int) -> bool:
        """Whether ``byte`` belongs to a cursor key's sequence (``ESC [ ... letter`` or ``ESC O letter``)."""
        if byte == ESC:
            self._escape = b"\x1b"
        elif self._escape == b"\x1b":
            self._escape = b"\x1b[" if byte in b"[O" else b""
        elif self._escape:
            if 0x40 <= byte <= 0x7E:
                self._escape = b""
        else:
            return False
        return True
