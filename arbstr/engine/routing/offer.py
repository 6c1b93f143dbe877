"""A provider's offer for one model: its rates, and what was learned about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from arbstr.config.schema import Policies, Provider
from arbstr.engine.learning.cache_stats import CacheStats
from arbstr.engine.learning.provider_stats import ChargeRatio, Counts, LatencyModel, SuccessRate
from arbstr.engine.node_funds import NodeFunds
from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.names import Reading
from arbstr.events import OverchargeFound
from arbstr.types import InferenceRequest, Price, PriceSource, Rates

_AGE_EVERY_S = 60.0


class Offer:
    """One provider selling one model. Rates in msats, as floats: for comparing, not for summing.

    Its real price is `rates * ratio + extra`, for `hidden` times the visible output tokens; for comparison that is
    divided by `success`, the share of attempts that succeed. `note` says in words how it differs from the rates.
    `overcharges` is set while it charges more than the policies tolerate, and then `demoted` or `excluded` if they say
    so. `turn` is when it was last chosen, for round robin; `ages_at_s` is when `age` is due. `price` is what it asks,
    as it is shown; `reading` says since when that is known. `funds` are what can be spent at a node, and `terms` what
    it reserves for a request by. `discount` is what an input token costs less when it is read from the prompt `cache`,
    `surcharge` what it costs more when it is written there; `cut` is the discount as it counts in comparison.
    """

    __slots__ = (
        "_attempts",
        "_charges",
        "_counts",
        "_free",
        "_policies",
        "_source",
        "_speed",
        "ages_at_s",
        "base_fee",
        "cache",
        "cut",
        "demoted",
        "discount",
        "excluded",
        "extra",
        "funds",
        "hidden",
        "input",
        "model",
        "note",
        "output",
        "overcharges",
        "price",
        "provider",
        "ratio",
        "reading",
        "share",
        "success",
        "surcharge",
        "terms",
        "turn",
    )

    def __init__(self, provider: Provider, model: str, policies: Policies) -> None:
        self.provider = provider.name
        self.model = model
        self.share = provider.weight
        self._policies = policies
        self._charges = ChargeRatio()
        self._counts = Counts()
        self._attempts = SuccessRate()
        self._speed = LatencyModel()
        self.cache = CacheStats()
        self.ages_at_s = -math.inf
        self.turn = 0
        self.overcharges = False
        self.funds: NodeFunds | None = None
        self.terms: ReservationTerms | None = None
        self.set_rates(provider.rates_for(model))

    def renew(self, provider: Provider, policies: Policies) -> None:
        """Go on under another configuration of the same provider."""
        self.share = provider.weight
        self._policies = policies
        self.set_rates(provider.rates_for(self.model))

    def set_rates(self, rates: Rates, source: PriceSource = "configured", reading: Reading | None = None) -> None:
        """Set what the provider asks, and where that comes from."""
        self._source: PriceSource = source
        self.reading = reading
        self.input = float(rates.input)
        self.output = float(rates.output)
        self.base_fee = float(rates.base_fee)
        self.discount = 0.0 if rates.cached_input is None else float(rates.input - rates.cached_input)
        self.surcharge = 0.0 if rates.cache_write is None else float(rates.cache_write - rates.input)
        self._free = not (self.input or self.output or self.base_fee)
        self._refresh()

    def set_funds(self, funds: NodeFunds | None, terms: ReservationTerms | None) -> None:
        """Set what can be spent there, None where that is not limited, and what a request needs of it."""
        self.funds, self.terms = funds, terms

    def affords(self, request: InferenceRequest) -> bool:
        """Return whether the money there would do for a request, as far as is known."""
        return self.funds is None or self.funds.affords(self.terms, request)

    def latency_ms(self, output_tokens: float) -> float | None:
        """Return the expected time of a response of `output_tokens` in ms, None while unknown.

        Zero tokens is the time to the first byte.
        """
        expected = self._speed.expected_ms(output_tokens)
        return None if expected is None else expected / self.success

    @property
    def never_succeeded(self) -> bool:
        """Whether there were recent attempts and none succeeded."""
        return self._attempts.only_failures

    def record_attempt(self, ok: bool, now_s: float) -> None:
        """Record the outcome of an attempt."""
        self._attempts.add(ok, now_s)
        if self._attempts.any_failed:
            self._refresh()

    def record_latency(self, output_tokens: float, duration_ms: float, now_s: float) -> None:
        """Record that `output_tokens` had arrived after `duration_ms`; zero tokens is the first byte."""
        self._speed.add(output_tokens, duration_ms, now_s)

    def record_charge(self, charged_msats: int, computed_msats: int, now_s: float) -> OverchargeFound | None:
        """Record a charge and its list cost; return an event if the provider overcharges from now on."""
        self._charges.add(charged_msats, computed_msats, now_s)
        known = self.overcharges
        self._refresh()
        if known or not self.overcharges:
            return None
        return OverchargeFound(self.provider, self.model, self.ratio, charged_msats, computed_msats)

    def doubt_charges(self) -> None:
        """Drop most charges: after a while without requests the provider has charged less than expected."""
        self._charges.doubt()

    def age(self, now_s: float) -> None:
        """Age everything learned."""
        self.ages_at_s = now_s + _AGE_EVERY_S
        self._charges.age(now_s)
        self._attempts.age(now_s)
        self._speed.age(now_s)
        self.cache.age(now_s)
        self._refresh()

    def record_counts(self, tokens: float, seen: float) -> None:
        """Record the tokens that the provider counted, and those that can have been visible."""
        self._counts.add(tokens, seen)
        self.hidden = self._counts.hidden

    def restore_counts(self, state: Any) -> None:
        """Restore what `counts.state()` returned, if it is valid."""
        self._counts.restore(state)
        self._refresh()

    @property
    def counts(self) -> Counts:
        """The provider's token counts."""
        return self._counts

    @property
    def charges(self) -> ChargeRatio:
        """The provider's recent charges."""
        return self._charges

    def _refresh(self) -> None:
        """Compute the attributes that routing reads, so that it only has to multiply."""
        charges = self._charges
        self.ratio = charges.ratio
        self.hidden = self._counts.hidden
        self.extra = charges.free_msats if self._free else 0.0
        self.success = self._attempts.rate
        self.cut = self.discount * self.ratio / self.success
        self.overcharges = self.ratio > 1.0 and self._exceeds_tolerance()
        self.demoted = self.overcharges and self._policies.on_overcharge == "demote"
        self.excluded = self.overcharges and self._policies.on_overcharge == "exclude"
        self.price = self._price()
        self.note = "; ".join(self._notes()) if self.ratio != 1.0 or self.success != 1.0 or self.extra else ""

    def _price(self) -> Price:
        if self.extra:
            return Price(0.0, 0.0, self.extra / 1000, "learned")
        return Price(self.input, self.output, self.base_fee / 1000, self._source)

    def _exceeds_tolerance(self) -> bool:
        tolerance = self._policies.overcharge_tolerance
        if self.overcharges:  # hysteresis: a ratio that wavers about the limit is one overcharge, not many
            return self.ratio > 1.0 + tolerance / 2
        least_msats = self._policies.overcharge_min_sats * 1000
        return self.ratio > 1.0 + tolerance and self._charges.excess_msats >= least_msats

    def _notes(self) -> Iterator[str]:
        if self.extra:
            yield f"charges {self.extra / 1000:.3f} sats per request, although by its rates it is free"
        elif self.ratio != 1.0:
            yield f"charges {self.ratio:.2f} times what its rates say"
        if self.success != 1.0:
            yield f"answers {self.success:.0%} of requests"
