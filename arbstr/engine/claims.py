"""Check what a provider claims (charges, token counts) against the most that a request can have taken.

A claim over `FACTOR` times what the request and its response allow is a fault, not a price: it is stored as it is and
marked, but costs and budgets use the cap, and nothing is learned from it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from arbstr.engine.pricing import cost_msats
from arbstr.types import InferenceRequest, Rates, Routing, Usage, new_tuple

FACTOR = 100
_ANY_ANSWER = 1000  # output tokens that are plausible however short the response: reasoning is not shown
_ANY_PROMPT = 2000  # likewise for the input: not all of it is in the request, files may only be named there
_ANY_CHARGE_MSATS = 1000  # plausible whatever the rates say: some providers have a minimum charge
# Used to judge charges where the rates are all zero: those of an expensive model.
_UNRATED = Rates(input=Decimal(10), output=Decimal(30), base_fee=Decimal(0))


class Bounds(NamedTuple):
    """Upper bounds of a request and its response, in tokens.

    `prompt` is the expected input, `sent` the most that the request can hold, `answer` the most that the response can.
    """

    prompt: int
    sent: int
    answer: int


class Bill(NamedTuple):
    """The cost of a request and its list cost, in msats; `implausible` names the claims that can't be true."""

    cost_msats: int | None = None
    list_cost_msats: int | None = None
    implausible: str | None = None


def bounds_of(request: InferenceRequest, routing: Routing, answer_bytes: int) -> Bounds:
    """Return the bounds of a request with a response of `answer_bytes`. No token is shorter than a byte."""
    answer = max(answer_bytes, _ANY_ANSWER)
    if request.max_tokens is not None:
        answer = min(answer, request.max_tokens * request.choices)
    expected = routing.expected_input_tokens
    return new_tuple(Bounds, (expected, max(len(request.body), expected), answer))


def bill(rates: Rates, usage: Usage | None, charged_msats: int | None, bounds: Bounds) -> Bill:
    """Return the cost: the provider's charge where it states one, else the list cost."""
    believed = None if usage is None else _believed(usage, bounds)
    listed = None if believed is None else cost_msats(rates, believed)
    if charged_msats is None and believed is usage:
        return new_tuple(Bill, (listed, listed, None))
    cost = listed
    doubts = [] if believed is usage else ["tokens"]
    if charged_msats is not None:
        cost = min(charged_msats, _most_msats(rates, usage if believed is usage else None, bounds))
        if cost < charged_msats:
            doubts.insert(0, "charge")
    return Bill(cost, listed, ",".join(doubts) or None)


def _believed(usage: Usage, bounds: Bounds) -> Usage:
    """Return the claimed tokens (the same object) if plausible, else capped ones."""
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    odd_in = tokens_in is not None and tokens_in > FACTOR * (bounds.sent + _ANY_PROMPT)
    odd_out = tokens_out is not None and tokens_out > FACTOR * bounds.answer
    if not (odd_in or odd_out):
        return usage
    return Usage(
        FACTOR * bounds.sent if odd_in else tokens_in,
        FACTOR * bounds.answer if odd_out else tokens_out,
        usage.cached_tokens,
        usage.cache_write_tokens,
    )


def _most_msats(rates: Rates, usage: Usage | None, bounds: Bounds) -> int:
    """Return the highest plausible charge, in msats."""
    if usage is None or usage.input_tokens is None:
        usage = Usage(bounds.prompt)
    allowed = Usage(usage.input_tokens, bounds.answer, usage.cached_tokens, usage.cache_write_tokens)
    most = cost_msats(rates, allowed) or cost_msats(_UNRATED, allowed) or 0
    return max(FACTOR * most, _ANY_CHARGE_MSATS)
