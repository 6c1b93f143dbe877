"""What a dialect has to tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import orjson

from arbstr.mock.completion import Completion
from arbstr.mock.failures import Failure
from arbstr.mock.parsed_request import ParsedRequest
from arbstr.types import JsonObject


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer: an item for each token, what ends it, its end mark, and what comes where it is `cut` short."""

    tokens: list[bytes] = field(repr=False)
    finish: bytes
    done: bytes
    cut: bytes = b""


class Dialect(Protocol):
    """A dialect: its name, its path below `/v1`, and how requests, answers and errors look in it."""

    name: str
    path: str

    def parse(self, document: JsonObject) -> ParsedRequest | None:
        """Parse a request that names a model. Return None if it is none of this dialect."""

    def body(self, answer: Completion) -> JsonObject:
        """Return an answer in one piece."""

    def stream(self, answer: Completion) -> Stream:
        """Return an answer as events."""

    def error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error."""

    def error_event(self, failure: Failure, position: int) -> bytes:
        """Return the event of an error in a stream, after `position` tokens."""


def event(document: JsonObject) -> bytes:
    """Encode a server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def named_event(document: JsonObject) -> bytes:
    """Encode a server-sent event whose name is the document's type."""
    return f"event: {document['type']}\n".encode() + event(document)
