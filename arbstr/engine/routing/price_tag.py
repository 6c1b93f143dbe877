"""What an offer asks, with what was learned about it, at one instant: what decisions are explained by afterwards."""

from __future__ import annotations

from typing import NamedTuple

from arbstr.types import Price, value_object


class Expected(NamedTuple):
    """The tokens that a request is expected to have; `most_output` is its cap on all that a provider counts."""

    input: float
    output: float
    most_output: float


@value_object
class PriceTag:
    """An offer's rates in msats, and how its real price differs from them (see `Offer`), in words too: `note`.

    A tag never changes: an offer gets another one whenever there is another price, or more was learned about it.
    """

    provider: str
    base_fee: float
    input: float
    output: float
    hidden: float
    ratio: float
    extra: float
    success: float
    price: Price
    note: str

    def cost(self, expected: Expected) -> float:
        """Return what the tokens cost by the rates, in msats; the provider may count more than are visible."""
        answer = expected.output
        if self.hidden != 1.0:
            answer = min(answer * self.hidden, expected.most_output)
        return self.base_fee + expected.input * self.input + answer * self.output
