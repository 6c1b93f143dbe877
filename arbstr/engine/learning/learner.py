"""Everything that is learned from finished requests, and how it outlives a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from arbstr.config.schema import Config
from arbstr.engine.learning.codec import Cells, Ratios, dumps, read_pairs
from arbstr.engine.learning.provider_stats import ChargeRatio
from arbstr.engine.learning.token_estimator import TokenEstimator
from arbstr.engine.request_context import CLIENT_CLOSED
from arbstr.engine.routing.offer import Offer
from arbstr.errors import counts_for_breaker
from arbstr.events import OverchargeFound
from arbstr.sanitize import json_or_none
from arbstr.types import Attempt, ChatRequest, RequestRecord

_CHARGES = "charges"
_COUNTS = "counts"
_BYTES_PER_TOKEN = 2  # of a whole answer, or a stream, as it came; those of any language have more


class Learner:
    """What is known of tokens (`tokens`) and of every provider's offer for every model.

    `clock` is monotonic seconds, `publish` takes the overcharges that are found.
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

    def offer(self, provider: str, model: str) -> Offer:
        """The one offer of a provider for a model."""
        key = (provider, model)
        offer = self._offers.get(key)
        if offer is None:
            offer = self._offers[key] = Offer(self._providers[provider], model, self._policies)
        return offer

    def prune(self) -> None:
        """Forget the offers for models that no provider lists: where one takes every model, they are without end."""
        listed = {model for provider in self._providers.values() for model in provider.model_ids}
        self._offers = {key: offer for key, offer in self._offers.items() if offer.model in listed}

    def learn(self, record: RequestRecord, request: ChatRequest, answer_bytes: int | None = None) -> None:
        """Take in how a routed request ended: who answered, and what whole answers took in tokens, time and money."""
        routing = record.routing
        if routing is None:
            return
        now_s = self._clock()
        for attempt in record.attempts:
            answered = _answered(attempt, record)
            if answered is not None:
                self.offer(attempt.provider, routing.model).record_attempt(answered, now_s)
        if not record.success or record.provider is None or record.implausible is not None:
            return
        offer = self.offer(record.provider, routing.model)
        self._learn_tokens(offer, record, request, answer_bytes)
        _learn_speed(offer, record, now_s)
        self._learn_charge(offer, record, now_s)

    def _learn_tokens(
        self, offer: Offer, record: RequestRecord, request: ChatRequest, answer_bytes: int | None
    ) -> None:
        """What can be seen of an answer says how long others' will be; what its provider counts beyond, its own."""
        used_input, used_output = record.input_tokens, record.output_tokens
        if used_input is None or used_output is None:
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

    def _learn_charge(self, offer: Offer, record: RequestRecord, now_s: float) -> None:
        if record.provider_cost_msats is None or record.list_cost_msats is None:
            return
        found = offer.record_charge(record.provider_cost_msats, record.list_cost_msats, now_s)
        if found is not None:
            self._publish(found)

    def charged_ratio(self, provider: str) -> float | None:
        """What a provider charges over what its rates say, over all its models; None if it never said."""
        known = [(charges.seen, charges.ratio) for charges in self._charges_of(provider)]
        return sum(seen * ratio for seen, ratio in known) / sum(seen for seen, _ in known) if known else None

    def _charges_of(self, provider: str) -> Iterator[ChargeRatio]:
        return (o.charges for (name, _), o in self._offers.items() if name == provider and o.charges.seen)

    def export(self) -> tuple[Ratios, Cells]:
        """What is worth keeping over a restart: token ratios by policy, and JSON texts under (kind, name)."""
        ratios, cells = self.tokens.export()
        for key, offer in self._offers.items():
            if offer.charges.seen:
                cells[_CHARGES, dumps(key)] = dumps(offer.charges.pairs)
            if offer.counts.seen:
                cells[_COUNTS, dumps(key)] = dumps(offer.counts.state())
        return ratios, cells

    def restore(self, ratios: Mapping[str, tuple[float, int]], cells: Mapping[tuple[str, str], str]) -> None:
        """Take over what was exported. What makes no sense is left out, and so are providers that are gone."""
        self.tokens.restore(ratios, cells)
        now_s = self._clock()
        for (kind, name), cell in cells.items():
            key = json_or_none(name)
            if not _is_offer(key) or key[0] not in self._providers:
                continue
            offer = self.offer(*key) if kind in (_CHARGES, _COUNTS) else None
            if kind == _COUNTS and offer is not None:
                offer.restore_counts(json_or_none(cell))
            elif kind == _CHARGES and offer is not None:
                for charged, computed in read_pairs(json_or_none(cell)):
                    offer.record_charge(int(charged), int(computed), now_s)


def _answered(attempt: Attempt, record: RequestRecord) -> bool | None:
    """Whether the provider did its part, None if the attempt says nothing about that."""
    if attempt.failure is not None:
        if not counts_for_breaker(attempt.failure, attempt.status):
            return None
        # The last one may have failed because the client had left, and nobody is blamed for what nobody waits for.
        last = attempt is record.attempts[-1]
        return None if last and record.error_status == CLIENT_CLOSED else False
    return True if attempt.status is None or attempt.status < 400 else None


def _learn_speed(offer: Offer, record: RequestRecord, now_s: float) -> None:
    """A stream tells when it began and ended, another answer only when it was whole; all from the attempt's start."""
    started_ms = record.attempts[-1].started_ms if record.attempts else 0
    tokens = record.output_tokens
    if record.stream_duration_ms is not None:
        offer.record_latency(0, record.latency_ms - started_ms, now_s)
        if tokens is not None:
            offer.record_latency(tokens, record.stream_duration_ms - started_ms, now_s)
    elif tokens is not None:
        offer.record_latency(tokens, record.latency_ms - started_ms, now_s)


def _is_offer(key: Any) -> TypeGuard[list[str]]:
    return isinstance(key, list) and len(key) == 2 and all(isinstance(part, str) for part in key)
