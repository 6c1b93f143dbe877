"""Offers in columns: twenty are looked at for every request, and what they are compared by seldom changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected, PriceTag


class Columns(NamedTuple):
    """Offers, and by the same places what they are compared by. No column ever changes.

    `rates` are `fee`, `per_input` and `per_output`; `hidden` is empty where all providers count visible tokens alone;
    `caches` are the shares that are found (`CacheStats.shares`), which do change, and `cut`. See `Offer`.
    """

    offers: Sequence[Offer]
    tags: Sequence[PriceTag]
    rates: Sequence[tuple[float, float, float]]
    hidden: Sequence[float]
    caches: Sequence[tuple[dict[int, float], float]]

    def weights(self, expected: Expected) -> list[float]:
        """Return what a request is expected to cost at each, learning included, in msats."""
        tokens, answer, most = expected
        if not self.hidden:
            return [fee + tokens * per_input + answer * per_output for fee, per_input, per_output in self.rates]
        return [
            fee + tokens * per_input + (answer if hidden == 1.0 else min(answer * hidden, most)) * per_output
            for (fee, per_input, per_output), hidden in zip(self.rates, self.hidden, strict=True)
        ]

    def only(self, kept: Sequence[bool]) -> Columns:
        """Return some of the offers."""
        return columns_of(list(compress(self.offers, kept)))


def columns_of(offers: Sequence[Offer]) -> Columns:
    """Return offers in columns, as they are now."""
    hidden = [offer.hidden for offer in offers]
    return Columns(
        offers,
        [offer.tag for offer in offers],
        [(offer.fee, offer.per_input, offer.per_output) for offer in offers],
        hidden if any(each != 1.0 for each in hidden) else [],
        [(offer.cache.shares, offer.cut) for offer in offers],
    )
