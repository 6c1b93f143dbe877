"""What a request costs: exactly once its tokens are known, roughly before."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context

from arbstr.types import Rates, Usage

# Wide enough that no product or sum of rates and tokens is ever rounded before the end.
_EXACT = Context(prec=1000)


def cost_msats(rates: Rates, usage: Usage) -> int | None:
    """The cost in whole msats, rounded once, half up; None unless both token counts are known.

    Cached tokens are part of the input and priced at their own rate where there is one.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    # A provider that claims more cached tokens than input must not make the rest negative.
    cached = 0 if rates.cached_input is None else min(usage.cached_tokens, usage.input_tokens)
    total = _EXACT.fma(rates.input, usage.input_tokens - cached, rates.base_fee)
    total = _EXACT.fma(rates.output, usage.output_tokens, total)
    if rates.cached_input is not None:
        total = _EXACT.fma(rates.cached_input, cached, total)
    return int(total.to_integral_value(ROUND_HALF_UP))


def expected_msats(rates: Rates, input_tokens: float, output_tokens: float) -> float:
    """The cost in msats of tokens that are only expected; for comparing, not for summing."""
    return float(rates.base_fee) + input_tokens * float(rates.input) + output_tokens * float(rates.output)
