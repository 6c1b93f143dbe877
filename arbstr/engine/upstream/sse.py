"""Server-sent events without I/O: where events end in a stream of bytes, and their data.

Format: the event stream of the WHATWG HTML standard, section 9.2. Lines end in LF, CRLF or CR; an empty line ends an
event; lines that begin with a colon are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

MAX_HELD = 64 * 1024  # bytes of one incomplete event that are held back
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEGINNINGS = (b":", b"data:", b"event:", b"id:", b"retry:")

# Atomic groups: a CRLF is one line end and must not be read as two.
_LINE_END = re.compile(rb"(?>\r\n|\n|\r)")
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_HALF_AN_END = b"\r\n\r"  # where lines end in CRLF, the last LF is still to come
_LONGEST_END = 4


def encode_event(data: bytes, *, name: bytes = b"") -> bytes:
    """Return a server-sent event with this data, which has no line break."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data


class EventFramer:
    """Cuts a stream of bytes at the ends of events, and alters none: `feed` and `flush` return what went in.

    An incomplete event is held back up to `MAX_HELD` bytes; a longer one passes as it comes, and `between_events` is
    False until it has ended.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._scanned = 0  # bytes of `_held` known to hold no event end
        self.between_events = True

    def feed(self, data: bytes) -> bytes:
        """Add bytes; return the bytes of all events that are now complete, possibly none."""
        if not self._held and data.endswith(b"\n\n"):
            self.between_events = True
            return data
        self._held += data
        end = self._last_end()
        if end:
            self.between_events = True
            return self._take(end)
        self._scanned = max(0, len(self._held) - _LONGEST_END + 1)
        if self.between_events and len(self._held) <= MAX_HELD:
            return b""
        self.between_events = False
        # The last bytes stay: an event end may be split across reads.
        return self._take(self._scanned)

    def flush(self) -> bytes:
        """Return the bytes still held when the stream has ended."""
        return self._take(len(self._held))

    def _last_end(self) -> int:
        """Return the index just after the last event end in the held bytes, 0 if there is none."""
        if b"\r" not in self._held:
            found = self._held.rfind(b"\n\n", self._scanned)
            return found + 2 if found >= 0 else 0
        end = 0
        for match in _EVENT_END.finditer(self._held, self._scanned):
            if match.end() < len(self._held) or match[0] != _HALF_AN_END:
                end = match.end()
        return end

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        self._scanned = max(0, self._scanned - count) if self._held else 0
        return taken


def looks_like_events(start: bytes) -> bool | None:
    """Return whether a body is an event stream, by its first field; None while more bytes are needed."""
    text = start.removeprefix(BYTE_ORDER_MARK).lstrip()
    if text.startswith(_BEGINNINGS):
        return True
    may_be = BYTE_ORDER_MARK.startswith(start) or any(beginning.startswith(text) for beginning in _BEGINNINGS)
    return None if may_be else False


def events(block: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield each event of a block of complete events: its raw bytes, and its data, None if it has none."""
    for raw in raw_events(block):
        yield raw, data_of(raw)


def raw_events(block: bytes) -> list[bytes]:
    """Return the bytes of each event of a block of complete events."""
    if block.find(b"\r") < 0:  # a plain search is twenty times as fast
        *whole, rest = block.split(b"\n\n")
        raws = [each + b"\n\n" for each in whole]
    else:
        ends = [0, *(match.end() for match in _EVENT_END.finditer(block))]
        raws = [block[start:end] for start, end in pairwise(ends)]
        rest = block[ends[-1] :]
    return [*raws, rest] if rest else raws


def data_of(raw: bytes) -> bytes | None:
    """Return the data of one event: its `data` lines joined by LF; None if it has no such line."""
    if raw[-2:] == b"\n\n" and raw.find(b"\r") < 0:
        line_end = raw.find(b"\n")
        if raw[:6] == b"data: " and line_end == len(raw) - 2:
            return raw[6:-2]  # how almost every event looks
        after = line_end + 7
        if raw[line_end:after] == b"\ndata: " and raw[:7] == b"event: " and raw.find(b"\n", after) == len(raw) - 2:
            return raw[after:-2]  # and how those with a name do
    if raw.find(b"data") < 0:  # comments, and empty lines by the hundred thousand
        return None
    lines = [
        line[6:] if line.startswith(b"data: ") else line[5:]
        for line in _LINE_END.split(raw.removeprefix(b"\xef\xbb\xbf"))
        if line.startswith(b"data:")
    ]
    if not lines:
        return b"" if b"data" in _LINE_END.split(raw) else None
    return b"\n".join(lines)
