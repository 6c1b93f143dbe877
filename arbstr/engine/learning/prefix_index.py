"""Which prompts providers have seen lately, and so may still hold in their caches; hashes alone, no text.

Of each prompt a dozen places are kept (`Prefix.kept`). A longer prompt that begins alike is then known to the last of
them that it shares. Places in a row that the same offers have seen are one stretch: a conversation at one provider is
one, however long it grows, and what all of an agent's conversations begin with is another, above them.
"""

from __future__ import annotations

import math

from arbstr.engine.routing.offer import Offer
from arbstr.types import MOST_KEPT, Prefix, value_object

RETAIN_S = 3600.0  # no cache is expected to hold a prompt longer
MOST_PLACES = 100_000

_LOOKED_AT = 64  # places before the end of a prompt, among which that of the request before is looked for
_HOLDERS = 32  # offers remembered for a place


class Visit:
    """A request that an offer has answered. `end` is the hash of all of its prompt, `size` how long that is.

    `turn` counts the requests of its conversation so far, 0 where it is unknown: its prompt held nothing new.
    `usual_output` are the tokens of its answer, with those of the answers before, each counting half of the next one.
    """

    __slots__ = ("at_s", "continued", "end", "offer", "size", "turn", "usual_output")

    def __init__(self, offer: Offer, at_s: float, end: int, turn: int, size: int, usual_output: float) -> None:
        self.offer = offer
        self.at_s = at_s
        self.end = end
        self.turn = turn
        self.size = size
        self.usual_output = usual_output
        self.continued = False


class Stretch:
    """Places of prompts, one after the other, that the same offers have seen; more may have seen their beginning.

    `visits` are the latest of each offer, in order; `end` is how far the last place is, in `Prefix.ends`. The stretch
    `above` ends before this one, and what has visited this one has visited that one too. One that `is_parted` stays as
    long as it is, since others begin at its end.
    """

    __slots__ = ("above", "end", "is_parted", "visits")

    def __init__(self, above: Stretch | None, visits: tuple[Visit, ...], end: int) -> None:
        self.above = above
        self.visits = visits
        self.end = end
        self.is_parted = False
        if above is not None:
            above.is_parted = True

    def highest(self, reach: int) -> Stretch:
        """Return the first from above that ends there or later."""
        highest, above = self, self.above
        while above is not None and above.end >= reach:
            highest, above = above, above.above
        return highest

    def cut(self, end: int) -> Stretch:
        """Return one above that ends there, where this one does not end yet."""
        above = self.above = Stretch(self.above, self.visits, end)
        above.is_parted = True
        return above

    def add(self, visit: Visit) -> None:
        """Add a visit to all of its places, and of those above."""
        alone, offer, oldest_s = (visit,), visit.offer, visit.at_s - RETAIN_S
        stretch: Stretch | None = self
        while stretch is not None:
            visits = stretch.visits
            if len(visits) == 1 and visits[0].offer is offer:  # as a rule
                stretch.visits = alone
            else:
                others = [one for one in visits if one.offer is not offer and one.at_s > oldest_s]
                stretch.visits = (*others[1 - _HOLDERS :], visit) if others else alone
            stretch = stretch.above


@value_object
class Known:
    """What is known of a prompt.

    `parent` is the request that it continues. `seen` are the shares of the prompt that offers have seen, the largest
    first, each with the visits that have; `share` is the first of them. `deepest` is the last place that is known, -1
    if none is.
    """

    parent: Visit | None
    seen: list[tuple[float, tuple[Visit, ...]]]
    share: float
    deepest: int

    def held_by(self, offer: Offer, since_s: float) -> list[tuple[float, float]]:
        """Return the shares that an offer has seen since then, with the instants; smaller ones if they are newer."""
        held: list[tuple[float, float]] = []
        for share, visits in self.seen:
            for visit in visits:
                if visit.offer is offer and visit.at_s > since_s:
                    held.append((share, visit.at_s))
                    since_s = visit.at_s
        return held


class PrefixIndex:
    """The places of prompts, each with its stretch.

    Two generations: what is seen is in the younger one, which becomes the older one when it is full or half of
    `RETAIN_S` old; then the older one is dropped. Times are monotonic seconds.
    """

    def __init__(self, most: int = MOST_PLACES) -> None:
        self._room = most // 2 - MOST_KEPT
        self._young: dict[int, Stretch] = {}
        self._old: dict[int, Stretch] = {}
        self._turns_at_s = -math.inf

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, prefix: Prefix, now_s: float) -> Known:
        """Return what is known of a prompt."""
        deepest, stretch = self._deepest(prefix)
        seen: list[tuple[float, tuple[Visit, ...]]] = []
        if stretch is None:
            return Known(None, seen, 0.0, -1)
        reach, size, oldest_s, latest = prefix.ends[deepest], prefix.size, now_s - RETAIN_S, stretch.visits[-1]
        while stretch is not None:
            visits = stretch.visits
            if visits[-1].at_s > oldest_s:
                seen.append((min(reach, stretch.end) / size, visits))
            stretch = stretch.above
        if not seen:
            return Known(None, seen, 0.0, deepest)
        continues = latest.end == prefix.hashes[deepest] and latest.turn
        return Known(latest if continues else None, seen, seen[0][0], deepest)

    def add(self, prefix: Prefix, known: Known, visit: Visit) -> None:
        """Add a request, of whose prompt `known` was found before."""
        at_s, young = visit.at_s, self._young
        if at_s >= self._turns_at_s or len(young) >= self._room:
            young = self._turn_over(at_s)
        hashes, ends, kept, deepest = prefix.hashes, prefix.ends, prefix.kept, known.deepest
        last = kept[0]
        if (deepest < last and hashes[last] in young) or (deepest < 0 and hashes[kept[-1]] in young):
            deepest, stretch = self._deepest(prefix)  # a prompt that begins alike has been added meanwhile
        else:
            stretch = None if deepest < 0 else self._reaching(prefix, deepest)
        if stretch is None:
            deepest = -1
        else:
            if stretch.end > ends[deepest]:
                stretch = stretch.cut(ends[deepest])
            stretch.add(visit)
            if hashes[deepest] not in young:
                self._keep(prefix, deepest)
        if deepest >= last:
            return
        if stretch is None or stretch.is_parted or len(stretch.visits) > 1:
            stretch = Stretch(stretch, (visit,), ends[last])
        stretch.end = ends[last]
        for place in kept:
            if place <= deepest:
                break
            young[hashes[place]] = stretch

    def _keep(self, prefix: Prefix, deepest: int) -> None:
        """Take the places of a prompt into the younger generation."""
        for place in (deepest, *prefix.kept):
            key = prefix.hashes[place]
            if place <= deepest and key in self._old:
                self._young[key] = self._old[key]

    def _reaching(self, prefix: Prefix, place: int) -> Stretch | None:
        """Return the first of the stretches from above that reach as far as a place; None if it is not known."""
        key = prefix.hashes[place]
        stretch = self._young.get(key) or self._old.get(key)
        return None if stretch is None else stretch.highest(prefix.ends[place])

    def _deepest(self, prefix: Prefix) -> tuple[int, Stretch | None]:
        """Return the last place that is known, -1 if none is, and the first stretch from above that reaches it."""
        hashes, young, old = prefix.hashes, self._young, self._old
        last = len(hashes) - 1
        for place in range(last, max(last - _LOOKED_AT, -1), -1):
            key = hashes[place]
            if key in young:
                return place, young[key].highest(prefix.ends[place])
            if key in old:
                return place, old[key].highest(prefix.ends[place])
        deepest = next((place for place in prefix.kept if hashes[place] in young or hashes[place] in old), -1)
        return deepest, None if deepest < 0 else self._reaching(prefix, deepest)

    def _turn_over(self, now_s: float) -> dict[int, Stretch]:
        """Begin another generation, and return it."""
        self._old, self._young = self._young, {}
        self._turns_at_s = now_s + RETAIN_S / 2
        return self._young
