"""Attempts and routing decisions as rows keep them: compact JSON, written and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

import orjson

from arbstr.ledger.routing_json import routing_json
from arbstr.sanitize import json_or_none
from arbstr.types import Attempt, Candidate, Candidates, Price, PriceSource, Reuse, Routing

if TYPE_CHECKING:
    from arbstr import shapes


def attempts_text(attempts: Sequence[Attempt]) -> str:
    """Return a request's attempts as its row keeps them."""
    return _json(
        [
            {  # fields by name: orjson takes twice as long to find them in an object with slots
                "provider": attempt.provider,
                "started_ms": attempt.started_ms,
                "duration_ms": attempt.duration_ms,
                "failure": attempt.failure,
                "status": attempt.status,
                "message": attempt.message,
            }
            for attempt in attempts
        ]
    )


def routing_text(routing: Routing) -> str:
    """Return a decision as its row keeps it: candidates and their prices as lists without names."""
    reuse = routing.reuse
    return _json(
        {
            "strategy": routing.strategy,
            "policy": routing.policy,
            "model": routing.model,
            "expected_input_tokens": routing.expected_input_tokens,
            "expected_output_tokens": routing.expected_output_tokens,
            "candidates": routing.candidates,
            "excluded": routing.excluded,
            "policy_reason": routing.policy_reason,
            "reuse": None if reuse is None else _reuse_fields(reuse),
        }
    )


def _reuse_fields(reuse: Reuse) -> dict[str, object]:
    return {
        "likelihood": reuse.likelihood,
        "previous": reuse.previous,
        "previous_saves_msats": reuse.previous_saves_msats,
    }


def _json(document: Any) -> str:
    try:
        return orjson.dumps(document, default=_plain).decode()
    except TypeError:  # half a surrogate pair, or an integer beyond 64 bits: rare, and worth keeping
        return json.dumps(document, default=_plain)


def _plain(value: tuple[object, ...] | Candidates) -> Sequence[object]:
    """Return what has no JSON of its own, candidates and their prices, without names."""
    return tuple(value) if isinstance(value, tuple) else value.rows()


def read_routing(text: Any) -> shapes.RoutingEntry | None:
    """Return a decision that a row keeps as `routing_json` shows it; another program's value as it is."""
    kept = json_or_none(text)
    try:
        if not all(isinstance(entry, list) for entry in (*kept["candidates"], *kept["excluded"])):
            raise ValueError("another shape")  # noqa: TRY301 - as any other that is not as it should be
        candidates = tuple(_candidate(*each) for each in kept["candidates"])
        excluded = tuple((name, reason) for name, reason in kept["excluded"])
        reuse = None if kept.get("reuse") is None else _reuse(**kept["reuse"])
        return routing_json(Routing(**{**kept, "candidates": candidates, "excluded": excluded, "reuse": reuse}))
    except (TypeError, ValueError, KeyError, OverflowError):
        return cast("shapes.RoutingEntry", kept) if isinstance(kept, dict) else None


def _candidate(
    name: object,
    cost: Any,
    weight: Any,
    note: Any,
    early: object = False,
    price: Any = None,
    age_s: Any = None,
    cached_tokens: Any = 0,
) -> Candidate:
    """Return a candidate as it is kept; earlier versions kept fewer fields."""
    asked = None if price is None else _price(*price)
    age = None if age_s is None else int(age_s)
    return Candidate(str(name), float(cost), float(weight), note, bool(early), asked, age, int(cached_tokens))


def _reuse(likelihood: Any, previous: Any, previous_saves_msats: Any) -> Reuse:
    return Reuse(float(likelihood), None if previous is None else str(previous), int(previous_saves_msats))


def _price(input_rate: Any, output_rate: Any, base_fee: Any, source: Any) -> Price:
    if source not in get_args(PriceSource):
        raise ValueError("no source of a price")
    return Price(float(input_rate), float(output_rate), float(base_fee), source)
