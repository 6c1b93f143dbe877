"""OpenAI's embeddings: vectors made up from the text, the same for the same text."""

from __future__ import annotations

import base64
import math
import struct
from random import Random
from typing import Any

from arbstr.mock.billing import Bill
from arbstr.mock.parsed_request import ParsedRequest, is_count
from arbstr.types import JsonObject

_DIMENSIONS = 256  # real models have 1,536 or more; fewer are quicker to send
_MOST_DIMENSIONS = 4096
_MOST_INPUTS = 2048


def parse(document: JsonObject) -> ParsedRequest | None:
    """Parse a request. Return None if it has no input, or too many."""
    inputs = _inputs(document.get("input"))
    if not 0 < len(inputs) <= _MOST_INPUTS:
        return None
    return ParsedRequest(
        model=document["model"],
        document=document,
        stream=False,
        max_tokens=None,
        prompt=tuple(text if isinstance(text, str) else "...." * len(text) for text in inputs),
        question="",
        caching="none",
    )


def body(request: ParsedRequest, charged: Bill | None) -> JsonObject:
    """Return the vectors, as numbers or, where that is asked for, as base64 of little-endian 32-bit floats."""
    wanted = request.document.get("dimensions")
    dimensions = min(wanted, _MOST_DIMENSIONS) if is_count(wanted) else _DIMENSIONS
    packed = request.document.get("encoding_format") == "base64"
    vectors = [_vector(text, dimensions) for text in _inputs(request.document.get("input"))]
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(vector) if packed else vector}
        for i, vector in enumerate(vectors)
    ]
    answer = {"object": "list", "data": data, "model": request.model}
    if charged is None:
        return answer
    return answer | charged.fields({"prompt_tokens": charged.tokens.input, "total_tokens": charged.tokens.input})


def _inputs(given: Any) -> list[Any]:
    """Return the inputs: one text, one list of tokens, or a list of either."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        return []
    if all(isinstance(token, int) for token in given):
        return [given]
    return given if all(isinstance(one, str | list) for one in given) else []


def _vector(text: Any, dimensions: int) -> list[float]:
    """Return a vector of length 1; the first dimensions of a longer one point the same way."""
    random = Random(repr(text))
    numbers = [random.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
