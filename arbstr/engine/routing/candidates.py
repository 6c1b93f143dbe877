"""The offers for one model under one rule: which are within the rule's fixed limits, which are not, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from arbstr.config.schema import Affinity, Rule
from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.columns import Columns, columns_of
from arbstr.engine.routing.exploration import Exploration
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.savings import Savings
from arbstr.engine.routing.strategy import Cheapest, Strategy


class LeftOut(NamedTuple):
    """Offers that are not tried, with the reasons."""

    excluded: Sequence[tuple[str, str]]
    unavailable: Sequence[str] = ()
    cooled: Sequence[tuple[str, str]] = ()
    unfunded: Sequence[Offer] = ()


class CandidateSet:
    """What routing needs of a rule (None: no rule applies) and a model, computed once. `policy` is the rule's name.

    `offers` may serve, `left_out` (all of them `excluded`) may not, whatever the request. `last` are the providers that
    are asked after the others, each with the reason; `unread` those that may sell the model, but have not said yet what
    they sell. `pins_sessions`: a conversation stays at its provider. `has_caches`: an offer asks less for what its
    prompt cache has, `writes_caches`: one asks more for what it writes there; `counts_caches`: that may decide the
    order; `savings` are what the caches save. `has_funds`: what can be spent at a provider is limited. `reads_lists`: a
    price is from a provider's list. `ages_at_s` is when the first of the offers is due.
    """

    def __init__(
        self,
        rule: Rule | None,
        model: str,
        strategy: Strategy,
        offers: Sequence[Offer],
        last: Mapping[str, str] = MappingProxyType({}),
        unread: Collection[str] = (),
        affinity: Affinity = "cache",
    ) -> None:
        self.policy = None if rule is None else rule.name
        self.model = model
        self.strategy = strategy
        self.last = last
        self.unread = unread
        max_sats = None if rule is None else rule.max_sats_per_request
        self.max_msats = math.inf if max_sats is None else max_sats * 1000
        self.max_latency_ms = None if rule is None else rule.max_latency_ms
        verdicts = [(offer, _policy_violation(rule, offer)) for offer in offers]
        self.offers = [offer for offer, reason in verdicts if reason is None]
        self.excluded = tuple((offer.provider, reason) for offer, reason in verdicts if reason is not None)
        self.left_out = LeftOut(self.excluded)
        self.exploration = Exploration(self.offers) if strategy.name == Cheapest.name else None
        self.pins_sessions = affinity == "session"
        self.has_caches = any(offer.discount for offer in self.offers)
        self.writes_caches = any(offer.surcharge for offer in self.offers)
        self.counts_caches = affinity != "none" and strategy.name == Cheapest.name
        self.has_funds = any(offer.funds is not None for offer in self.offers)
        self.reads_lists = any(offer.reading is not None for offer in self.offers)
        self.ages_at_s = -math.inf
        self._changes = self.offers[0].changes if self.offers else Changes()
        self._changed, self._read = self._changes.prices, len(self._changes.prices)
        self._columns = columns_of(self.offers)
        self.savings = Savings(self.offers, self._changes)

    def columns(self) -> Columns:
        """Return the offers in columns, as they are now."""
        changed, read = self._changes.prices, self._read
        if changed is not self._changed:
            self._changed, self._columns = changed, columns_of(self.offers)
        elif read < len(changed):
            self._columns = self._columns.renewed(changed[read:])
        self._read = len(changed)
        return self._columns

    def take_over(self, outdated: CandidateSet | None) -> None:
        """Go on exploring where an earlier set of the same offers was."""
        if outdated is not None and outdated.exploration is not None and outdated.offers == self.offers:
            self.exploration = outdated.exploration

    def age(self, now_s: float) -> None:
        """Age those offers that are due."""
        for offer in self.offers:
            if now_s >= offer.ages_at_s:
                offer.age(now_s)
        self.ages_at_s = min((offer.ages_at_s for offer in self.offers), default=math.inf)

    def cost_violation(self, cost_msats: float) -> str:
        """Return the reason for excluding an offer that is expected to cost more than `max_msats`."""
        limit = f"max_sats_per_request = {self.max_msats / 1000:g}"
        return f"its expected cost of {cost_msats / 1000:.6g} sats is above {limit}"

    def latency_violation(self, offer: Offer, output_tokens: float) -> str | None:
        """Return the reason for excluding an offer known to take longer than `max_latency_ms`, None if it does not.

        `output_tokens` is the length waited for; 0 if the first byte counts.
        """
        if self.max_latency_ms is None:
            return None
        latency = offer.latency_ms(output_tokens)
        if latency is None or latency <= self.max_latency_ms:
            return None
        return f"its expected latency of {latency:.0f} ms is above max_latency_ms = {self.max_latency_ms:g}"


def _policy_violation(rule: Rule | None, offer: Offer) -> str | None:
    """Return which limit of the rule excludes an offer for every request, None if there is none."""
    if rule is None:
        return None
    if rule.providers and offer.provider not in rule.providers:
        return "it is not among the policy's providers"
    if offer.provider in rule.exclude_providers:
        return "it is among the policy's exclude_providers"
    limit = rule.max_sats_per_1k_output
    if limit is not None and offer.tag.output > limit:
        return f"its output rate of {offer.tag.output:g} is above max_sats_per_1k_output = {limit:g}"
    return None
