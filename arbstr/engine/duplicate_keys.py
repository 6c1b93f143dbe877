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

_QUOTED = [(key, f'"{key}"'.encode()) for key in DECIDING]
# Escapes that stand for a letter or an underscore, which encoders write as they are; and any escape at all.
_LETTER = re.compile(rb"\\u00(5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_ESCAPE = re.compile(rb"\\(?:u00(5[fF]|6[1-9a-fA-F]|7[0-9aA])|.)", re.DOTALL)


def refuse_duplicates(body: bytes, document: JsonObject) -> None:
    """Raise `InvalidJson` that names a deciding key which `document`, the object read from `body`, holds twice.

    A key is nearly always written once in the whole body, which is soon found out; else the object itself is asked.
    """
    if b"\\u00" in body and _LETTER.search(body) is not None:
        body = _ESCAPE.sub(_unescaped, body)
    for key, quoted in _QUOTED:
        if key in document and body.count(quoted) > 1 and _is_twice(quoted, body):
            raise InvalidJson(
                f"The request body has the key '{key}' more than once: which one holds would differ from one provider "
                "to the next. Send it once."
            )


def _unescaped(found: re.Match[bytes]) -> bytes:
    letter: bytes | None = found[1]
    return found[0] if letter is None else bytes.fromhex(letter.decode())


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
