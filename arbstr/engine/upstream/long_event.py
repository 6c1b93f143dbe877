"""A shortened copy of an event that is too long to be held back, so that it can be read once complete."""

from __future__ import annotations

import re

MAX_KEPT = 1024 * 1024  # bytes of one event
_LONGEST_TEXT = 256
_SHORTENED = 32

# A quote, a line end (never inside a JSON string), or the text between them; never half an escape.
_PIECE = re.compile(rb'["\r\n]|(?:[^"\\\r\n]++|\\.)++', re.DOTALL)


class LongEvent:
    """An event of any size without the content of its long strings: megabytes of content, a few bytes of usage."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._cut = b""  # half an escape at the end of the last part
        self._in_text = False
        self._is_whole = True

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, part: bytes) -> None:
        """Add the next part."""
        if not self._is_whole:
            return
        part = self._cut + part
        backslashes = len(part) - len(part.rstrip(b"\\"))
        self._cut = part[len(part) - backslashes % 2 :]
        short = _PIECE.sub(self._shortened, part[: len(part) - len(self._cut)])
        room = MAX_KEPT - len(self._kept)
        self._is_whole = len(short) <= room
        self._kept += short[:room]

    def take(self) -> bytes:
        """Return the shortened event and reset; empty if it was still too long."""
        # A cut may have been within a character.
        text = self._kept.decode(errors="replace").encode() if self._is_whole else b""
        self._kept.clear()
        self._cut, self._in_text, self._is_whole = b"", False, True
        return text

    def _shortened(self, found: re.Match[bytes]) -> bytes:
        piece: bytes = found[0]
        if piece == b'"':
            self._in_text = not self._in_text
        elif piece in b"\r\n":
            self._in_text = False
        elif self._in_text and len(piece) > _LONGEST_TEXT:
            return piece[:_SHORTENED].partition(b"\\")[0]
        return piece
