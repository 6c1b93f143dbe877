"""Keys that a request's JSON object holds twice: one reader takes the first, another the last, and both are right.

Where such a key decides what is bought or what it costs, arbstr and a provider must not read different ones.
"""

from __future__ import annotations

import re
import secrets

from arbstr.engine import documents
from arbstr.errors import InvalidJson
from arbstr.types import JsonObject

DECIDING = (
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "response_format",
)

_QUOTED = {key: f'"{key}"'.encode() for key in DECIDING}
# How letters and the underscore may be escaped, which encoders write as they are.
_LETTER = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_ESCAPES = [
    (spelling.encode(), letter.encode())
    for letter in sorted(set("".join(DECIDING)))
    for spelling in sorted({f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"})
]
_BACKSLASH = (rb"\\", rb"\u005c")  # so that none which is itself escaped begins an escape


def refuse_duplicates(body: bytes, document: JsonObject) -> None:
    """Raise `InvalidJson` that names a deciding key which `document`, the object read from `body`, holds twice.

    A key is nearly always written once in the whole body, which is soon found out; else the object itself is asked.
    """
    if b"\\" in body and b"\\u00" in body and _LETTER.search(body) is not None:
        for spelling, letter in (_BACKSLASH, *_ESCAPES):  # by plain searches: a body may be long
            body = body.replace(spelling, letter)
    several = [key for key in document if key in _QUOTED and body.count(_QUOTED[key]) > 1]
    for key in sorted(several, key=DECIDING.index):
        if _is_twice(_QUOTED[key], body):
            raise InvalidJson(
                f"The request body has the key '{key}' more than once: which one holds would differ from one provider "
                "to the next. Send it once."
            )


def _is_twice(quoted: bytes, body: bytes) -> bool:
    """Whether the body's object has this key more than once.

    It is read again with every occurrence numbered, so that none takes another's place. The same letters deeper inside,
    as a value or within a text are changed too, which does not matter here.
    """
    mark = secrets.token_hex(8)  # that no client can have foreseen
    first, *others = body.split(quoted)
    numbered = (b'"%b %d"%b' % (mark.encode(), number, other) for number, other in enumerate(others))
    read: JsonObject = documents.read(b"".join((first, *numbered)))
    return sum(name.startswith(mark) for name in read) > 1
