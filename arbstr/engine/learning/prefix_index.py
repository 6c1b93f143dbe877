"""Which prompts providers have seen lately, and so may still hold in their caches; hashes alone, no text.

Of each prompt a dozen places are kept (`Prefix.kept`). A longer prompt that begins alike is then known to the last of
them that it shares.
"""

from __future__ import annotations

from typing import NamedTuple

from arbstr.engine.routing.offer import Offer
from arbstr.types import MOST_KEPT, Prefix

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


class Known(NamedTuple):
    """What is known of a prompt.

    `parent` is the request that it continues. `held` are, by offer, the shares of the prompt that it has seen, each
    with the instant when; `share` is the largest of any. `places` are those to remember it by.
    """

    parent: Visit | None
    held: dict[Offer, list[tuple[float, float]]]
    share: float
    places: tuple[int, ...]


class PrefixIndex:
    """The places of prompts, with the latest visit of each offer there.

    Two generations: what is seen is in the younger one, which becomes the older one when it is full or half of
    `RETAIN_S` old; then the older one is dropped. Times are monotonic seconds.
    """

    def __init__(self, most: int = MOST_PLACES) -> None:
        self._most = most // 2
        self._young: dict[int, tuple[Visit, ...]] = {}
        self._old: dict[int, tuple[Visit, ...]] = {}
        self._born_s: float | None = None

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, prefix: Prefix, now_s: float) -> Known:
        """Return what is known of a prompt."""
        hashes, ends, size, places = prefix.hashes, prefix.ends, prefix.size, prefix.kept
        deepest = self._deepest(hashes, places)
        held: dict[Offer, list[tuple[float, float]]] = {}
        if deepest < 0:
            return Known(None, held, 0.0, places)
        young, old = self._young, self._old
        latest = (young.get(hashes[deepest]) or old[hashes[deepest]])[-1]
        share, before = 0.0, None
        for place in [deepest, *[place for place in places if place < deepest]]:
            visits = young.get(hashes[place]) or old.get(hashes[place])
            if visits is None or visits is before:
                continue
            before = visits
            for visit in visits:
                if now_s - visit.at_s > RETAIN_S:
                    continue
                share = share or ends[place] / size
                seen = held.get(visit.offer)
                if seen is None:
                    held[visit.offer] = [(ends[place] / size, visit.at_s)]
                elif visit.at_s > seen[-1][1]:
                    seen.append((ends[place] / size, visit.at_s))
        if deepest not in places:
            places = (*places, deepest)
        return Known(_parent(latest, hashes[deepest], now_s), held, share, places)

    def add(self, prefix: Prefix, known: Known, visit: Visit) -> None:
        """Add a request, of whose prompt `known` was found before."""
        self._turn_over(visit.at_s)
        hashes, young, old, offer = prefix.hashes, self._young, self._old, visit.offer
        alone = (visit,)
        before: tuple[Visit, ...] | None = None
        joined: tuple[Visit, ...] = alone
        for place in known.places:
            key = hashes[place]
            visits = young.get(key) or old.get(key)
            if visits is None or (len(visits) == 1 and visits[0].offer is offer):
                young[key] = alone
                continue
            if visits is not before:  # a prompt's places have mostly been seen by the same
                before = visits
                joined = (*[one for one in visits if one.offer is not offer][1 - _HOLDERS :], visit)
            young[key] = joined

    def _deepest(self, hashes: tuple[int, ...], places: tuple[int, ...]) -> int:
        """Return the last place that is known; -1 if none is."""
        young, old = self._young, self._old
        last = len(hashes) - 1
        for place in range(last, max(last - _LOOKED_AT, -1), -1):
            if hashes[place] in young or hashes[place] in old:
                return place
        return next((place for place in places if hashes[place] in young or hashes[place] in old), -1)

    def _turn_over(self, now_s: float) -> None:
        if self._born_s is None:
            self._born_s = now_s
        room = self._most - MOST_KEPT
        if len(self._young) >= room or now_s - self._born_s > RETAIN_S / 2:
            self._old, self._young, self._born_s = self._young, {}, now_s


def _parent(visit: Visit, key: int, now_s: float) -> Visit | None:
    """Return the request that a prompt continues, whose deepest known place has this latest visit; None: it is new."""
    return visit if visit.end == key and visit.turn and now_s - visit.at_s <= RETAIN_S else None
