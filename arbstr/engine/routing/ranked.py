"""The candidates of one request in the order in which they are tried, each made when it is looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, overload

from arbstr.engine.routing.columns import Columns
from arbstr.engine.routing.price_tag import Expected
from arbstr.types import Candidate, Candidates, new_tuple

_DEMOTED, _LAST = 1, 2  # tiers: behind all others, and behind these
_NONE: Mapping[int, float] = MappingProxyType({})
_NOTE, _EARLY, _AGE, _CACHED = map(Candidate._fields.index, ("note", "early", "price_age_s", "cached_tokens"))


class Ranked(Candidates):
    """Candidates in order, as they were when the request was routed.

    As a rule the first one answers, and the others are looked at by the ledger alone, once the client has its answer.
    Until then these are columns with a place for each offer, and nothing is sorted. A copy is a plain tuple.

    By place: `tags` say what the `offers` asked; `weights` are the prices as they are compared, in msats; the smallest
    of `keys` goes `first`, unless it is a last resort. `ages` are of the prices, in seconds; empty where none is from a
    list. `cached` are the tokens of the prompt that an offer's cache should have, `differences` what its cache adds to
    the cost by its rates, both only where there is any.
    """

    __slots__ = (
        "_early",
        "_expected",
        "_first",
        "_notes",
        "_order",
        "_tiers",
        "ages",
        "cached",
        "columns",
        "differences",
        "keys",
        "offers",
        "tags",
        "weights",
    )

    def __init__(
        self,
        columns: Columns,
        weights: Sequence[float],
        keys: Sequence[float],
        expected: Expected,
    ) -> None:
        self.columns = columns
        self.offers, self.tags = columns.offers, columns.tags
        self.weights = weights
        self.keys = keys
        self._expected = expected
        self.ages: Sequence[int | None] = ()
        self.cached = self.differences = _NONE
        self._tiers: list[int] | None = None
        self._notes: dict[int, str] | None = None
        self._early: Collection[int] = ()
        self._first: int | None = None
        self._order: list[int] | None = None

    @property
    def first(self) -> int:
        """The place of the first one."""
        if self._first is None:
            keys, tiers = self.keys, self._tiers
            if tiers is None:
                self._first = keys.index(min(keys))
            else:
                self._first = min(range(len(keys)), key=lambda place: (tiers[place], keys[place]))
        return self._first

    def demote(self, demoted: Sequence[bool]) -> None:
        """Let some be tried after the others."""
        if any(demoted):
            self._tiers, self._first, self._order = [_DEMOTED * each for each in demoted], None, None

    def of_first_tier(self, values: list[float]) -> list[float]:
        """Return of values by place those of the offers that are no last resort, of all if every one is."""
        tiers = self._tiers
        return (
            values
            if tiers is None or all(tiers)
            else [value for value, tier in zip(values, tiers, strict=True) if not tier]
        )

    def place_of(self, provider: str | None) -> int | None:
        """Return a provider's place, None if it is not among them."""
        return next((place for place, tag in enumerate(self.tags) if tag.provider == provider), None)

    def put_first(self, place: int, note: str) -> None:
        """Let the candidate of that place be tried first, and say why."""
        self._first, self._order = place, None
        self._add_note(place, note)

    def put_last(self, reasons: Mapping[str, str]) -> None:
        """Let these providers be tried after the others, each for its reason."""
        self._tiers = self._tiers or [0] * len(self)
        for place, tag in enumerate(self.tags):
            if reason := reasons.get(tag.provider):
                self._tiers[place] = _LAST
                self._add_note(place, reason)
        self._first = self._order = None

    def are_tried_anyway(self, early: Collection[str], early_note: str, note: str) -> None:
        """Note that all are tried although something holds them back; those in `early` before their time."""
        self._early = [place for place, tag in enumerate(self.tags) if tag.provider in early]
        for place in range(len(self)):
            self._add_note(place, early_note if place in self._early else note)

    def _add_note(self, place: int, note: str) -> None:
        before = self._note(place)
        self._notes = {**(self._notes or {}), place: f"{before}; {note}" if before else note}

    def _note(self, place: int) -> str:
        return (self._notes or {}).get(place) or self.tags[place].note

    def _places(self) -> list[int]:
        """Return the places in the order in which they are tried; those of equal keys stay in theirs."""
        if self._order is None:
            keys = self.keys
            order = sorted(range(len(keys)), key=keys.__getitem__)
            if self._tiers:
                order.sort(key=self._tiers.__getitem__)
            if order and order[0] != (first := self.first):
                order.remove(first)
                order.insert(0, first)
            self._order = order
        return self._order

    def _candidate(self, place: int) -> Candidate:
        tag = self.tags[place]
        values = (
            tag.provider,
            tag.cost(self._expected) + self.differences.get(place, 0.0),
            self.weights[place],
            self._note(place),
            place in self._early,
            tag.price,
            self.ages[place] if self.ages else None,
            int(self.cached.get(place, 0)),
        )
        return new_tuple(Candidate, values)

    def rows(self) -> list[list[object]]:
        """See `Candidates`."""
        costs = self.columns.costs(self._expected)
        for place, difference in self.differences.items():
            costs[place] += difference
        rows: list[list[object]] = [
            [tag.provider, cost, weight, tag.note, False, tag.price[:], None, 0]  # the price without names
            for tag, cost, weight in zip(self.tags, costs, self.weights, strict=True)
        ]
        for place, age_s in enumerate(self.ages):
            rows[place][_AGE] = age_s
        for place, tokens in self.cached.items():
            rows[place][_CACHED] = int(tokens)
        for place, note in (self._notes or {}).items():
            rows[place][_NOTE] = note
        for place in self._early:
            rows[place][_EARLY] = True
        return [rows[place] for place in self._places()]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.tags)

    def __iter__(self) -> Iterator[Candidate]:
        """Yield them in order; they are sorted for the second one."""
        if self.tags:
            yield self._candidate(self.first)
            for place in self._places()[1:]:
                yield self._candidate(place)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        """Return one of them, or some."""
        if isinstance(index, slice):
            return [self._candidate(place) for place in self._places()[index]]
        return self._candidate(self.first if index == 0 and self.tags else self._places()[index])

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has equal candidates."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """Return the hash of the candidates as a tuple."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """Return what the candidates look like as a list."""
        return repr(list(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy them as a tuple."""
        return tuple, (list(self),)
