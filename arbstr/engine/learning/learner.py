"""Learning from finished requests, and the state that is kept over a restart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeGuard

from arbstr.config.schema import Config
from arbstr.engine.learning.codec import CACHES, CHARGES, COUNTS, Cells, Ratios, dumps
from arbstr.engine.learning.provider_stats import ChargeRatio
from arbstr.engine.learning.token_estimator import TokenEstimator
from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.offer import Offer
from arbstr.errors import counts_for_breaker
from arbstr.events import OverchargeFound
from arbstr.sanitize import json_or_none
from arbstr.types import CLIENT_CLOSED, Attempt, InferenceRequest, RequestRecord

_BYTES_PER_TOKEN = 2  # of a response as received; tokens of any language have more


class Learner:
    """Learns token counts (`tokens`) and every provider's offer for every model.

    `clock` is monotonic seconds, `publish` receives the overcharges found.
    """

    def __init__(
        self, config: Config, *, clock: Callable[[], float], publish: Callable[[OverchargeFound], None]
    ) -> None:
        self.tokens = TokenEstimator()
        self._providers = {provider.name: provider for provider in config.providers}
        self._policies = config.policies
        self._clock = clock
        self._publish = publish
        self._offers: dict[tuple[str, str], Offer] = {}
        self._changes: dict[str, Changes] = {}  # by model

    def take_over(self, before: Learner, staying: Collection[str]) -> None:
        """Go on with what was learned of token counts, and of the providers that stay."""
        self.tokens, self._changes = before.tokens, before._changes
        self._offers = {key: offer for key, offer in before._offers.items() if key[0] in staying}
        for offer in self._offers.values():
            offer.renew(self._providers[offer.provider], self._policies)

    def offer(self, provider: str, model: str) -> Offer:
        """Return a provider's offer for a model."""
        key = (provider, model)
        offer = self._offers.get(key)
        if offer is None:
            changes = self._changes.setdefault(model, Changes())
            offer = self._offers[key] = Offer(self._providers[provider], model, self._policies, changes)
        return offer

    def known_offer(self, provider: str, model: str) -> Offer | None:
        """Return a provider's offer for a model if anything can have been learned about it."""
        return self._offers.get((provider, model))

    def prune(self, listed: Collection[str]) -> None:
        """Drop the offers for models that no provider lists: a provider may accept any model name."""
        self._offers = {key: offer for key, offer in self._offers.items() if offer.model in listed}
        self._changes = {model: changes for model, changes in self._changes.items() if model in listed}

    def learn(self, record: RequestRecord, request: InferenceRequest, answer_bytes: int | None = None) -> None:
        """Learn from a finished request: attempts, and the tokens, time and cost of complete responses."""
        routing, offer = record.routing, None
        if routing is None:
            return
        now_s, model = self._clock(), routing.model
        for attempt in record.attempts:
            answered = _answered(attempt, record)
            if answered is not None:
                offer = self.offer(attempt.provider, model)
                offer.record_attempt(answered, now_s)
        if not record.success or record.provider is None or record.implausible is not None:
            return
        if offer is None or offer.provider != record.provider:
            offer = self.offer(record.provider, model)
        self._learn_tokens(offer, record, request, answer_bytes)
        _learn_speed(offer, record, now_s)
        charged_msats, listed_msats = record.provider_cost_msats, record.list_cost_msats
        if charged_msats is not None and listed_msats is not None:
            self._learn_charge(offer, charged_msats, listed_msats, now_s)

    def _learn_tokens(
        self, offer: Offer, record: RequestRecord, request: InferenceRequest, answer_bytes: int | None
    ) -> None:
        """Learn the visible length of a response for all providers, and tokens counted beyond it for its own."""
        used_input, used_output = record.input_tokens, record.output_tokens
        if used_input is None or used_output is None or request.anywhere:
            return  # what was passed through may be a picture
        if request.max_tokens == 0:
            self.tokens.update_texts(offer.provider, offer.model, request.prompt_chars, used_input)
            return
        seen = used_output if answer_bytes is None else min(used_output, answer_bytes // _BYTES_PER_TOKEN)
        offer.record_counts(used_output / request.choices, seen / request.choices)
        self.tokens.update(
            record.policy,
            offer.model,
            request.prompt_chars,
            request.max_tokens,
            used_input,
            seen,
            images=request.prompt_images,
            choices=request.choices,
            provider=offer.provider,
        )

    def _learn_charge(self, offer: Offer, charged_msats: int, listed_msats: int, now_s: float) -> None:
        found = offer.record_charge(charged_msats, listed_msats, now_s)
        if found is not None:
            self._publish(found)

    def learn_charge(self, provider: str, model: str, charged_msats: int, listed_msats: int) -> None:
        """Learn what a provider turned out to have taken for an answer, besides what that costs by the rates."""
        if provider in self._providers:
            self._learn_charge(self.offer(provider, model), charged_msats, listed_msats, self._clock())

    def charged_ratios(self, provider: str) -> dict[str, float]:
        """Return a provider's charges relative to its rates, by model, where it ever stated one."""
        return {
            model: offer.charges.ratio
            for (name, model), offer in self._offers.items()
            if name == provider and offer.charges.seen
        }

    def charged_ratio(self, provider: str) -> float | None:
        """Return a provider's charges relative to its rates, over all models; None if it never stated one."""
        known = [(charges.seen, charges.ratio) for charges in self._charges_of(provider)]
        return sum(seen * ratio for seen, ratio in known) / sum(seen for seen, _ in known) if known else None

    def _charges_of(self, provider: str) -> Iterator[ChargeRatio]:
        return (o.charges for (name, _), o in self._offers.items() if name == provider and o.charges.seen)

    def export(self) -> tuple[Ratios, Cells]:
        """Return the state to keep over a restart: token ratios by policy, and JSON by (kind, name)."""
        ratios, cells = self.tokens.export()
        for key, offer in self._offers.items():
            if offer.charges.seen:
                cells[CHARGES, dumps(key)] = dumps(offer.charges.pairs)
            if offer.counts.seen:
                cells[COUNTS, dumps(key)] = dumps(offer.counts.state())
            if offer.cache.tried:
                cells[CACHES, dumps(key)] = dumps(offer.cache.state())
        return ratios, cells

    def restore(self, ratios: Mapping[str, tuple[float, int]], cells: Mapping[tuple[str, str], str]) -> None:
        """Restore exported state, leaving out what is invalid and providers that are no longer configured."""
        self.tokens.restore(ratios, cells)
        now_s = self._clock()
        for (kind, name), cell in cells.items():
            key = json_or_none(name)
            if not _is_offer(key) or key[0] not in self._providers:
                continue
            offer = self.offer(*key) if kind in (CHARGES, COUNTS, CACHES) else None
            if kind == COUNTS and offer is not None:
                offer.restore_counts(json_or_none(cell))
            elif kind == CACHES and offer is not None:
                offer.restore_cache(json_or_none(cell), now_s)
            elif kind == CHARGES and offer is not None:
                offer.restore_charges(json_or_none(cell), now_s)


def _answered(attempt: Attempt, record: RequestRecord) -> bool | None:
    """Return whether the provider did its part, None if the attempt does not tell."""
    if attempt.failure is not None:
        if not counts_for_breaker(attempt.failure, attempt.status):
            return None
        # The last attempt may have failed because the client had left: not the provider's fault.
        last = attempt is record.attempts[-1]
        return None if last and record.error_status == CLIENT_CLOSED else False
    return True if attempt.status is None or attempt.status < 400 else None


def _learn_speed(offer: Offer, record: RequestRecord, now_s: float) -> None:
    """Learn latency from the attempt's start: first byte and end of a stream, or the time to a whole response."""
    started_ms = record.attempts[-1].started_ms if record.attempts else 0
    tokens, first_ms = record.output_tokens, record.latency_ms - started_ms
    if record.stream_duration_ms is None:
        if tokens is not None:
            offer.record_latency(tokens, first_ms, now_s)
    elif tokens is None:
        offer.record_latency(0, first_ms, now_s)
    else:
        offer.record_latency(tokens, record.stream_duration_ms - started_ms, now_s, first_ms)


def _is_offer(key: Any) -> TypeGuard[list[str]]:
    return isinstance(key, list) and len(key) == 2 and all(isinstance(part, str) for part in key)
