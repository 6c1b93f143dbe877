"""What a provider's prompt cache finds of what it should hold: how much, for how long, and from which length on.

A cache that was never tried is expected to find everything, so that it gets a few requests; one that finds nothing is
tried again as its misses fade. Ages are seconds since the provider last had the prompt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from arbstr.engine.learning.codec import read_pairs

_AGES_S = (30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)  # upper ends of the classes
_USUAL_LIFE = 4  # classes: most caches keep a prompt for five minutes
_LENGTHS = (1024, 2048, 4096)  # tokens: lower ends, where providers begin to cache
_LENGTH_CLASSES = len(_LENGTHS) + 1
_LEAST_TOKENS = 64.0  # DeepSeek's blocks are that long; no cache is known to keep shorter prompts
_MEMORY = 50.0  # requests that a mean covers
_HOPE = 4.0  # requests that a cache is credited with having found everything
_LEAN = 16.0  # requests of a class after which it counts as much as all classes
_AFTERWARDS = 0.25  # of what is found within the usual life, for each class beyond it
HALF_LIFE_S = 3600.0


def kind_of(age_s: float, tokens: float) -> int:
    """Return the kind of a prompt of some age and length, one number for both classes."""
    return bisect_left(_AGES_S, age_s) * _LENGTH_CLASSES + bisect_right(_LENGTHS, tokens)


class _Share:
    """The share found: a forgetting mean."""

    __slots__ = ("found", "seen")

    def __init__(self) -> None:
        self.found = self.seen = 0.0

    def add(self, share: float) -> None:
        seen = self.seen
        if seen >= _MEMORY:
            self.found *= (_MEMORY - 1.0) / seen
            seen = _MEMORY - 1.0
        self.seen = seen + 1.0
        self.found += share

    def fade(self, keep: float) -> None:
        self.seen *= keep
        self.found *= keep


class CacheStats:
    """One offer's prompt cache, as far as its `cached_tokens` tell.

    `written` is the share of a prompt's fresh tokens that the provider says it wrote to its cache.
    """

    __slots__ = ("_all", "_at_s", "_by_age", "_by_length", "_shares", "_written", "written")

    def __init__(self) -> None:
        self._all = _Share()
        self._by_age = [_Share() for _ in range(len(_AGES_S) + 1)]
        self._by_length = [_Share() for _ in range(_LENGTH_CLASSES)]
        self._written = _Share()
        self._at_s = 0.0
        self.written = 0.0
        self._shares: dict[int, float] = {}  # by kind, until more is known

    @property
    def tried(self) -> bool:
        """Whether anything has been learned."""
        return self._all.seen > 0.0

    def expected(self, age_s: float, tokens: float) -> float:
        """Return the share that it will find of a prompt's `tokens` that it saw `age_s` ago."""
        return self.share_of(kind_of(age_s, tokens)) if tokens >= _LEAST_TOKENS else 0.0

    def add(self, age_s: float, tokens: float, cached: int) -> None:
        """Add a request of which `tokens` were to be found, and `cached` were."""
        if tokens < _LEAST_TOKENS:
            return
        share = min(cached / tokens, 1.0)
        age = bisect_left(_AGES_S, age_s)
        self._by_age[age].add(share)
        if age < _USUAL_LIFE:  # later, it may have forgotten
            self._all.add(share)
            self._by_length[bisect_right(_LENGTHS, tokens)].add(share)
        self._shares.clear()

    def add_written(self, share: float) -> None:
        """Add the share of a request's fresh input that was written to the cache."""
        self._written.add(share)
        self.written = self._written.found / self._written.seen

    def age(self, now_s: float) -> None:
        """Fade what was learned: it halves every hour."""
        if self._all.seen or self._written.seen:
            keep = 0.5 ** ((now_s - self._at_s) / HALF_LIFE_S)
            for share in (self._all, *self._by_age, *self._by_length):
                share.fade(keep)
            self._shares.clear()
        self._at_s = now_s

    def state(self) -> list[list[float]]:
        """Return what was learned, fit for JSON."""
        return [[share.found, share.seen] for share in self._means()]

    def restore(self, state: Any, now_s: float) -> None:
        """Restore what `state` returned, if it is valid."""
        pairs, means = read_pairs(state), self._means()
        if len(pairs) != len(means):
            return
        for share, (found, seen) in zip(means, pairs, strict=True):
            share.seen = float(seen)
            share.found = float(min(found, seen))
        if self._written.seen:
            self.written = self._written.found / self._written.seen
        self._at_s = now_s
        self._shares.clear()

    def _means(self) -> list[_Share]:
        return [self._all, *self._by_age, *self._by_length, self._written]

    def share_of(self, kind: int) -> float:
        """Return the share that it will find of a kind of prompt (`kind_of`)."""
        share = self._shares.get(kind)
        if share is None:
            share = self._shares[kind] = self._expected(kind)
        return share

    def _expected(self, kind: int) -> float:
        age, length = divmod(kind, _LENGTH_CLASSES)
        usual = (self._all.found + _HOPE) / (self._all.seen + _HOPE)
        lean = usual * _LEAN
        of_length = self._by_length[length]
        by_length = (of_length.found + lean) / (of_length.seen + _LEAN) / usual
        if age < _USUAL_LIFE:
            of_age = self._by_age[age]
            return min((of_age.found + lean) / (of_age.seen + _LEAN) * by_length, 1.0)
        by_age = usual
        for of_age in self._by_age[_USUAL_LIFE : age + 1]:
            by_age = (of_age.found + by_age * _AFTERWARDS * _HOPE) / (of_age.seen + _HOPE)
        return min(by_age * by_length, 1.0)
