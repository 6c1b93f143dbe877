"""What a provider's answer says about itself: tokens used, sats charged. Never trusts a type."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from arbstr.types import JsonObject, Usage

# What is beyond these is no count and no charge but a fault, and so unknown: neither rows nor budgets shall believe it.
_MOST_TOKENS = 10**9
_MOST_MSATS = 10**12
_COSTS = (("usage", "cost"), ("cost",), ("metadata", "routstr", "cost"))
_DIGITS = re.compile("[0-9]{1,15}")


# Where answers and chunks have their `usage` object: everybody, Groq, Moonshot.
_PLACES: tuple[tuple[str | int, ...], ...] = (("usage",), ("x_groq", "usage"), ("choices", 0, "usage"))
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_ANSWER_DETAILS = ("completion_tokens_details", "output_tokens_details")
_REASONING = (*((details, "reasoning_tokens") for details in _ANSWER_DETAILS), ("reasoning_tokens",))
_CACHED_BESIDE = ("cache_read_input_tokens",)  # Anthropic's: beside its `input_tokens`, not part of them
_WRITTEN_BESIDE = ("cache_creation_input_tokens",)
_CACHED = (
    *((details, "cached_tokens") for details in _PROMPT_DETAILS),
    _CACHED_BESIDE,
    ("prompt_cache_hit_tokens",),  # DeepSeek's
    ("cached_tokens",),  # Moonshot's
)
_WRITTEN = (
    *((details, name) for details in _PROMPT_DETAILS for name in ("cache_write_tokens", "cache_creation_tokens")),
    _WRITTEN_BESIDE,
    ("cache_write_tokens",),
)


class Counts(NamedTuple):
    """The tokens of `usage` objects as they stand there, None where they don't say.

    `beside`: what was cached and written stands beside the input, not in it.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    written: int | None = None
    beside: bool = False

    def usage(self) -> Usage:
        """What they say in all. Whatever `total` says more than the rest was left out there.

        That is reasoning, which xAI and Gemini count apart, or else what was cached.
        """
        tokens_in, tokens_out, cached, written = self.input, self.output, self.cached or 0, self.written or 0
        if tokens_in is not None and self.beside:
            tokens_in += cached + written
        if tokens_in is not None and tokens_out is not None and self.total is not None:
            left_out = self.total - tokens_in - tokens_out
            if left_out > 0 and not self.reasoning and left_out == cached + written:
                tokens_in += left_out
            elif left_out > 0:
                tokens_out += min(left_out, self.reasoning or left_out)
        cached = min(cached, tokens_in or 0)
        return Usage(tokens_in, tokens_out, cached, min(written, (tokens_in or 0) - cached))


def usage_of(document: Any) -> Usage | None:
    """The tokens of a whole answer, None if it has no `usage` object."""
    counts = counts_of(document)
    return None if counts is None else counts.usage()


def counts_of(document: Any) -> Counts | None:
    """What the `usage` objects of an answer or chunk say, None if it has none."""
    counts = None
    for place in _PLACES:
        usage = _dig(document, *place)
        if isinstance(usage, dict):
            counts = merge(counts, _counts(usage))
    return counts


def merge(counts: Counts | None, newer: Counts) -> Counts:
    """The newer counts, but for what they don't say or have as zero where the older ones have a number."""
    if counts is None:
        return newer
    return Counts._make(new or (new if old is None else old) for old, new in zip(counts, newer, strict=True))


def _counts(usage: JsonObject) -> Counts:
    prompt = _count(usage.get("prompt_tokens"))
    cached, written = _first(usage, _CACHED), _first(usage, _WRITTEN)
    beside = _CACHED_BESIDE[0] in usage or _WRITTEN_BESIDE[0] in usage
    return Counts(
        input=_count(usage.get("input_tokens")) if prompt is None else prompt,
        output=_first(usage, (("completion_tokens",), ("output_tokens",))),
        total=_count(usage.get("total_tokens")),
        reasoning=_first(usage, _REASONING),
        cached=cached,
        written=written,
        # Some have them beside `prompt_tokens` too. No part is more than the whole.
        beside=beside and (prompt is None or (cached or 0) + (written or 0) > prompt),
    )


def _first(usage: JsonObject, places: tuple[tuple[str, ...], ...]) -> int | None:
    """The first count that is there and not zero, else zero if any is there."""
    found = [count for place in places if (count := _count(_dig(usage, *place))) is not None]
    return next(filter(None, found), 0 if found else None)


def charged_msats(document: Any) -> int | None:
    """What the provider says it charged, in msats; None where it does not say.

    Routstr nodes give a total in three places (`usage.cost`, `cost`, `metadata.routstr.cost`); their fields in whole
    sats are floored and not to be used.
    """
    found = [_count(_dig(document, *place, "total_msats"), _MOST_MSATS) for place in _COSTS]
    return next(filter(None, found), 0 if 0 in found else None)


def charged_header_msats(value: str | None) -> int | None:
    """The same from the header `x-routstr-cost-msats`."""
    return _count(int(value), _MOST_MSATS) if value is not None and _DIGITS.fullmatch(value) else None


def _dig(document: Any, *path: str | int) -> Any:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and isinstance(name, int) and name < len(document):
            document = document[name]
        else:
            return None
    return document


def _count(value: Any, most: int = _MOST_TOKENS) -> int | None:
    """A whole number from 0 to `most`, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        return None
    return value
