"""What providers quote of a request in their errors, taken out before anything of it is stored, logged or shown.

Letters, digits and what is beyond ASCII are compared alone and without regard to case, so that a quote is found however
it is escaped, cut, or broken into lines.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from arbstr.engine import lenient_json

MARK = "[…]"

_MOST_TEXTS = 20_000  # of a request; of one with more its whole body is compared
_SHORT = 4  # letters; what is shorter is no quote
# How long a run of letters may be that a message shares with a request of up to so many bytes: in more text there is
# more that is alike by chance, and each comparison takes longer.
_SHARED = ((256 * 1024, 12), (2 * 1024 * 1024, 16), (1 << 62, 24))
_NO_PROMPT = frozenset({"model", "role", "type", "tool_choice", "service_tier", "reasoning_effort"})
_GAPS = bytes(code for code in range(128) if not chr(code).isalnum())
# One character as it was meant: an escape of JSON's, a URL's or HTML's, or itself.
_CHARACTER = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+[bfnrt]|((?:%[0-9a-fA-F]{2})+)|(&#?\w{1,8};)|.", re.DOTALL)
_QUOTED = re.compile(r"""(['"`“‘«])(.{4,}?)['"`”’»]""", re.DOTALL)
_NAMED = re.compile(r"(?=\S*\d)(?=\S*[^\W\d])\w\S{4,}\w")  # letters and digits together: a name, a number, a password


def without_quotes(message: str, body: bytes) -> str:
    """The message without what it shares with the text of a request's body; only its own words are left."""
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
    """All texts of a request but for those that name a model or a kind."""
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
    """A message's letters, folded, and where in it each of their bytes is written."""
    said, places = bytearray(), []
    for found in _CHARACTER.finditer(message):
        letters = _fold(_meant(found))
        said += letters
        places += [found.span()] * len(letters)
    return bytes(said), places


def _meant(found: re.Match[str]) -> str:
    """The character that an escape stands for; "" for those that are no letters."""
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
    """Where a message shares long runs of letters with a request. Each holds at least one of the blocks that are looked
    for first, so that most of a request is gone through once a block only."""
    length = next(length for most, length in _SHARED if len(request) <= most)
    block = length // 2
    for start in range(0, len(said) - block + 1, block):
        if said[start : start + block] in request:
            for first in range(max(0, start - length + block), min(start, len(said) - length) + 1):
                if said[first : first + length] in request:
                    yield first, first + length


def _words(message: str, texts: list[str]) -> Iterator[tuple[int, int]]:
    """What may be quoted although it is short: what is in quotes, names and numbers, and short requests."""
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
