"""What a fake provider counts and charges, in the fields in which Routstr nodes report it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from arbstr.types import JsonObject, Rates

_MSATS_PER_USD = 1_000_000_000  # a bitcoin at 100,000 USD


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of a request. `cached` and `written` are the parts of `input` read from and written to the prompt cache.

    `reasoning` is the part of `output` that was spent on reasoning.
    """

    input: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0

    @property
    def fresh(self) -> int:
        """The input tokens that the prompt cache has nothing to do with."""
        return self.input - self.cached - self.written


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens used and msats charged for them; the total alone is exact, as with real nodes."""

    tokens: TokenCounts
    input_msats: int
    cached_msats: int
    written_msats: int
    output_msats: int
    base_msats: int
    total_msats: int

    @property
    def cost(self) -> JsonObject:
        """Return the cost object that appears in several places of an answer."""
        return {
            "base_msats": self.base_msats,
            "input_msats": self.input_msats,
            "output_msats": self.output_msats,
            "total_msats": self.total_msats,
            "total_usd": self.total_msats / _MSATS_PER_USD,
            "cache_read_input_tokens": self.tokens.cached,
            "cache_creation_input_tokens": self.tokens.written,
            "cache_read_msats": self.cached_msats,
            "cache_creation_msats": self.written_msats,
        }

    @property
    def counted(self) -> JsonObject:
        """Return the cost object with the tokens that were paid in full."""
        return {**self.cost, "input_tokens": self.tokens.fresh, "output_tokens": self.tokens.output}

    def fields(self, usage: JsonObject) -> JsonObject:
        """Return the fields of a body that report a dialect's usage and the cost."""
        return {
            "usage": {**usage, "cost": self.cost, "cost_sats": self.total_msats // 1000},
            "cost": self.counted,
            "metadata": {"routstr": {"cost": self.counted}},
        }

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that report the same, for answers in one piece."""
        return {
            "x-routstr-cost-msats": str(self.total_msats),
            "x-routstr-input-cost-msats": str(self.input_msats),
            "x-routstr-output-cost-msats": str(self.output_msats),
            "x-routstr-cost-usd": f"{self.total_msats / _MSATS_PER_USD:.9f}",
        }


NOTHING = Bill(TokenCounts(0, 0), 0, 0, 0, 0, 0, 0)


def bill(rates: Rates, tokens: TokenCounts, factor: float) -> Bill:
    """Return what a provider charges: its rates times a factor, rounded up to whole msats."""
    times = Decimal(repr(factor))
    cached = rates.input if rates.cached_input is None else rates.cached_input
    written = rates.input if rates.cache_write is None else rates.cache_write
    parts = (
        tokens.fresh * rates.input * times,
        tokens.cached * cached * times,
        tokens.written * written * times,
        tokens.output * rates.output * times,
        rates.base_fee * times,
    )
    asked, read, kept, answered, base = (math.floor(part) for part in parts)
    return Bill(tokens, asked, read, kept, answered, base, math.ceil(sum(parts)))
