"""The offers for one model under one rule: which are within the rule's fixed limits, which are not, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from arbstr.config.schema import Affinity, Rule
from arbstr.engine.learning.conversations import Outlook
from arbstr.engine.routing.exploration import Exploration
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.strategy import Cheapest, Strategy
from arbstr.types import Candidate

Ranked = tuple[float, int, Candidate]


class Ranking(NamedTuple):
    """The offers of a candidate set: those to try, in order, and those left out, with the reasons."""

    input_tokens: float
    output_tokens: float
    ranked: list[Ranked]
    excluded: list[tuple[str, str]]
    unavailable: list[str]
    cooled: list[tuple[str, str]]
    unfunded: list[Offer]
    outlook: Outlook | None = None  # where prompt caches may matter


class CandidateSet:
    """What routing needs of a rule (None: no rule applies) and a model, computed once. `policy` is the rule's name.

    `last` are the providers that are asked after the others, each with the reason; `unread` those that may sell the
    model, but have not said yet what they sell. `pins_sessions`: a conversation stays at its provider. `counts_caches`:
    prompt caches may decide the order.
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
        self.offers = tuple(offer for offer, reason in verdicts if reason is None)
        self.exploration = Exploration(self.offers) if strategy.name == Cheapest.name else None
        self.pins_sessions = affinity == "session"
        self.counts_caches = affinity != "none" and strategy.name == Cheapest.name
        self.excluded = tuple((offer.provider, reason) for offer, reason in verdicts if reason is not None)

    def take_over(self, outdated: CandidateSet | None) -> None:
        """Go on exploring where an earlier set of the same offers was."""
        if outdated is not None and outdated.exploration is not None and outdated.offers == self.offers:
            self.exploration = outdated.exploration

    def in_order(self, ranked: list[Ranked], demoted: list[Ranked]) -> list[Ranked]:
        """Return ranked offers in their order, then the demoted ones, then those of the `last` providers, with why."""
        ranked.sort()
        ranked += sorted(demoted)
        return self._with_last(ranked) if self.last else ranked

    def _with_last(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        last = [
            (key, place, candidate._replace(note="; ".join(filter(None, (candidate.note, reason)))))
            for key, place, candidate in ranked
            if (reason := self.last.get(candidate.provider))
        ]
        return [*self.preferred(ranked), *last]

    def preferred(self, ranked: Sequence[Ranked]) -> Sequence[Ranked]:
        """Return those ranked offers that are not of the `last` providers."""
        return [each for each in ranked if each[2].provider not in self.last] if self.last else ranked

    def cost_violation(self, cost_msats: float) -> str:
        """Return the reason for excluding an offer that is expected to cost more than `max_msats`."""
        limit = f"max_sats_per_request = {self.max_msats / 1000:g}"
        return f"its expected cost of {cost_msats / 1000:.6g} sats is above {limit}"

    def latency_violation(self, offer: Offer, output_tokens: float) -> str | None:
        """Return the reason for excluding an offer known to take longer than `max_latency_ms`, None if it does not.

        `output_tokens` is the length waited for; 0 if the first byte counts.
        """
        latency = offer.latency_ms(output_tokens)
        if latency is None or self.max_latency_ms is None or latency <= self.max_latency_ms:
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
    if limit is not None and offer.output > limit:
        return f"its output rate of {offer.output:g} is above max_sats_per_1k_output = {limit:g}"
    return None
