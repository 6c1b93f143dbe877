"""Usage and charges stated in a provider's response. Never trusts a type."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from arbstr.types import JsonObject, Usage

# Larger claims are cut to these: still absurd, so they are marked and capped, but small enough for sums.
_MOST_TOKENS = 10**9
_MOST_MSATS = 10**12
_COSTS = (("usage", "cost"), ("cost",), ("metadata", "routstr", "cost"), ("response", "usage", "cost"))
_NOTHING: JsonObject = {}
_PLAIN = {"prompt_tokens", "completion_tokens", "total_tokens"}
_PLAIN_TOO = {"input_tokens", "output_tokens", "total_tokens"}
_DIGITS = re.compile("[0-9]{1,400}")


class Counts(NamedTuple):
    """The token counts of `usage` objects as stated, None where absent.

    `beside`: cached and written tokens are not included in the input.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    written: int | None = None
    beside: bool = False

    def usage(self) -> Usage:
        """Return the usage. If `total` exceeds input plus output, the difference was left out of one of them.

        That is reasoning, which xAI and Gemini count apart, or else cached tokens.
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
        tokens_in, tokens_out = _at_most(tokens_in), _at_most(tokens_out)
        cached = min(cached, tokens_in or 0)
        return Usage(tokens_in, tokens_out, cached, min(written, (tokens_in or 0) - cached))


def _at_most(tokens: int | None) -> int | None:
    """Return a sum of counts, cut as each of them is."""
    return None if tokens is None else min(tokens, _MOST_TOKENS)


def usage_of(document: Any) -> Usage | None:
    """Return the usage of a whole response, None if it has no `usage` object."""
    if (usage := _plain_usage(document)) is not None:
        return usage
    counts = counts_of(document)
    return None if counts is None else counts.usage()


def usage_or_rest(document: Any) -> Usage | None:
    """Return the usage of a whole response that need not state both counts: the other is the rest of the total."""
    counts = counts_of(document)
    if counts is None or (counts.input is None and counts.output is None and counts.total is None):
        return None
    known = (counts.input or 0) + (counts.output or 0)
    rest = max((counts.total or 0) - known, 0)
    tokens_in = rest if counts.input is None else counts.input
    tokens_out = (0 if counts.input is None else rest) if counts.output is None else counts.output
    return counts._replace(input=tokens_in, output=tokens_out).usage()


def input_only(document: Any) -> Usage | None:
    """Return the usage of a whole response whose tokens are all input; some providers state their total alone."""
    counts = counts_of(document)
    if counts is None:
        return None
    tokens_in = counts.total if counts.input is None else counts.input
    return Usage(tokens_in, None if tokens_in is None else 0)


def _plain_usage(document: Any) -> Usage | None:
    """Return the usage of a single object with the usual three counts only, as most are; else None."""
    usage = document.get("usage") if isinstance(document, dict) and "x_groq" not in document else None
    if not isinstance(usage, dict) or usage.keys() != _PLAIN or _has_usage_in_choice(document):
        return None
    tokens_in, tokens_out, total = usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]
    if not type(tokens_in) is type(tokens_out) is type(total) is int:
        return None
    adds_up = 0 <= tokens_in <= tokens_in + tokens_out == total <= _MOST_TOKENS
    return Usage(tokens_in, tokens_out) if adds_up else None


def _has_usage_in_choice(document: JsonObject) -> bool:
    choices = document.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict) and "usage" in choices[0]


def counts_of(document: Any) -> Counts | None:
    """Return the counts in the `usage` objects of a response or chunk, None if it has none."""
    counts = None
    for usage in _usages(document):
        counts = merge(counts, _counts(usage))
    return counts


def _usages(document: Any) -> list[JsonObject]:
    """Return the `usage` objects: Groq has its own place for them, Moonshot the last choice of a stream."""
    if not isinstance(document, dict):
        return []
    found = [document.get("usage")]
    if "x_groq" in document:
        found.append(_get_path(document, "x_groq", "usage"))
    if _has_usage_in_choice(document):
        found.append(document["choices"][0]["usage"])
    return [usage for usage in found if isinstance(usage, dict)]


def merge(counts: Counts | None, newer: Counts) -> Counts:
    """Return the newer counts, filled from the older ones where they are absent or zero."""
    if counts is None:
        return newer
    return Counts._make(new or (new if old is None else old) for old, new in zip(counts, newer, strict=True))


def _counts(usage: JsonObject) -> Counts:
    """Read every known spelling: OpenAI's two, Anthropic's, and others' additions."""
    get = usage.get
    if usage.keys() <= _PLAIN:  # the common case, on every request
        return Counts(_count(get("prompt_tokens")), _count(get("completion_tokens")), _count(get("total_tokens")))
    if usage.keys() <= _PLAIN_TOO:
        return Counts(_count(get("input_tokens")), _count(get("output_tokens")), _count(get("total_tokens")))
    of_prompt = _table(get("prompt_tokens_details")) or _table(get("input_tokens_details"))
    of_answer = _table(get("completion_tokens_details")) or _table(get("output_tokens_details"))
    prompt = _first(get("prompt_tokens"))
    read, written = get("cache_read_input_tokens"), get("cache_creation_input_tokens")
    # Anthropic's are beside its `input_tokens`, not part of them; zeros of that name stand beside OpenAI's details too.
    beside = "cached_tokens" not in of_prompt and bool(_first(read, written))
    cached = _first(of_prompt.get("cached_tokens"), read, get("prompt_cache_hit_tokens"), get("cached_tokens"))
    written = _first(
        of_prompt.get("cache_write_tokens"), of_prompt.get("cache_creation_tokens"), written, get("cache_write_tokens")
    )
    return Counts(
        input=_first(get("input_tokens")) if prompt is None else prompt,
        output=_first(get("completion_tokens"), get("output_tokens")),
        total=_first(get("total_tokens")),
        reasoning=_first(of_answer.get("reasoning_tokens"), get("reasoning_tokens")),
        cached=cached,
        written=written,
        # Some have them beside `prompt_tokens` too. No part is more than the whole.
        beside=beside and (prompt is None or (cached or 0) + (written or 0) > prompt),
    )


def _table(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else _NOTHING


def _first(*values: Any) -> int | None:
    """Return the first non-zero count among the values, else zero if any is a count."""
    found = None
    for value in values:
        if value is not None and (count := _count(value)) is not None:
            if count:
                return count
            found = count
    return found


def charged_msats(document: Any) -> int | None:
    """Return what the provider says it charged, in msats; None where it does not say.

    Routstr nodes state a total in three places (`usage.cost`, `cost`, `metadata.routstr.cost`); their fields in whole
    sats are floored and not used.
    """
    found = [_count(_get_path(document, *place, "total_msats"), _MOST_MSATS) for place in _COSTS]
    return next(filter(None, found), 0 if 0 in found else None)


def charged_header_msats(value: str | None) -> int | None:
    """Return the charge in msats from the header `x-routstr-cost-msats`."""
    return _count(int(value), _MOST_MSATS) if value is not None and _DIGITS.fullmatch(value) else None


def _get_path(document: Any, *path: str | int) -> Any:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and isinstance(name, int) and name < len(document):
            document = document[name]
        else:
            return None
    return document


def _count(value: Any, most: int = _MOST_TOKENS) -> int | None:
    """Return a whole number, cut at `most`; None if the value is none."""
    if type(value) is int and 0 <= value <= most:  # as nearly all are
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, most)
