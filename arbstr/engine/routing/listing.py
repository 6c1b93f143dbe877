"""What a provider says it sells: models, by all their names, and their rates where it states them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from arbstr.engine.node_reservation import ReservationTerms
from arbstr.types import Rates

_DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")


class ListedModel(NamedTuple):
    """A model on a provider's list: its id there, other names that the provider knows it by, and what it asks.

    `doubted`: the price has jumped, and stands here as long as that may be a mistake. `terms` are what a Routstr node
    reserves for a request by.
    """

    id: str
    names: tuple[str, ...] = ()
    rates: Rates | None = None
    doubted: bool = False
    terms: ReservationTerms | None = None


class Listing:
    """A provider's list, in which models are found without regard to case, vendor prefix and date.

    A model may be asked for without its prefix (`openai/gpt-4o` as `gpt-4o`), with one that it lacks there, and without
    its date. What two models could mean stands for neither. With a date that is not listed it is found only where the
    provider itself cuts dates off (`cuts_dates`), for who asks for a date means it.
    """

    def __init__(self, models: tuple[ListedModel, ...], *, cuts_dates: bool = False) -> None:
        self.models = models
        self._cuts_dates = cuts_dates
        self._by_name: dict[str, ListedModel] = {}
        self._by_part: dict[str, ListedModel | None] = {}
        for model in models:
            self._by_name.setdefault(model.id.casefold(), model)
        for model in models:
            for name in model.names:
                self._by_name.setdefault(name.casefold(), model)
        for model in {id(model): model for model in self._by_name.values()}.values():  # each has many names
            for part in {part for name in (model.id, *model.names) for part in _parts(name.casefold())}:
                same = self._by_part.setdefault(part, model)
                if same is not model:
                    self._by_part[part] = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The models' ids."""
        return tuple(model.id for model in self.models)

    def spelled(self, folded: str) -> str | None:
        """Return the id that is this but for its case, None if there is none."""
        model = self._by_name.get(folded)
        return model.id if model is not None and model.id.casefold() == folded else None

    def find(self, name: str) -> ListedModel | None:
        """Return the model of that name, None if it is not listed."""
        folded = name.casefold()
        found = self._by_name.get(folded) or self._by_part.get(folded) or self._by_name.get(_bare(folded))
        if found is None and self._cuts_dates and (undated := _undated(folded)) != folded:
            return self.find(undated)
        return found


def _parts(name: str) -> Iterator[str]:
    yield _bare(name)
    yield _undated(name)
    yield _undated(_bare(name))


def _bare(model: str) -> str:
    """Return the name without the vendor before the first slash."""
    return model.partition("/")[2] or model


def _undated(model: str) -> str:
    return _DATE.sub("", model)
