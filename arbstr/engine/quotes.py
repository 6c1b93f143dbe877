"""Remove quotes of a request from providers' errors before they are stored, logged or shown.

Only letters, digits and non-ASCII characters are compared, ignoring case, so that a quote is found however it is
escaped, cut, or broken into lines.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from arbstr.engine import lenient_json

MARK = "[…]"

_MOST_TEXTS = 20_000  # of a request; beyond, its whole body is compared
_SHORT = 4  # letters; anything shorter is no quote
# (request bytes up to, run of letters that counts as a quote): longer texts share more by chance, and each comparison
# takes longer.
_SHARED = ((256 * 1024, 12), (2 * 1024 * 1024, 16), (1 << 62, 24))
_NO_PROMPT = frozenset({"model", "role", "type", "tool_choice", "service_tier", "reasoning_effort"})
_GAPS = bytes(code for code in range(128) if not chr(code).isalnum())
# One character: an escape of JSON, a URL or HTML, or itself.
_CHARACTER = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+[bfnrt]|((?:%[0-9a-fA-F]{2})+)|(&#?\w{1,8};)|.", re.DOTALL)
_QUOTED = re.compile(r"""(['"`“‘«])(.{4,}?)['"`”’»]""", re.DOTALL)
_NAMED = re.compile(r"(?=\S*\d)(?=\S*[^\W\d])\w\S{4,}\w")  # letters and digits together: a name, a number, a password


def without_quotes(message: str, body: bytes) -> str:
    """Return the message without the text that it shares with a request's body."""
    said, places = _letters(message)
    if len(said) < _SHORT:
        return message
    texts = _texts(body)
    request = _fold("\0".join(texts))
    shared = bytearray(len(message))
    for start, end in _runs(said, request):
        _mark(shared, places[start][0], places[end - 1][1])
    for start, end in _words(message, texts):
        if _fold(message[start:end]) in request:
            _mark(shared, start, end)
    return _replaced(message, shared) if any(shared) else message


def _texts(body: bytes) -> list[str]:
    """Return all texts of a request except names of models and types."""
    texts: list[str] = []
    waiting: list[Any] = [lenient_json.loads_or_none(body)]
    while waiting and len(texts) < _MOST_TEXTS and len(waiting) < _MOST_TEXTS:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [inner for name, inner in value.items() if name not in _NO_PROMPT]
    return [body.decode(errors="replace")] if waiting else texts


def _letters(message: str) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a message's letters, folded, and the span in the message of each of their bytes."""
    said, places = bytearray(), []
    for found in _CHARACTER.finditer(message):
        letters = _fold(_meant(found))
        said += letters
        places += [found.span()] * len(letters)
    return bytes(said), places


def _meant(found: re.Match[str]) -> str:
    """Return the character that an escape stands for; "" if it is no letter."""
    if found[1]:
        return chr(int(found[1], 16))
    if found[2]:
        return unquote(found[2])
    if found[3]:
        return html.unescape(found[3])
    return found[0] if len(found[0]) == 1 else ""


def _fold(text: str) -> bytes:
    return text.casefold().encode(errors="replace").translate(None, _GAPS)


def _runs(said: bytes, request: bytes) -> Iterator[tuple[int, int]]:
    """Yield the spans of long runs of letters that a message shares with a request.

    Each contains at least one of the blocks searched for first, so most of a request is scanned once per block only.
    """
    length = next(length for most, length in _SHARED if len(request) <= most)
    block = length // 2
    for start in range(0, len(said) - block + 1, block):
        if said[start : start + block] in request:
            for first in range(max(0, start - length + block), min(start, len(said) - length) + 1):
                if said[first : first + length] in request:
                    yield first, first + length


def _words(message: str, texts: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of possible short quotes: quoted words, names with digits, and short requests."""
    for quoted in _QUOTED.finditer(message):
        if len(_fold(quoted[2])) >= _SHORT:
            yield quoted.span(2)
    for named in _NAMED.finditer(message):
        yield named.span()
    lower = message.lower()
    for text in texts:
        short = text.strip().lower()
        if _SHORT <= len(short) < 2 * _SHARED[0][1]:
            for found in re.finditer(rf"(?<!\w){re.escape(short)}(?!\w)", lower) if short in lower else ():
                yield found.span()


def _mark(shared: bytearray, start: int, end: int) -> None:
    shared[start:end] = b"\1" * (end - start)


def _replaced(message: str, shared: bytearray) -> str:
    parts, start = [], 0
    for found in re.finditer(b"\x01+", shared):
        parts += [message[start : found.start()], MARK]
        start = found.end()
    return "".join([*parts, message[start:]])
