"""Lists as they are kept over restarts: JSON, which may have become anything meanwhile."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from arbstr.engine.learning.codec import dumps
from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.listing import ListedModel
from arbstr.sanitize import json_or_none
from arbstr.types import Rates


class SavedList(NamedTuple):
    """A list, the URL that it came from, and when, in ms since the epoch."""

    url: str
    at_ms: int
    models: tuple[ListedModel, ...]


def encode(saved: SavedList) -> str:
    """Return a list as JSON."""
    models = [[model.id, list(model.names), _encoded(model.rates), model.terms] for model in saved.models]
    return dumps([saved.url, saved.at_ms, models])


def decode(text: str) -> SavedList | None:
    """Return the list in JSON, None if it is not one."""
    try:
        url, at_ms, models = json_or_none(text)
        return SavedList(str(url), int(at_ms), tuple(_model(*fields) for fields in models))
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        return None


def _model(name: Any, names: Any, rates: Any, terms: Any = None) -> ListedModel:
    """Return a model; those of earlier versions say nothing of what is reserved for it."""
    return ListedModel(str(name), tuple(map(str, names)), _decoded(rates), terms=_decoded_terms(terms))


def _decoded_terms(numbers: Any) -> ReservationTerms | None:
    if numbers is None:
        return None
    most_msats, *sats = numbers
    prices = [float(number) for number in sats]
    if not all(math.isfinite(price) and price >= 0 for price in prices):
        raise ValueError("no terms")
    prompt_allowance, completion_allowance, prompt, completion = prices
    return ReservationTerms(int(most_msats), prompt_allowance, completion_allowance, prompt, completion)


def _encoded(rates: Rates | None) -> list[str | None] | None:
    if rates is None:
        return None
    numbers = (rates.input, rates.output, rates.base_fee, rates.cached_input, rates.cache_write)
    return [None if number is None else str(number) for number in numbers]


def _decoded(numbers: Any) -> Rates | None:
    if numbers is None:
        return None
    read = [None if number is None else Decimal(str(number)) for number in numbers]
    if not all(number is None or (number.is_finite() and number >= 0) for number in read):
        raise ValueError("no rates")
    rate_in, rate_out, fee, cached, written = read
    if rate_in is None or rate_out is None or fee is None:
        raise ValueError("no rates")
    return Rates(rate_in, rate_out, fee, cached, written)
