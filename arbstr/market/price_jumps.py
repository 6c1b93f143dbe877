"""Prices that jump tenfold: a mistake of the node's more often than a price, so they are believed when seen twice.

Until then the higher of both holds: nothing is bought because of a mistake, and enough is reserved if it is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from arbstr.engine.routing.listing import ListedModel
from arbstr.types import Rates

JUMP = 10


def believed(
    known: Mapping[str, Rates], read: tuple[ListedModel, ...], doubted: dict[str, Rates]
) -> tuple[ListedModel, ...]:
    """Return the models as read, with the higher rates where these have jumped from those `known` by id.

    `doubted` are the jumps of the reading before, and then those of this one.
    """
    before = dict(doubted)
    doubted.clear()
    return tuple(_believed(known.get(model.id), model, before, doubted) for model in read)


def _believed(
    known: Rates | None, model: ListedModel, before: Mapping[str, Rates], doubted: dict[str, Rates]
) -> ListedModel:
    rates = model.rates
    if rates is None or known is None or not _has_jumped(known, rates):
        return model
    seen = before.get(model.id)
    if seen is not None and not _has_jumped(seen, rates):
        return model
    doubted[model.id] = rates
    return model._replace(rates=_higher(known, rates), doubted=True)


def _has_jumped(old: Rates, new: Rates) -> bool:
    return any(_jumps(*pair) for pair in ((old.input, new.input), (old.output, new.output)))


def _jumps(old: Decimal, new: Decimal) -> bool:
    lower, higher = sorted((old, new))
    return higher > 0 and higher >= JUMP * lower


def _higher(old: Rates, new: Rates) -> Rates:
    return Rates(
        input=max(old.input, new.input),
        output=max(old.output, new.output),
        base_fee=max(old.base_fee, new.base_fee),
        cached_input=_higher_or_none(old.cached_input, new.cached_input),
        cache_write=_higher_or_none(old.cache_write, new.cache_write),
    )


def _higher_or_none(old: Decimal | None, new: Decimal | None) -> Decimal | None:
    return None if old is None or new is None else max(old, new)
