"""A routing decision as JSON: the response to a cost query, and what is shown beside a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arbstr.types import Candidate, Price, Reuse, Routing

if TYPE_CHECKING:
    from arbstr import shapes

_BY = {
    "cheapest": "by expected price",
    "lowest_latency": "by expected latency",
    "round_robin": "by turn",
    "weighted": "drawn by weight",
}


def routing_json(routing: Routing) -> shapes.RoutingEntry:
    """Return the decision: candidates in the order they are tried, each with its expected cost in sats and why."""
    return {
        "model": routing.model,
        "policy": routing.policy,
        "policy_reason": routing.policy_reason,
        "strategy": routing.strategy,
        "expected_input_tokens": routing.expected_input_tokens,
        "expected_output_tokens": routing.expected_output_tokens,
        "candidates": [
            _candidate_json(candidate, place, routing.strategy)
            for place, candidate in enumerate(routing.candidates, start=1)
        ],
        "excluded": [{"provider": provider, "reason": reason} for provider, reason in routing.excluded],
        "reuse": None if routing.reuse is None else _reuse_json(routing.reuse),
    }


def _candidate_json(candidate: Candidate, place: int, strategy: str) -> shapes.CandidateEntry:
    reason = f"number {place} {_BY.get(strategy, strategy)}"
    if candidate.cached_tokens:
        reason += f"; its cache should have {candidate.cached_tokens:,} tokens of the prompt"
    return {
        "provider": candidate.provider,
        "expected_cost_sats": round(candidate.expected_cost_msats / 1000, 6),
        "weight_sats": round(candidate.weight_msats / 1000, 6),
        "cached_tokens": candidate.cached_tokens,
        "reason": f"{reason}; {candidate.note}" if candidate.note else reason,
        "price": None if candidate.price is None else _price_json(candidate.price, candidate.price_age_s),
    }


def _reuse_json(reuse: Reuse) -> shapes.ReuseEntry:
    return {
        "likelihood": round(reuse.likelihood, 3),
        "previous_provider": reuse.previous,
        "previous_saves_sats": reuse.previous_saves_msats / 1000,
    }


def _price_json(price: Price, age_s: int | None) -> shapes.CandidatePrice:
    return {
        "input_rate_sats_per_1k": price.input_rate,
        "output_rate_sats_per_1k": price.output_rate,
        "base_fee_sats": price.base_fee,
        "source": price.source,
        "age_s": age_s,
    }
