"""What a request costs: exactly once its tokens are known, roughly before."""

from __future__ import annotations

from arbstr.types import Rates, Usage


def cost_msats(rates: Rates, usage: Usage) -> int | None:
    """The cost in whole msats, rounded once, half up; None unless both token counts are known.

    Cached tokens are part of the input and priced at their own rate where there is one.
    """
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None or output_tokens is None:
        return None
    at_input, at_output, total, at_cached = rates.whole
    total += input_tokens * at_input + output_tokens * at_output
    if usage.cached_tokens and at_cached != at_input:
        # A provider that claims more cached tokens than input must not make the rest negative.
        total += min(usage.cached_tokens, input_tokens) * (at_cached - at_input)
    return (2 * total + rates.unit) // (2 * rates.unit)


def expected_msats(rates: Rates, input_tokens: float, output_tokens: float) -> float:
    """The cost in msats of tokens that are only expected; for comparing, not for summing."""
    return float(rates.base_fee) + input_tokens * float(rates.input) + output_tokens * float(rates.output)
