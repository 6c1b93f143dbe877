"""How conversations go on: how likely a next request is, how much of the prompt it repeats, how long its answer is.

Learned from which requests were continued within `WITHIN_S`, by policy, turn and expected size of the prompt. A request
counts once that time has passed, whether or not it was continued: counting the quick ones first would promise too much.
"""

from __future__ import annotations

from collections import deque

from arbstr.engine.learning.prefix_index import Known, Visit
from arbstr.engine.learning.token_estimator import BoundedDict
from arbstr.engine.routing.offer import Offer
from arbstr.types import Prefix, value_object

WITHIN_S = 300.0  # the usual life of a cache

_PRIOR = 0.3
_PRIOR_WEIGHT = 8.0  # requests after which a group counts as much as the next coarser one
_MEMORY = 200.0  # requests that a mean covers
_TURNS = 2  # kept apart: the first, and later ones
_MOST_WAITING = 20_000  # beyond, requests are not counted at all
_REPEATED, _PAUSE_S = 0.95, 60.0  # before anything is known
_PAIRS_WEIGHT = 10.0  # pairs of lengths after which their relation counts half
_PAIRS_MEMORY = 200.0

_Group = tuple[str | int | None, ...]
Groups = tuple[_Group, ...]  # of a request, from the coarsest to the finest


def groups_of(policy: str | None, turn: int, tokens: float) -> Groups:
    """Return the groups of a request that is its conversation's `turn`th; sizes are octaves of input tokens."""
    size = int(tokens).bit_length()
    if turn < _TURNS:
        return (policy, turn), (policy, turn, size)
    return (policy, 1), (policy, _TURNS), (policy, _TURNS, size)


@value_object
class Outlook:
    """What a request's prompt is known to find, and what is expected of its conversation.

    `found` are the tokens of the prompt that the caches of those offers should have that have seen some of it.
    `plain_output_tokens` is the expected length of the answer by its kind alone, `output_tokens` with those before it.
    """

    prefix: Prefix
    known: Known
    found: dict[Offer, float]
    turn: int
    groups: Groups
    goes_on: float
    input_tokens: float
    plain_output_tokens: float
    output_tokens: float
    at_s: float


class _Share:
    """How often something happened, of how many times: forgetting."""

    __slots__ = ("happened", "seen")

    def __init__(self) -> None:
        self.happened = self.seen = 0.0

    def add(self, happened: bool) -> None:
        keep = 1.0 if self.seen < _MEMORY else (_MEMORY - 1.0) / self.seen
        self.seen = self.seen * keep + 1.0
        self.happened = self.happened * keep + happened


class Conversations:
    """Learns how conversations go on.

    `repeated` is the share of a prompt that the next request repeats, `pause_s` the mean time until that comes.
    """

    def __init__(self) -> None:
        self._shares: BoundedDict[_Group, _Share] = BoundedDict(_Share)
        self._waiting: deque[tuple[Visit, Groups]] = deque()
        self._square = self._product = self._pairs = 0.0
        self.repeated, self.pause_s = _REPEATED, _PAUSE_S

    def goes_on(self, groups: Groups) -> float:
        """Return how likely a request of these groups is continued within `WITHIN_S`."""
        value = _PRIOR
        for group in groups:
            share = self._shares.get(group)
            if share is not None:
                value = (share.happened + value * _PRIOR_WEIGHT) / (share.seen + _PRIOR_WEIGHT)
        return value

    def output_tokens(self, parent: Visit, expected: float) -> float:
        """Return the expected length of an answer, given those before in its conversation."""
        if not self._square:
            return expected
        slope = self._product / self._square * self._pairs / (self._pairs + _PAIRS_WEIGHT)
        return expected + min(max(slope, 0.0), 1.0) * (parent.usual_output - expected)

    def add(self, visit: Visit, groups: Groups) -> None:
        """Add a request that may be continued, and its groups."""
        waiting, over_s = self._waiting, visit.at_s - WITHIN_S
        while waiting and waiting[0][0].at_s < over_s:
            over, its_groups = waiting.popleft()
            for group in its_groups:
                self._shares[group].add(over.continued)
        if len(waiting) < _MOST_WAITING:
            waiting.append((visit, groups))

    def continued(self, parent: Visit, at_s: float, repeated: float, expected: float, output_tokens: int) -> None:
        """Add the request that continues another.

        `repeated` is the share of the earlier prompt that it repeats, `expected` how long its answer was expected to be
        without knowing the earlier one, in tokens.
        """
        pause_s = at_s - parent.at_s
        if pause_s <= WITHIN_S and not parent.continued:
            parent.continued = True
            self.repeated += (min(repeated, 1.0) - self.repeated) / _MEMORY
            self.pause_s += (pause_s - self.pause_s) / _MEMORY
        apart = parent.usual_output - expected
        keep = 1.0 - 1.0 / _PAIRS_MEMORY
        self._square = self._square * keep + apart * apart
        self._product = self._product * keep + apart * (output_tokens - expected)
        self._pairs = self._pairs * keep + 1.0
