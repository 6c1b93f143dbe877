"""Adds what one arbstr has learned to what others have, so that each observation counts once.

Of each state there are three: what was `known` to all when they last agreed, what is `shared` now, to which others have
added since, and one's `own`, which has grown from what was known. What has been added to it since is added to what is
shared. Counts are exact sums; means that forget are those of one arbstr that has seen both, up to their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arbstr.engine.learning.cache_stats import HALF_LIFE_S
from arbstr.engine.learning.codec import (
    CACHES,
    CHARGES,
    COUNTS,
    HEALTH,
    LENGTHS,
    RATIOS,
    TEXTS,
    dumps,
    is_numbers,
    read_pairs,
)
from arbstr.engine.learning.lengths import MEMORY
from arbstr.engine.learning.provider_stats import COUNTS_MEMORY, MOST_CHARGES
from arbstr.engine.provider_breaker import LEARNING
from arbstr.sanitize import json_or_none

Numbers = list[float]


def merge(kind: str, shared: str | None, known: str | None, own: str | None, age_s: float = 0.0) -> str | None:
    """Return the JSON of a state of this kind to which both have added; `shared` is of `age_s` ago."""
    if own is None or is_same(own, known):
        return shared
    if shared is None or is_same(shared, known):
        return own
    add = _KINDS.get(kind)
    theirs = json_or_none(shared)
    merged = None if add is None else add(theirs, json_or_none(known), json_or_none(own), age_s)
    if merged is None:
        return own
    return shared if merged == theirs else dumps(merged)


def is_same(state: str | None, other: str | None) -> bool:
    """Check whether two states are the same, in whatever way their numbers are written."""
    return state == other or (state is not None and other is not None and json_or_none(state) == json_or_none(other))


def add_ratio(shared: Any, known: Any, own: Any, age_s: float = 0.0) -> Numbers | None:
    """Return a mean as [requests, value]; None if none is shared that is valid."""
    return _mean(shared, known, own) if is_numbers(shared, 2) and is_numbers(own, 2) else None


def _mean(shared: Numbers, known: Any, own: Numbers) -> Numbers:
    seen, value = own[:2]
    before, was = known[:2] if isinstance(known, list) and is_numbers(known[:2], 2) else (0.0, 0.0)
    if seen < before:  # begun again
        before, was = 0.0, 0.0
    added = seen - before
    if not added:
        return shared[:2]
    kept = _kept(before, added)
    mean = max(0.0, (value - kept * was) / (1.0 - kept)) if kept < 1.0 else value
    kept = _kept(shared[0], added)
    return [int(shared[0] + added), kept * shared[1] + (1.0 - kept) * mean]


def _kept(seen: float, added: float) -> float:
    """Return the weight of a mean of `seen` requests after so many more, which forgets from `MEMORY` on."""
    weight = min(seen, float(MEMORY))
    growing = min(added, MEMORY - weight)
    kept: float = (1.0 - 1.0 / MEMORY) ** (added - growing)
    return kept * weight / (weight + growing) if growing else kept


def _peak(shared: float, known: float, own: float) -> float:
    """Return a maximum that decays: the higher one if it has risen, else decayed as much as one's own."""
    return max(shared, own) if own >= known else shared * own / known


def _by_provider(
    one: Callable[[Any, Any, Numbers], Numbers], length: int
) -> Callable[[Any, Any, Any, float], dict[str, Numbers] | None]:
    """Return what adds states that are kept by provider, each with so many numbers."""

    def add(shared: Any, known: Any, own: Any, age_s: float) -> dict[str, Numbers] | None:
        if not isinstance(shared, dict) or not isinstance(own, dict):
            return None
        known = known if isinstance(known, dict) else {}
        merged = {provider: state for provider, state in shared.items() if is_numbers(state, length)}
        for provider, state in own.items():
            if provider not in merged:
                merged[provider] = state
            elif state != known.get(provider) and is_numbers(state, length):
                before = known.get(provider)
                merged[provider] = one(merged[provider], before if is_numbers(before, length) else None, state)
        return merged

    return add


def _length(shared: Numbers, known: Any, own: Numbers) -> Numbers:
    """Add response lengths: requests, mean and longest."""
    restarted = known is None or own[0] < known[0]
    longest = _peak(shared[2], 0.0 if restarted else known[2], own[2])
    return [*_mean(shared, known, own), longest]


def _text(shared: Numbers, known: Any, own: Numbers) -> Numbers:
    """Add characters and tokens: sums that forget, which may have become less."""
    before = known or [0.0, 0.0]
    pairs = zip(shared, before, own, strict=True)
    return [so_far + is_now - was if is_now >= was else so_far * is_now / was for so_far, was, is_now in pairs]


def _add_counts(shared: Any, known: Any, own: Any, age_s: float) -> Numbers | None:
    """Add counted tokens: requests, two sums that forget, and a maximum that decays."""
    if not is_numbers(shared, 4) or not is_numbers(own, 4):
        return None
    before = known if is_numbers(known, 4) and known[0] <= own[0] else [0.0, 0.0, 0.0, 0.0]
    added = own[0] - before[0]
    kept = (1.0 - 1.0 / COUNTS_MEMORY) ** added
    sums = [kept * shared[place] + max(0.0, own[place] - kept * before[place]) for place in (1, 2)]
    return [int(shared[0] + added), *sums, _peak(shared[3], before[3], own[3])]


def _add_charges(shared: Any, known: Any, own: Any, age_s: float) -> list[Numbers] | None:
    """Add charges to the latest ones. Who has dropped charges on purpose has them dropped for all."""
    theirs, before, ours = read_pairs(shared), read_pairs(known), read_pairs(own)
    if not theirs:
        return None
    new = _appended(before, ours)
    if len(ours) < min(len(before) + new, MOST_CHARGES):
        return ours
    return [*theirs, *ours[len(ours) - new :]][-MOST_CHARGES:]


def _appended(before: list[Numbers], after: list[Numbers]) -> int:
    """Return how many were appended to a list of which only the latest are kept."""
    for new in range(len(after)):
        if before[-(len(after) - new) :] == after[: len(after) - new]:
            return new
    return len(after)


def _add_caches(shared: Any, agreed: Any, own: Any, age_s: float) -> list[Numbers] | None:
    """Add what caches found: pairs of sums, which fade with time for all alike."""
    theirs, before, ours = read_pairs(shared), read_pairs(agreed), read_pairs(own)
    if len(theirs) != len(ours):
        return None
    if len(before) != len(ours):
        before = [[0.0, 0.0]] * len(ours)
    numbers = [
        (now, was) for mine, known in zip(ours, before, strict=True) for now, was in zip(mine, known, strict=True)
    ]
    faded = min(
        (now / was for now, was in numbers if was), default=1.0
    )  # those that were only faded have the least left
    faded, keep = min(faded, 1.0), 0.5 ** (max(0.0, age_s) / HALF_LIFE_S)
    return [
        [so_far * keep + max(0.0, now - was * faded) for so_far, was, now in zip(*of_kind, strict=True)]
        for of_kind in zip(theirs, before, ours, strict=True)
    ]


def _add_health(shared: Any, known: Any, own: Any, age_s: float) -> dict[str, float | None] | None:
    """Add what breakers have learned: means that forget, each with the number of its observations."""
    if not isinstance(shared, dict) or not isinstance(own, dict):
        return None
    merged: dict[str, float | None] = {}
    for count, mean in (("attempts", "success_rate"), ("answers", "latency_ms")):
        theirs, before, ours = ([state.get(count), state.get(mean)] for state in (shared, known or {}, own))
        if is_numbers(theirs, 2) and is_numbers(ours, 2):
            both: list[Any] = _fading(theirs, before if is_numbers(before, 2) else [0, 0.0], ours)
        else:
            both = ours if is_numbers(ours, 2) else theirs
        merged |= {count: both[0], mean: both[1]}
    return merged


def _fading(shared: Numbers, known: Numbers, own: Numbers) -> Numbers:
    """Add a mean in which each observation has the same weight but the first, as [observations, value]."""
    seen, was = known if known[0] <= own[0] else (0.0, 0.0)
    added = own[0] - seen
    kept = (1.0 - LEARNING) ** added
    new = own[1] - kept * was if seen else (1.0 - kept) * own[1]
    return [int(shared[0] + added), max(0.0, kept * shared[1] + new)]


_KINDS: dict[str, Callable[[Any, Any, Any, float], Any]] = {
    RATIOS: add_ratio,
    LENGTHS: _by_provider(_length, 3),
    TEXTS: _by_provider(_text, 2),
    CHARGES: _add_charges,
    COUNTS: _add_counts,
    CACHES: _add_caches,
    HEALTH: _add_health,
}
