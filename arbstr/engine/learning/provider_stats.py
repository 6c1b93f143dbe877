"""Estimators for one provider's offer: charge ratio, hidden tokens, success rate, latency.

All of them age: a provider ranked last gets no requests, and could otherwise never show that it has changed. Times are
monotonic seconds.
"""

from __future__ import annotations

import statistics
from collections import deque
from itertools import islice
from typing import Any

from arbstr.engine.learning.codec import is_numbers

MOST_CHARGES = 16  # most recent charges kept
_KEPT_IN_DOUBT = 2
_FORGET_CHARGES_S = 86_400.0
LEAST_RATIO, _LARGEST_RATIO = 0.5, 100.0
_ROUNDING_MSATS = 1  # computed costs are rounded half up, charges often up

COUNTS_MEMORY = 16  # responses averaged over
_UNSEEN_MEMORY = 50.0  # responses over which the maximum of unseen tokens decays
_ENOUGH_COUNTS = 4
_LEAST_HIDDEN, _MOST_HIDDEN = 1.25, 10_000.0

_ATTEMPTS_HALF_LIFE_S = 3600.0
_AGED_EVERY_S = 1.0
_ENOUGH_ATTEMPTS = 10.0  # before that many, a failure is chance
_LEAN_ATTEMPTS = 8.0  # successes credited to every provider (the prior)
_WORST_SUCCESS = 0.2

_FORGET_SPEED_S = 900.0
_SPEED_MEMORY = 0.9  # what a measurement keeps of its weight when the next one comes


class ChargeRatio:
    """A provider's charges relative to its list costs.

    `ratio` is the mean of recent ratios without the lowest and the highest, starting with two ratios of 1: one odd
    charge changes nothing, three alike are believed. It stays between 0.5 and 100, because a charge is only a claim: a
    provider that claims little looks half as expensive at best, and a claim of zero (which honest nodes make too, when
    they don't know) is ignored. Nor does an absurd claim count for ever.

    A provider whose rates are all zero has no meaningful ratio: `free_msats` is what it charges.
    """

    __slots__ = ("_latest_s", "_pairs", "_ratios", "free_msats", "ratio")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._pairs: deque[tuple[int, int]] = deque(maxlen=MOST_CHARGES)
        self._ratios: deque[float] = deque((1.0, 1.0), maxlen=MOST_CHARGES)
        self._latest_s = 0.0
        self.ratio = 1.0
        self.free_msats = 0.0

    @property
    def seen(self) -> int:
        """How many charges are kept."""
        return len(self._pairs)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The charges kept, each with its list cost, in msats, oldest first."""
        return list(self._pairs)

    @property
    def excess_msats(self) -> int:
        """The charges kept minus their list costs, in msats."""
        return sum(charged - computed for charged, computed in self._pairs)

    def add(self, charged_msats: int, computed_msats: int, now_s: float) -> float:
        """Add the charge of a request, and its list cost; return the ratio from now on."""
        if charged_msats <= 0:
            return self.ratio
        self._latest_s = now_s
        self._pairs.append((charged_msats, computed_msats))
        ratios, ratio = self._ratios, _ratio(charged_msats, computed_msats)
        replaces_its_like = len(ratios) == MOST_CHARGES and ratios[0] == ratio
        ratios.append(ratio)
        if not replaces_its_like:
            self.ratio = (sum(ratios) - min(ratios) - max(ratios)) / (len(ratios) - 2) if len(ratios) > 2 else 1.0
        if computed_msats == 0:
            self.free_msats = statistics.median((0, 0, *(charged for charged, _ in self._pairs)))
        return self.ratio

    def doubt(self) -> None:
        """Drop all but the last two charges, which a few new ones will outweigh."""
        self._pairs = deque(islice(self._pairs, max(len(self._pairs) - _KEPT_IN_DOUBT, 0), None), MOST_CHARGES)
        self._ratios = deque(islice(self._ratios, max(len(self._ratios) - _KEPT_IN_DOUBT, 0), None), MOST_CHARGES)

    def age(self, now_s: float) -> None:
        """Forget everything a day after the last charge: prices change, and a provider must be able to come back."""
        if self._pairs and now_s - self._latest_s > _FORGET_CHARGES_S:
            self._forget()


def _ratio(charged_msats: int, computed_msats: int) -> float:
    if abs(charged_msats - computed_msats) <= _ROUNDING_MSATS:
        return 1.0
    if computed_msats == 0:
        return _LARGEST_RATIO
    return min(max(charged_msats / computed_msats, LEAST_RATIO), _LARGEST_RATIO)


class Counts:
    """Output tokens as counted by a provider, relative to those visible in its responses.

    `hidden` is that ratio: reasoning is not shown, and some providers count too many. Small differences and small
    samples are ignored. `unseen` is the recent maximum of tokens counted beyond the visible ones; it decays.
    """

    __slots__ = ("_counted", "_visible", "hidden", "seen", "unseen")

    def __init__(self) -> None:
        self.seen = 0
        self._counted = self._visible = 0.0
        self.hidden, self.unseen = 1.0, 0.0

    def add(self, counted: float, visible: float) -> None:
        """Add a response: `counted` tokens by the provider's count, at most `visible` of them visible."""
        self.seen += 1
        self._counted += counted - self._counted / COUNTS_MEMORY
        self._visible += visible - self._visible / COUNTS_MEMORY
        if counted > visible or self.unseen:
            self.unseen = max(counted - visible, self.unseen - self.unseen / _UNSEEN_MEMORY)
        self._divide()

    def _divide(self) -> None:
        ratio = self._counted / self._visible if self._visible else 1.0
        self.hidden = min(ratio, _MOST_HIDDEN) if self.seen >= _ENOUGH_COUNTS and ratio > _LEAST_HIDDEN else 1.0

    def state(self) -> list[float]:
        """Return the state, fit for JSON."""
        return [self.seen, self._counted, self._visible, self.unseen]

    def restore(self, state: Any) -> None:
        """Restore what `state` returned, if it is valid."""
        if is_numbers(state, 4):
            self.seen = int(state[0])
            self._counted, self._visible, self.unseen = map(float, state[1:])
            self._divide()


class SuccessRate:
    """The share of a provider's attempts that succeed. An attempt's weight halves every hour."""

    __slots__ = ("_at_s", "_failed", "_ok")

    def __init__(self) -> None:
        self._ok = self._failed = self._at_s = 0.0

    def add(self, ok: bool, now_s: float) -> bool:
        """Add the outcome of an attempt; return whether failures are remembered: without any the rate is 1."""
        if now_s - self._at_s >= _AGED_EVERY_S:
            self.age(now_s)
        if ok:
            self._ok += 1.0
        else:
            self._failed += 1.0
        return self._failed > 0.0

    def age(self, now_s: float) -> None:
        """Decay the weight of past attempts."""
        if self._failed or self._ok:
            keep = 0.5 ** ((now_s - self._at_s) / _ATTEMPTS_HALF_LIFE_S)
            self._ok *= keep
            self._failed *= keep
        self._at_s = now_s

    @property
    def rate(self) -> float:
        """The share that succeeds, shrunk towards 1 while there are few attempts; never below 0.2."""
        total = self._ok + self._failed
        if total < _ENOUGH_ATTEMPTS or not self._failed:
            return 1.0
        return max((self._ok + _LEAN_ATTEMPTS) / (total + _LEAN_ATTEMPTS), _WORST_SUCCESS)

    @property
    def only_failures(self) -> bool:
        """Whether there were recent attempts and none succeeded."""
        return self._failed > 0.5 > self._ok


class LatencyModel:
    """Response latency: a weighted least-squares line of duration over length, recent measurements counting more.

    Its intercept is the time to the first byte, its slope the time per token.
    """

    __slots__ = (
        "_duration",
        "_latest_s",
        "_length",
        "_length_duration",
        "_length_square",
        "_weight",
    )

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._weight = self._length = self._duration = self._length_square = self._length_duration = 0.0
        self._latest_s = 0.0

    def add(self, output_tokens: float, duration_ms: float, now_s: float, first_byte_ms: float | None = None) -> None:
        """Add a measurement: `output_tokens` after `duration_ms`, and the first byte's if there is one.

        Zero tokens is the first byte.
        """
        self._latest_s = now_s
        weight, duration, keep = self._weight, self._duration, _SPEED_MEMORY
        if first_byte_ms is not None:
            weight, duration = weight * keep + 1.0, duration * keep + first_byte_ms
            keep *= _SPEED_MEMORY
        self._weight = weight * _SPEED_MEMORY + 1.0
        self._duration = duration * _SPEED_MEMORY + duration_ms
        self._length = self._length * keep + output_tokens
        self._length_square = self._length_square * keep + output_tokens * output_tokens
        self._length_duration = self._length_duration * keep + output_tokens * duration_ms

    def age(self, now_s: float) -> None:
        """Forget everything after 15 minutes without a measurement, so that a slow provider is tried again."""
        if self._weight and now_s - self._latest_s > _FORGET_SPEED_S:
            self._forget()

    def expected_ms(self, output_tokens: float) -> float | None:
        """Return how long a response of `output_tokens` takes, None if unknown."""
        if not self._weight:
            return None
        length, duration = self._length / self._weight, self._duration / self._weight
        # One token of variance is added, so that responses of nearly the same length give no wild slope. The difference
        # of large squares is less exact than that, and may even be negative.
        spread = max(self._length_square / self._weight - length * length, 0.0) + 1.0
        slope = (self._length_duration / self._weight - length * duration) / spread
        slope = min(max(slope, 0.0), duration / length if length else 0.0)
        return max(duration - slope * length, 0.0) + slope * output_tokens
