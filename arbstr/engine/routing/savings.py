"""What prompt caches save of a token's price: a column for each kind of prompt, kept while little changes.

Of twenty caches, one learns from a request: its place alone is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.engine.routing.offer import Offer, Version


class Savings:
    """What the caches of some offers for one model are expected to save of each token that a prompt repeats."""

    __slots__ = ("_columns", "_log", "_offers", "_places", "_prices", "_version")

    def __init__(self, offers: Sequence[Offer], version: Version) -> None:
        self._offers = offers
        self._places = {offer: place for place, offer in enumerate(offers)}
        self._version = version
        self._forget()

    def of(self, kind: int) -> list[float]:
        """Return what each offer is expected to save of a kind of prompt (`kind_of`), in msats a token."""
        version = self._version
        if self._prices != version.count or self._log is not version.learned:
            self._forget()
        column = self._columns.get(kind)
        if column is None:
            column = self._columns[kind] = _Column([_saved(offer, kind) for offer in self._offers], len(self._log))
        for offer in self._log[column.read :]:
            place = self._places.get(offer)
            if place is not None:
                column.saved[place] = _saved(offer, kind)
        column.read = len(self._log)
        return column.saved

    def _forget(self) -> None:
        self._columns: dict[int, _Column] = {}
        self._prices, self._log = self._version.count, self._version.learned


class _Column:
    """One kind's column; `read` says how much of the version's log it has followed."""

    __slots__ = ("read", "saved")

    def __init__(self, saved: list[float], read: int) -> None:
        self.saved = saved
        self.read = read


def _saved(offer: Offer, kind: int) -> float:
    return offer.cache.share_of(kind) * offer.saves
