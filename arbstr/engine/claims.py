"""How far a provider's word goes: what it says it charged and counted, against what an answer can have taken at most.

Everything it says is only claimed. A claim over `FACTOR` times what the request and its answer allow is no price but a
fault: it is kept as it is, and marked, but costs and budgets take the cap, and nobody learns from it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from arbstr.engine.pricing import cost_msats
from arbstr.types import ChatRequest, Rates, Routing, Usage

FACTOR = 100
_ANY_ANSWER = 1000  # tokens that an answer may have without a cap, however short it is: models think unseen
_ANY_PROMPT = 2000  # likewise of a prompt: not all of it is in the request, files may be only named there
_ANY_CHARGE_MSATS = 1000  # that is believed whatever the rates say: some have a least charge
# By what charges are measured where the rates say nothing: those of a dear model.
_UNRATED = Rates(input=Decimal(10), output=Decimal(30), base_fee=Decimal(0))


class Bounds(NamedTuple):
    """What a request and its answer allow, in tokens.

    `prompt` are those expected of the prompt, `sent` as many as the request can hold, `answer` the most that the answer
    can have.
    """

    prompt: int
    sent: int
    answer: int


class Bill(NamedTuple):
    """What a request cost, and by the rates, in msats; `implausible` names the claims that can't be true."""

    cost_msats: int | None = None
    list_cost_msats: int | None = None
    implausible: str | None = None


def bounds_of(chat: ChatRequest, routing: Routing, answer_bytes: int) -> Bounds:
    """What is allowed by a request, and an answer of so many bytes. No token is shorter than a byte."""
    answer = max(answer_bytes, _ANY_ANSWER)
    if chat.max_tokens is not None:
        answer = min(answer, chat.max_tokens * chat.choices)
    expected = routing.expected_input_tokens
    return Bounds(expected, max(len(chat.body), expected), answer)


def bill(rates: Rates, usage: Usage | None, charged_msats: int | None, bounds: Bounds) -> Bill:
    """What is to be paid: what the provider says it charged, where it says so, else what the rates say."""
    believed = None if usage is None else _believed(usage, bounds)
    listed = None if believed is None else cost_msats(rates, believed)
    if charged_msats is None and believed is usage:
        return Bill(listed, listed)
    cost = listed
    doubts = [] if believed is usage else ["tokens"]
    if charged_msats is not None:
        cost = min(charged_msats, _most_msats(rates, usage if believed is usage else None, bounds))
        if cost < charged_msats:
            doubts.insert(0, "charge")
    return Bill(cost, listed, ",".join(doubts) or None)


def _believed(usage: Usage, bounds: Bounds) -> Usage:
    """The tokens as claimed, the same object, or what of them can be."""
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
    """The most that can have been charged."""
    if usage is None or usage.input_tokens is None:
        usage = Usage(bounds.prompt)
    allowed = Usage(usage.input_tokens, bounds.answer, usage.cached_tokens, usage.cache_write_tokens)
    most = cost_msats(rates, allowed) or cost_msats(_UNRATED, allowed) or 0
    return max(FACTOR * most, _ANY_CHARGE_MSATS)
