"""Fields of a form in multipart coding (RFC 7578), which may have files of any size beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DELIMITER = b"--"
_NAME = re.compile(rb'(?im)^content-disposition:[^\r\n]*;[ \t]*name="?([^";\r\n]*)"?[^\r\n]*$')
_FILE = re.compile(rb"(?im)^content-disposition:[^\r\n]*;[ \t]*filename")
_LONGEST_HEAD = 4096
_LONGEST_VALUE = 64 * 1024
_MOST_PARTS = 1000


def is_multipart(body: bytes) -> bool:
    """Return whether a body is a form in multipart coding, by its first bytes: JSON begins otherwise."""
    return body.startswith(_DELIMITER)


def form_field(body: bytes, name: str) -> str | None:
    """Return the value of a form's first field of this name, None if it has none."""
    place = _place(body, name)
    return None if place is None else body[place[0] : place[1]].decode(errors="replace")


def with_form_field(body: bytes, name: str, value: str) -> bytes:
    """Return the form with another value in a field that it has; the form itself if it has none."""
    place = _place(body, name)
    return body if place is None else b"%b%b%b" % (body[: place[0]], value.encode(), body[place[1] :])


def _place(body: bytes, name: str) -> tuple[int, int] | None:
    """Return where the value of a field stands."""
    for head, start, end in _parts(body):
        found = _NAME.search(head)
        if found and found[1] == name.encode() and _FILE.search(head) is None and end - start <= _LONGEST_VALUE:
            return start, end
    return None


def _parts(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each part's headers, and the beginning and end of its content."""
    line_end = body.find(b"\r\n")
    if line_end < 0:
        return
    delimiter = b"\r\n" + body[:line_end].rstrip()
    at = line_end + 2
    for _ in range(_MOST_PARTS):
        head_end = body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD)
        end = -1 if head_end < 0 else body.find(delimiter, head_end + 2)
        if end < 0:
            return
        yield body[at:head_end], head_end + 4, max(end, head_end + 4)
        at = body.find(b"\r\n", end + len(delimiter)) + 2
        if at < 2:
            return
