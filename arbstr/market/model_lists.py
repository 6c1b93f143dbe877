"""What providers answer to `GET /v1/models`: read into models, with their prices where a Routstr node says them.

A node states what a token costs in sats (`sats_pricing`) and in USD (`pricing`). What is not a price, or no model, is
left out: the list comes from a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, TypeGuard

from arbstr.config.schema import LONGEST_MODEL
from arbstr.engine.node_reservation import TOLERANCE, ReservationTerms
from arbstr.engine.routing.listing import ListedModel
from arbstr.types import JsonObject, Rates

MOST_MODELS = 10_000
MOST_PRICED = 2_000  # each of which may have many names; the largest market there is has some 400
MOST_NAMES = 8  # of one model, besides its id
_DEAREST = 1e6  # sats for a token: more is no price
_MSATS = 1000
_MOST_TOKENS = 1_000_000_000  # of a context
_TOP = ("context_length", "max_completion_tokens")
_PRICES = ("prompt", "completion", "input_cache_read", "input_cache_write")

IsFit = Callable[[str], bool]


def read_ids(document: Any, is_fit: IsFit) -> tuple[ListedModel, ...]:
    """Return the models of a list in OpenAI's shape, or of a bare list, by their ids alone."""
    found = ((entry.get("id", entry.get("name")) if isinstance(entry, dict) else entry) for entry in _entries(document))
    return tuple(map(ListedModel, dict.fromkeys(name for name in found if _is_name(name, is_fit))))


def read_priced(document: Any, is_fit: IsFit) -> tuple[ListedModel, ...]:
    """Return the models that a node sells, with rates and all names; those without a price are left out."""
    listed = (entry for entry in _entries(document) if isinstance(entry, dict) and entry.get("enabled") is not False)
    entries = list(islice(listed, MOST_PRICED))
    sats_per_usd = _sats_per_usd(entries)
    models: dict[str, ListedModel] = {}
    for entry in entries:
        name, rates = entry.get("id"), _rates(entry, sats_per_usd)
        if _is_name(name, is_fit) and rates is not None:
            names = tuple(_other_names(entry, name, is_fit))
            models.setdefault(name, ListedModel(name, names, rates, terms=_terms(entry)))
    return tuple(models.values())


def _entries(document: Any) -> list[Any]:
    listed = document.get("data", document.get("models")) if isinstance(document, dict) else document
    return listed[:MOST_MODELS] if isinstance(listed, list) else []


def _is_name(name: Any, is_fit: IsFit) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_MODEL and name.isprintable() and is_fit(name)


def _other_names(entry: JsonObject, name: str, is_fit: IsFit) -> Iterator[str]:
    aliases = entry.get("alias_ids")
    others = [entry.get("canonical_slug"), *(aliases[: MOST_NAMES - 1] if isinstance(aliases, list) else ())]
    return (
        other for other in dict.fromkeys(filter(None, map(_text, others))) if other != name and _is_name(other, is_fit)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _rates(entry: JsonObject, sats_per_usd: float | None) -> Rates | None:
    """Return a model's rates; None where it has no price."""
    sats = _prices(entry.get("sats_pricing"))
    if sats is None and sats_per_usd is not None and (usd := _prices(entry.get("pricing"))) is not None:
        sats = [price * sats_per_usd for price in usd]
    if sats is None or not all(map(_is_price, sats)):
        return None
    prompt, completion, cache_read, cache_write = map(_msats, sats)
    return Rates(
        input=prompt,
        output=completion,
        base_fee=Decimal(0),  # nodes state one with every model, and never charge it
        cached_input=cache_read or None,  # zero stands for none
        cache_write=cache_write or None,
    )


def _terms(entry: JsonObject) -> ReservationTerms | None:
    """Return what a node reserves for a model by; None where neither costs nor lengths say what it costs at most."""
    prices = entry.get("sats_pricing")
    if not isinstance(prices, dict) or not (_is_price(prices.get("prompt")) and _is_price(prices.get("completion"))):
        return None
    prompt, completion = prices["prompt"], prices["completion"]
    context, answer = _lengths(entry)
    longest_prompt: Any = max(0, context - answer) * prompt if context or answer else prices.get("max_prompt_cost")
    longest_answer: Any = prices.get("max_completion_cost", (answer or context) * completion or None)
    if not _is_price(longest_prompt) or not _is_price(longest_answer):
        return None
    most = prices.get("max_cost", longest_prompt + longest_answer)
    if not _is_price(most):
        return None
    return ReservationTerms(
        most_msats=max(1, int(most * 1000 * TOLERANCE)),
        prompt_allowance=longest_prompt * TOLERANCE,
        completion_allowance=longest_answer * TOLERANCE,
        prompt=prompt,
        completion=completion,
    )


def _lengths(entry: JsonObject) -> tuple[int, int]:
    """Return a model's context and its longest answer as nodes see them, in tokens; 0 is not said."""
    top = entry.get("top_provider")
    context, answer = (_tokens(top.get(name)) for name in _TOP) if isinstance(top, dict) else (0, 0)
    return (context, answer) if context or answer else (_tokens(entry.get("context_length")), 0)


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS else 0


def _prices(pricing: Any) -> list[float] | None:
    """Return what a prompt, completion, cache-read and cache-write token cost; None if that is not said."""
    if not isinstance(pricing, dict):
        return None
    prices = [pricing.get(name, 0) for name in _PRICES]
    if "prompt" not in pricing or "completion" not in pricing or not all(map(_is_price, prices)):
        return None
    return prices


def _is_price(price: Any) -> bool:
    return isinstance(price, int | float) and not isinstance(price, bool) and 0 <= price <= _DEAREST


def _msats(sats: float) -> Decimal:
    """Return a price in msats, without what only the binary notation of a float added to it."""
    return Decimal(f"{sats:.12g}") * _MSATS


def _sats_per_usd(entries: list[JsonObject]) -> float | None:
    """Return the exchange rate that a list was made with; None if no model tells."""
    for entry in entries:
        sats, usd = _prices(entry.get("sats_pricing")), _prices(entry.get("pricing"))
        if sats and usd and sats[0] and usd[0]:
            return float(sats[0] / usd[0])
    return None
