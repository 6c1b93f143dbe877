"""What a Routstr node sets aside of a key's balance before it serves a request; what it does not hold is refused.

It starts from the most that the model can cost, less what the prompt and the answer can't come to: the prompt by its
characters, the answer by the body's cap. All is computed as nodes do, in sats a token and floats, in their order, so
that the result is theirs to the millisat.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from arbstr.engine import lenient_json
from arbstr.engine.dialects.body import with_max_tokens
from arbstr.types import InferenceRequest, JsonObject

TOLERANCE = 0.99  # nodes reserve that much of what they compute
_CHARS_PER_TOKEN = 3
_IMAGE_TOKENS = 765  # the most that an image counts; smaller ones down to 85
_MOST_TOKENS = 1_000_000_000
_LEAST_PRICE = 1e-9  # sats a token: at lower ones a cap hardly matters
_IMAGES = ("image_url", "input_image")
_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")  # newer nodes count the largest
_COUNTED = frozenset(("chat", "completions", "messages"))  # dialects whose cap is the first of these


class ReservationTerms(NamedTuple):
    """What a node reserves for a model by: the most, in msats, and what it allows for a prompt and an answer.

    Allowances are sats, prices sats a token.
    """

    most_msats: int
    prompt_allowance: float
    completion_allowance: float
    prompt: float
    completion: float


class Measure(NamedTuple):
    """What of a request lowers its reservation: the prompt's tokens as nodes count them, and the cap on its answer.

    None: the request has nothing that the node would look at.
    """

    prompt_tokens: int | None
    cap: int | None


def reserved_msats(terms: ReservationTerms, measure: Measure) -> int:
    """Return what a node reserves for a request, in msats."""
    msats = terms.most_msats
    if measure.prompt_tokens is not None:
        msats -= _spared_msats(terms.prompt_allowance - measure.prompt_tokens * terms.prompt)
    if measure.cap is not None:
        msats -= _spared_msats(terms.completion_allowance - measure.cap * terms.completion)
    return max(1, msats)


def _spared_msats(sats: float) -> int:
    return math.floor(sats * 1000) if sats > 0 else 0


def largest_cap(terms: ReservationTerms, measure: Measure, free_msats: int) -> int | None:
    """Return the largest cap with which a request's reservation would fit into a balance; None if none would."""
    if reserved_msats(terms, measure._replace(cap=1)) > free_msats:
        return None
    low, high = _near_largest_cap(terms, reserved_msats(terms, measure._replace(cap=None)) - free_msats)
    while low < high:
        middle = (low + high + 1) // 2
        if reserved_msats(terms, measure._replace(cap=middle)) <= free_msats:
            low = middle
        else:
            high = middle - 1
    return low


def _near_largest_cap(terms: ReservationTerms, excess_msats: int) -> tuple[int, int]:
    """Return bounds of the largest cap that spares as much as a reservation without one is in excess."""
    if excess_msats <= 0 or terms.completion < _LEAST_PRICE:
        return 1, _MOST_TOKENS
    cap = (terms.completion_allowance - excess_msats / 1000) / terms.completion
    around = 0.002 / terms.completion + 2  # what is spared is cut to whole msats
    return max(1, int(cap - around)), max(1, min(int(cap + around), _MOST_TOKENS))


def measure(document: JsonObject, *, newer: bool) -> Measure:
    """Return what a node counts of a body; newer nodes (after 0.4.7) count all of its strings, and any cap.

    An image counts as the largest: a node looks at its pixels.
    """
    if newer:
        caps = [cap for name in _CAPS if (cap := _whole(document.get(name))) is not None]
        return Measure(_string_chars(document) // _CHARS_PER_TOKEN, max(caps, default=None))
    messages = document.get("messages")
    tokens = _message_tokens(messages) if isinstance(messages, list) and messages else None
    return Measure(tokens, _whole(document.get(_CAPS[0])))


def rough_measure(request: InferenceRequest, *, newer: bool) -> Measure:
    """Return the same without reading the body, never less than what a node counts, and seldom more."""
    if newer:
        return Measure(len(request.body) // _CHARS_PER_TOKEN, request.loosest_cap)
    if request.dialect not in _COUNTED:
        return Measure(None, None)
    images = request.prompt_images * _IMAGE_TOKENS
    tokens = None if request.dialect == "completions" else request.prompt_chars // _CHARS_PER_TOKEN + images
    return Measure(tokens, request.loosest_cap)


def exact_measure(request: InferenceRequest, *, newer: bool) -> Measure:
    """Return what a node counts of the body that it gets."""
    document = lenient_json.loads_or_none(with_max_tokens(request).body)
    return measure(document, newer=newer) if isinstance(document, dict) else rough_measure(request, newer=newer)


def _message_tokens(messages: list[Any]) -> int:
    """Return the tokens of messages' texts, which alone count, and of their images."""
    chars = images = 0
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            chars += len(content)
        elif isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            chars += sum(_length(part.get("text")) for part in parts if part.get("type") == "text")
            images += sum(part.get("type") in _IMAGES for part in parts)
    return chars // _CHARS_PER_TOKEN + images * _IMAGE_TOKENS


def _string_chars(document: Any) -> int:
    """Return the characters of all strings and keys in a document."""
    chars, ahead = 0, [document]
    while ahead:
        value = ahead.pop()
        if isinstance(value, str):
            chars += len(value)
        elif isinstance(value, list):
            ahead += value
        elif isinstance(value, dict):
            ahead += [*value, *value.values()]
    return chars


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def _whole(value: Any) -> int | None:
    """Return a cap as a node reads it, who takes texts and fractions too; None if it can't."""
    try:
        return min(int(value), _MOST_TOKENS)
    except (TypeError, ValueError, OverflowError):
        return None
