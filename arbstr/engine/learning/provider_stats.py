"""What experience says about one provider's offer: what it charges, how often it answers, how fast.

All of it ages: a seller that experience has put last gets no requests, and so could never show that it has changed.
Times are monotonic seconds.
"""

from __future__ import annotations

import statistics
from collections import deque
from itertools import islice
from typing import Any

from arbstr.engine.learning.codec import is_numbers

_CHARGES = 16  # charges looked back on
_KEPT_IN_DOUBT = 2
_FORGET_CHARGES_S = 86_400.0
_LEAST_RATIO, _LARGEST_RATIO = 0.5, 100.0
_ROUNDING_MSATS = 1  # computed costs are rounded half up, charges often up

_COUNTS_MEMORY = 16  # answers looked back on
_UNSEEN_MEMORY = 50.0  # answers in which the most that was unseen fades
_ENOUGH_COUNTS = 4
_LEAST_HIDDEN, _MOST_HIDDEN = 1.25, 10_000.0

_ATTEMPTS_HALF_LIFE_S = 3600.0
_ENOUGH_ATTEMPTS = 10.0  # before that many, a failure is chance
_LEAN_ATTEMPTS = 8.0  # successes that every seller is credited with
_WORST_SUCCESS = 0.2

_FORGET_SPEED_S = 900.0
_SPEED_MEMORY = 0.9  # what a measurement keeps of its weight when the next one comes


class ChargeRatio:
    """What a provider says it charged against what its rates say.

    `ratio` is the mean of recent ratios without the lowest and the highest, beginning with two ratios of 1: one odd
    charge moves nothing, three alike are believed. It stays between 0.5 and 100, because a charge is only claimed: by
    claiming little a seller can look half as dear and no better, and a claim of nothing (which honest nodes make too,
    where they don't know) is ignored. Nor may an absurd claim weigh for ever.

    A seller whose rates are all zero has no ratio that a price could be made of: `free_msats` is what it charges.
    """

    __slots__ = ("_latest_s", "_pairs", "_ratios", "free_msats", "ratio")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._pairs: deque[tuple[int, int]] = deque(maxlen=_CHARGES)
        self._ratios: deque[float] = deque((1.0, 1.0), maxlen=_CHARGES)
        self._latest_s = 0.0
        self.ratio = 1.0
        self.free_msats = 0.0

    @property
    def seen(self) -> int:
        """How many charges are looked back on."""
        return len(self._pairs)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Those charges, each with what the rates say, in msats, oldest first."""
        return list(self._pairs)

    @property
    def excess_msats(self) -> int:
        """How much more was charged than the rates say, over the charges looked back on."""
        return sum(charged - computed for charged, computed in self._pairs)

    def add(self, charged_msats: int, computed_msats: int, now_s: float) -> None:
        """A request was charged for."""
        if charged_msats <= 0:
            return
        self._latest_s = now_s
        self._pairs.append((charged_msats, computed_msats))
        self._ratios.append(_ratio(charged_msats, computed_msats))
        ratios = self._ratios
        self.ratio = (sum(ratios) - min(ratios) - max(ratios)) / (len(ratios) - 2) if len(ratios) > 2 else 1.0
        if computed_msats == 0:
            self.free_msats = statistics.median((0, 0, *(charged for charged, _ in self._pairs)))

    def doubt(self) -> None:
        """Forget all but the last two charges: a few new ones will outweigh those."""
        self._pairs = deque(islice(self._pairs, max(len(self._pairs) - _KEPT_IN_DOUBT, 0), None), _CHARGES)
        self._ratios = deque(islice(self._ratios, max(len(self._ratios) - _KEPT_IN_DOUBT, 0), None), _CHARGES)

    def age(self, now_s: float) -> None:
        """Forget everything a day after the last charge: prices change, and a seller must be able to come back."""
        if self._pairs and now_s - self._latest_s > _FORGET_CHARGES_S:
            self._forget()


def _ratio(charged_msats: int, computed_msats: int) -> float:
    if abs(charged_msats - computed_msats) <= _ROUNDING_MSATS:
        return 1.0
    if computed_msats == 0:
        return _LARGEST_RATIO
    return min(max(charged_msats / computed_msats, _LEAST_RATIO), _LARGEST_RATIO)


class Counts:
    """How many tokens a provider counts of answers, against those that can be seen of them.

    `hidden` is the one over the other: models think unseen, and some providers count too many. Small differences are
    none, and a few answers prove nothing. `unseen` is the most that was counted beyond of late, which fades.
    """

    __slots__ = ("_counted", "_visible", "hidden", "seen", "unseen")

    def __init__(self) -> None:
        self.seen = 0
        self._counted = self._visible = 0.0
        self.hidden, self.unseen = 1.0, 0.0

    def add(self, counted: float, visible: float) -> None:
        """An answer came, with so many tokens by the provider's count, and so many to see at most."""
        self.seen += 1
        self._counted += counted - self._counted / _COUNTS_MEMORY
        self._visible += visible - self._visible / _COUNTS_MEMORY
        self.unseen = max(counted - visible, self.unseen - self.unseen / _UNSEEN_MEMORY)
        self._divide()

    def _divide(self) -> None:
        ratio = self._counted / self._visible if self._visible else 1.0
        self.hidden = min(ratio, _MOST_HIDDEN) if self.seen >= _ENOUGH_COUNTS and ratio > _LEAST_HIDDEN else 1.0

    def state(self) -> list[float]:
        """All of it, fit for JSON."""
        return [self.seen, self._counted, self._visible, self.unseen]

    def restore(self, state: Any) -> None:
        """Take over what `state` gave, if that makes sense."""
        if is_numbers(state, 4):
            self.seen = int(state[0])
            self._counted, self._visible, self.unseen = map(float, state[1:])
            self._divide()


class SuccessRate:
    """How often a provider answers when asked. An attempt's weight halves every hour."""

    __slots__ = ("_at_s", "_failed", "_ok")

    def __init__(self) -> None:
        self._ok = self._failed = self._at_s = 0.0

    def add(self, ok: bool, now_s: float) -> None:
        """An attempt has ended."""
        self.age(now_s)
        if ok:
            self._ok += 1.0
        else:
            self._failed += 1.0

    def age(self, now_s: float) -> None:
        """Let what is known lose weight."""
        if self._failed or self._ok:
            keep = 0.5 ** ((now_s - self._at_s) / _ATTEMPTS_HALF_LIFE_S)
            self._ok *= keep
            self._failed *= keep
        self._at_s = now_s

    @property
    def rate(self) -> float:
        """The share that succeeds, leaning to 1 while there is little to go by; never below 0.2."""
        total = self._ok + self._failed
        if total < _ENOUGH_ATTEMPTS or not self._failed:
            return 1.0
        return max((self._ok + _LEAN_ATTEMPTS) / (total + _LEAN_ATTEMPTS), _WORST_SUCCESS)

    @property
    def any_failed(self) -> bool:
        """Whether failures are remembered; without any the rate is 1."""
        return self._failed > 0.0

    @property
    def only_failures(self) -> bool:
        """Whether it was asked of late and never answered."""
        return self._failed > 0.5 > self._ok


class LatencyModel:
    """How long answers take: a line through durations over lengths, the recent ones counting more.

    Its height at no tokens is the time to the first byte, its slope the time per token.
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

    def add(self, output_tokens: float, duration_ms: float, now_s: float) -> None:
        """So many tokens were there after so long; no tokens is the first byte."""
        self._latest_s = now_s
        self._weight = self._weight * _SPEED_MEMORY + 1.0
        self._length = self._length * _SPEED_MEMORY + output_tokens
        self._duration = self._duration * _SPEED_MEMORY + duration_ms
        self._length_square = self._length_square * _SPEED_MEMORY + output_tokens * output_tokens
        self._length_duration = self._length_duration * _SPEED_MEMORY + output_tokens * duration_ms

    def age(self, now_s: float) -> None:
        """Forget everything after a quarter of an hour without a measurement, so that a slow seller is tried again."""
        if self._weight and now_s - self._latest_s > _FORGET_SPEED_S:
            self._forget()

    def expected_ms(self, output_tokens: float) -> float | None:
        """How long an answer of so many tokens takes, None if nothing is known."""
        if not self._weight:
            return None
        length, duration = self._length / self._weight, self._duration / self._weight
        # One token of spread is added, so that answers of nearly the same length give no wild slope. The difference of
        # large squares is less exact than that, and may even be negative.
        spread = max(self._length_square / self._weight - length * length, 0.0) + 1.0
        slope = (self._length_duration / self._weight - length * duration) / spread
        slope = min(max(slope, 0.0), duration / length if length else 0.0)
        return max(duration - slope * length, 0.0) + slope * output_tokens
