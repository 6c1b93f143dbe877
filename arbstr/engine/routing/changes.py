"""Which offers for a model have changed, for those who keep what they compute from twenty of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arbstr.engine.routing.offer import Offer

_MOST = 256  # changes in a list


class Changes:
    """What has changed of the offers for one model, in order.

    `prices` are the offers of which anything has changed that they are compared by, but for their caches; `savings`
    those of which that has, or what was learned of their caches. Instead of one that is full another list begins: then
    any may have changed.
    """

    __slots__ = ("prices", "savings")

    def __init__(self) -> None:
        self.prices: list[Offer] = []
        self.savings: list[Offer] = []

    def priced(self, offer: Offer) -> None:
        """Note that an offer has another price."""
        self.prices = _with(self.prices, offer)
        self.savings = _with(self.savings, offer)

    def learned(self, offer: Offer) -> None:
        """Note that more was learned of an offer's cache."""
        self.savings = _with(self.savings, offer)


def _with(changed: list[Offer], offer: Offer) -> list[Offer]:
    if len(changed) >= _MOST:
        changed = []
    changed.append(offer)
    return changed
