"""A provider's offer for one model: its rates, and what was learned about it."""

from __future__ import annotations

import math
from typing import Any

from arbstr.config.schema import Policies, Provider
from arbstr.engine.learning.cache_stats import CacheStats
from arbstr.engine.learning.codec import read_pairs
from arbstr.engine.learning.provider_stats import ChargeRatio, Counts, LatencyModel, SuccessRate
from arbstr.engine.node_funds import NodeFunds
from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.names import Reading
from arbstr.engine.routing.price_tag import PriceTag
from arbstr.events import OverchargeFound
from arbstr.types import InferenceRequest, Price, PriceSource, Rates

_AGE_EVERY_S = 60.0


class Offer:
    """One provider selling one model, at its `rates`.

    By these `listed` are the prices per request, input token and output token in msats, as floats: for comparing, not
    for summing. Its real price is `rates * ratio + extra`, for `hidden` times the visible output tokens; for comparison
    that is divided by `success`, the share of attempts that succeed. `tag` has all of it; what is compared are
    `prices`, per request, input token and output token too, and what an input token `saves` when it is read from the
    prompt `cache`: by the rates that is `discount`, and what it would be expected to cost more to write it there, at
    most `surcharge`. `overcharges` is set while it charges more than the policies tolerate, and then `demoted` or
    `excluded` if they say so. `turn` is when it was last chosen, for round robin; `ages_at_s` is when `age` is due.
    `reading` says since when its price is known. `funds` are what can be spent at a node, and `terms` what it reserves
    for a request by. All offers for a model share their `changes`.
    """

    __slots__ = (
        "_attempts",
        "_charges",
        "_counts",
        "_factor",
        "_free",
        "_policies",
        "_price",
        "_speed",
        "_tolerated",
        "ages_at_s",
        "cache",
        "changes",
        "demoted",
        "discount",
        "excluded",
        "funds",
        "hidden",
        "listed",
        "model",
        "overcharges",
        "prices",
        "provider",
        "rates",
        "reading",
        "saves",
        "share",
        "surcharge",
        "tag",
        "terms",
        "turn",
    )

    def __init__(self, provider: Provider, model: str, policies: Policies, changes: Changes | None = None) -> None:
        self.changes = changes or Changes()
        self.provider = provider.name
        self.model = model
        self.share = provider.weight
        self._follow(policies)
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
        self._follow(policies)
        self.set_rates(provider.rates_for(self.model))

    def _follow(self, policies: Policies) -> None:
        self._policies = policies
        self._tolerated = 1.0 + policies.overcharge_tolerance

    def set_rates(self, rates: Rates, source: PriceSource = "configured", reading: Reading | None = None) -> None:
        """Set what the provider asks, and where that comes from."""
        self.reading = reading
        self.rates, self.listed = rates, (float(rates.base_fee), float(rates.input), float(rates.output))
        self.discount = 0.0 if rates.cached_input is None else float(rates.input - rates.cached_input)
        self.surcharge = 0.0 if rates.cache_write is None else float(rates.cache_write - rates.input)
        self._free = not any(self.listed)
        fee, input_rate, output_rate = self.listed
        self._price = Price(input_rate, output_rate, fee / 1000, source)
        self._judge()
        self._set_tag()

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
        return None if expected is None else expected / self.tag.success

    @property
    def never_succeeded(self) -> bool:
        """Whether there were recent attempts and none succeeded."""
        return self._attempts.only_failures

    def record_attempt(self, ok: bool, now_s: float) -> None:
        """Record the outcome of an attempt."""
        if self._attempts.add(ok, now_s):
            self._refresh()

    def record_latency(
        self, output_tokens: float, duration_ms: float, now_s: float, first_byte_ms: float | None = None
    ) -> None:
        """Record that `output_tokens` had arrived after `duration_ms`, the first byte maybe earlier.

        Zero tokens is the first byte.
        """
        self._speed.add(output_tokens, duration_ms, now_s, first_byte_ms)

    def record_charge(self, charged_msats: int, computed_msats: int, now_s: float) -> OverchargeFound | None:
        """Record a charge and its list cost; return an event if the provider overcharges from now on."""
        known, ratio = self.overcharges, self._charges.add(charged_msats, computed_msats, now_s)
        if ratio != self.tag.ratio or ratio > self._tolerated or known or self._free:
            self._refresh()
        if known or not self.overcharges:
            return None
        return OverchargeFound(self.provider, self.model, self._charges.ratio, charged_msats, computed_msats)

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
        self.changes.learned(self)
        self._refresh()

    @property
    def writes(self) -> float:
        """What a fresh token is expected to cost more because it is written to the cache, in msats."""
        return self.cache.written * self.surcharge * self._factor

    def record_cached(self, age_s: float, tokens: float, cached: int) -> None:
        """Record that of `tokens` that its cache saw `age_s` ago it has found `cached`."""
        self.cache.add(age_s, tokens, cached)
        self.changes.learned(self)

    def record_written(self, share: float) -> None:
        """Record the share of a request's fresh input that was written to the cache."""
        self.cache.add_written(share)
        self._set_saves()
        self.changes.learned(self)

    def restore_cache(self, state: Any, now_s: float) -> None:
        """Restore what `cache.state()` returned, if it is valid."""
        self.cache.restore(state, now_s)
        self._set_saves()
        self.changes.learned(self)

    def record_counts(self, tokens: float, seen: float) -> None:
        """Record the tokens that the provider counted, and those that can have been visible."""
        self._counts.add(tokens, seen)
        if self._counts.hidden != self.hidden:
            self._set_tag()

    def restore_counts(self, state: Any) -> None:
        """Restore what `counts.state()` returned, if it is valid."""
        self._counts.restore(state)
        self._refresh()

    def restore_charges(self, pairs: Any, now_s: float) -> None:
        """Restore what `charges.pairs` were, in place of those that are known, as far as it is valid."""
        self._charges = ChargeRatio()
        for charged, computed in read_pairs(pairs):
            self._charges.add(int(charged), int(computed), now_s)
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
        """Compute what routing reads of what was learned, if that has changed."""
        ratio, tag = self._charges.ratio, self.tag
        if self.overcharges or ratio > self._tolerated:
            self._judge()
        if ratio != tag.ratio or self._attempts.rate != tag.success or self._counts.hidden != tag.hidden or self._free:
            self._set_tag()

    def _set_tag(self) -> None:
        """Compute the attributes that routing reads, so that it only has to multiply."""
        fee, input_rate, output_rate = self.listed
        ratio, success = self._charges.ratio, self._attempts.rate
        extra = self._charges.free_msats if self._free else 0.0
        hidden = self.hidden = self._counts.hidden
        price = Price(0.0, 0.0, extra / 1000, "learned") if extra else self._price
        note = _note(ratio, extra, success) if ratio != 1.0 or success != 1.0 or extra else ""
        self.tag = PriceTag(self.provider, fee, input_rate, output_rate, hidden, ratio, extra, success, price, note)
        self.changes.priced(self)
        factor = self._factor = ratio / success
        self.prices = ((fee * ratio + extra) / success, input_rate * factor, output_rate * factor)
        self._set_saves()

    def _set_saves(self) -> None:
        self.saves = self.discount * self._factor + self.writes

    def _judge(self) -> None:
        """Find out whether it overcharges, and what follows from that."""
        self.overcharges = self._charges.ratio > 1.0 and self._exceeds_tolerance()
        self.demoted = self.overcharges and self._policies.on_overcharge == "demote"
        self.excluded = self.overcharges and self._policies.on_overcharge == "exclude"

    def _exceeds_tolerance(self) -> bool:
        if self.overcharges:  # hysteresis: a ratio that wavers about the limit is one overcharge, not many
            return self._charges.ratio > (1.0 + self._tolerated) / 2
        least_msats = self._policies.overcharge_min_sats * 1000
        return self._charges.ratio > self._tolerated and self._charges.excess_msats >= least_msats


def _note(ratio: float, extra: float, success: float) -> str:
    """Return in words how a real price differs from the rates."""
    notes = []
    if extra:
        notes.append(f"charges {extra / 1000:.3f} sats per request, although by its rates it is free")
    elif ratio != 1.0:
        notes.append(f"charges {ratio:.2f} times what its rates say")
    if success != 1.0:
        notes.append(f"answers {100 * success:.0f} % of requests")
    return "; ".join(notes)
