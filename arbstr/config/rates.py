"""Rates as the file has them, and as they are reckoned with."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from arbstr.types import Rates

if TYPE_CHECKING:
    from arbstr import shapes

RATES = ("input_rate", "output_rate", "cached_input_rate", "cache_write_rate", "base_fee")  # a provider's, or a model's


def exact_rates(sats: Mapping[str, float | None]) -> Rates:
    """Convert rates in sats per 1000 tokens, which are msats per token, to exact decimals."""
    exact = {name: None if rate is None else _exact(rate) for name, rate in sats.items()}
    return Rates(
        input=exact["input_rate"] or Decimal(0),
        output=exact["output_rate"] or Decimal(0),
        base_fee=(exact["base_fee"] or Decimal(0)) * 1000,
        cached_input=exact["cached_input_rate"],
        cache_write=exact["cache_write_rate"],
    )


def _exact(number: float) -> Decimal:
    """Return the decimal that the file's text said: a float's shortest form, not its binary expansion."""
    return Decimal(repr(number))


def rates_json(rates: Rates) -> shapes.ProviderRates:
    """Return rates in sats, as JSON shows them."""
    return {
        "input_rate_sats_per_1k": float(rates.input),
        "output_rate_sats_per_1k": float(rates.output),
        "base_fee_sats": float(rates.base_fee / 1000),
    }
