"""The cost of a request: exact once its tokens are known, an estimate before."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.types import Rates, Usage


def cost_msats(rates: Rates, usage: Usage) -> int | None:
    """Return the list cost in whole msats, rounded up once, as nodes do; None unless both token counts are known.

    Cached and written tokens are part of the input, priced at their own rates where configured.
    """
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None or output_tokens is None:
        return None
    at_input, at_output, total, at_cached, at_write = rates.whole
    total += input_tokens * at_input + output_tokens * at_output
    # A provider that claims more cached and written tokens than input must not make the rest negative.
    if usage.cached_tokens and at_cached != at_input:
        total += min(usage.cached_tokens, input_tokens) * (at_cached - at_input)
    if usage.cache_write_tokens and at_write != at_input:
        left = max(input_tokens - usage.cached_tokens, 0)
        total += min(usage.cache_write_tokens, left) * (at_write - at_input)
    return -(-total // rates.unit)


def costs_msats(asked: Sequence[Rates], usage: Usage) -> list[int]:
    """Return the list costs of a request at several providers, in whole msats; zeros where its tokens are unknown."""
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if usage.cached_tokens or usage.cache_write_tokens or input_tokens is None or output_tokens is None:
        return [cost_msats(rates, usage) or 0 for rates in asked]
    return [
        -(-(base + input_tokens * at_input + output_tokens * at_output) // unit)
        for (at_input, at_output, base, _, _), unit in [(rates.whole, rates.unit) for rates in asked]
    ]


def cache_saved_msats(rates: Rates, usage: Usage) -> int | None:
    """Return what the prompt cache saved by the rates, in msats, less than zero where writing it cost more.

    None if the input is unknown.
    """
    if usage.input_tokens is None:
        return None
    if not (usage.cached_tokens or usage.cache_write_tokens):
        return 0
    at_input, _, _, at_cached, at_write = rates.whole
    cached = min(usage.cached_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    return (cached * (at_input - at_cached) - written * (at_write - at_input)) // rates.unit


def expected_msats(rates: Rates, input_tokens: float, output_tokens: float) -> float:
    """Return the cost of expected tokens in msats; for comparing, not for summing."""
    return float(rates.base_fee) + input_tokens * float(rates.input) + output_tokens * float(rates.output)
