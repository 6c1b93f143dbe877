"""A routing decision as JSON: the response to a cost query, and what is shown beside a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arbstr.types import Candidate, Routing

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
    }


def _candidate_json(candidate: Candidate, place: int, strategy: str) -> shapes.CandidateEntry:
    reason = f"number {place} {_BY.get(strategy, strategy)}"
    return {
        "provider": candidate.provider,
        "expected_cost_sats": round(candidate.expected_cost_msats / 1000, 6),
        "weight_sats": round(candidate.weight_msats / 1000, 6),
        "reason": f"{reason}; {candidate.note}" if candidate.note else reason,
    }
