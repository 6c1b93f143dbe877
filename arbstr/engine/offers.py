"""A provider's offer for one model: its rates, and what arbstr has learned about them."""

from __future__ import annotations

from arbstr.config import Provider


class Offer:
    """One provider selling one model. Rates in msats, as floats: for comparing, not for summing.

    `factor` is what the rates are multiplied by to compare sellers, `note` says in words why it isn't 1. `turn` is when
    it was last chosen, for taking turns.
    """

    __slots__ = ("base_fee", "factor", "input", "note", "output", "provider", "share", "turn")

    def __init__(self, provider: Provider) -> None:
        self.provider = provider.name
        self.share = provider.weight
        self.input = float(provider.rates.input)
        self.output = float(provider.rates.output)
        self.base_fee = float(provider.rates.base_fee)
        self.factor = 1.0
        self.note = ""
        self.turn = 0

    def price(self, input_tokens: float, output_tokens: float) -> float:
        """What its rates say so many tokens cost, in msats."""
        return self.base_fee + input_tokens * self.input + output_tokens * self.output

    def latency_ms(self, output_tokens: float) -> float | None:
        """The time that an answer of so many tokens is expected to take, None before anything is known."""
        return None
