"""What prompt caches save of a token's price: a column for each kind of prompt, kept while little changes.

Of twenty caches, one learns from a request: its place alone is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.offer import Offer


class Savings:
    """What the caches of some offers for one model are expected to save of each token that a prompt repeats."""

    __slots__ = ("_changed", "_changes", "_columns", "_offers", "_places")

    def __init__(self, offers: Sequence[Offer], changes: Changes) -> None:
        self._offers = offers
        self._places = {offer: place for place, offer in enumerate(offers)}
        self._changes = changes
        self._changed = changes.savings
        self._columns: dict[int, _Column] = {}

    def of(self, kind: int) -> list[float]:
        """Return what each offer is expected to save of a kind of prompt (`kind_of`), in msats a token."""
        changed = self._changes.savings
        if changed is not self._changed:
            self._changed, self._columns = changed, {}
        column = self._columns.get(kind)
        if column is None:
            column = self._columns[kind] = _Column([_saved(offer, kind) for offer in self._offers], len(changed))
        if column.read < len(changed):
            for offer in changed[column.read :]:
                place = self._places.get(offer)
                if place is not None:
                    column.saved[place] = _saved(offer, kind)
            column.read = len(changed)
        return column.saved


class _Column:
    """One kind's column; `read` says how many of the changes it has followed."""

    __slots__ = ("read", "saved")

    def __init__(self, saved: list[float], read: int) -> None:
        self.saved = saved
        self.read = read


def _saved(offer: Offer, kind: int) -> float:
    return offer.cache.share_of(kind) * offer.saves
