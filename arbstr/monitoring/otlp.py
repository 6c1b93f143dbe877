"""Traces as OTLP has them in Protocol Buffers: only what arbstr tells, which is a dozen fields.

https://opentelemetry.io/docs/specs/otlp/ names the messages; field numbers are those of its .proto files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from arbstr.types import value_object

Value = str | bool | int | float
SERVER: Final = 2  # kinds of spans: a request that is served
CLIENT: Final = 3  # one that is made
_ERROR = 2  # the status
_LONGEST = 300  # characters of a text


@value_object
class Span:
    """One span. Ids are bytes, `parent_id` empty for none; times are epoch milliseconds."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: Literal[2, 3]
    starts_ms: int
    ends_ms: int
    failed: bool
    attributes: Mapping[str, Value | None]


def encode(resource: Mapping[str, Value], spans: Iterable[Span], version: str) -> bytes:
    """Return the body of an export of traces."""
    scope = _text(1, "arbstr") + _text(2, version)
    scope_spans = _part(1, scope) + b"".join(_part(2, _span(span)) for span in spans)
    resource_spans = _part(1, _attributes(1, resource)) + _part(2, scope_spans)
    return _part(1, resource_spans)


def _span(span: Span) -> bytes:
    parts = [
        _part(1, span.trace_id),
        _part(2, span.span_id),
        _part(4, span.parent_id) if span.parent_id else b"",
        _text(5, span.name),
        _number(6, span.kind),
        _instant(7, span.starts_ms),
        _instant(8, span.ends_ms),
        _attributes(9, span.attributes),
        _part(15, _number(3, _ERROR)) if span.failed else b"",
    ]
    return b"".join(parts)


def _attributes(field: int, attributes: Mapping[str, Value | None]) -> bytes:
    known = ((key, value) for key, value in attributes.items() if value is not None)
    return b"".join(_part(field, _text(1, key) + _part(2, _any(value))) for key, value in known)


def _any(value: Value) -> bytes:
    match value:
        case bool():
            return _number(2, int(value))
        case int():
            return _number(3, value)
        case float():
            return _tag(4, 1) + struct.pack("<d", value)
        case _:
            return _text(1, value)


def _text(field: int, text: str) -> bytes:
    return _part(field, text[:_LONGEST].encode("utf-8", "replace"))


def _part(field: int, data: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(data)) + data


def _number(field: int, number: int) -> bytes:
    return _tag(field, 0) + _varint(number & (2**64 - 1))


def _instant(field: int, at_ms: int) -> bytes:
    return _tag(field, 1) + struct.pack("<Q", max(0, at_ms) * 1_000_000)


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
