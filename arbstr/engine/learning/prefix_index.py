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

_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


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
        hashes, ends, size, kept = prefix.hashes, prefix.ends, prefix.size, prefix.kept
        deepest = self._deepest(hashes, kept)
        held: dict[Offer, list[tuple[float, float]]] = {}
        if deepest < 0:
            return _new(Known, (None, held, 0.0, kept))
        young, old = self._young, self._old
        latest = (young.get(hashes[deepest]) or old[hashes[deepest]])[-1]
        first = young.get(hashes[kept[-1]]) or old.get(hashes[kept[-1]])
        share, before, oldest_s = 0.0, None, now_s - RETAIN_S
        for place in (deepest, *kept):
            if place > deepest:
                continue
            visits = young.get(hashes[place]) or old.get(hashes[place])
            if visits is before or visits is None:
                continue
            before, part = visits, ends[place] / size
            for visit in visits:
                offer, at_s = visit.offer, visit.at_s
                if at_s < oldest_s:
                    continue
                share = share or part
                if offer not in held:
                    held[offer] = [(part, at_s)]
                elif at_s > held[offer][-1][1]:
                    held[offer].append((part, at_s))
            if visits is first:  # then no others have seen the places in between
                break
        continues = latest.end == hashes[deepest] and latest.turn and latest.at_s >= oldest_s
        places = kept if deepest in kept else (*kept, deepest)
        return _new(Known, (latest if continues else None, held, share, places))

    def add(self, prefix: Prefix, known: Known, visit: Visit) -> None:
        """Add a request, of whose prompt `known` was found before."""
        self._turn_over(visit.at_s)
        hashes, young, old, offer = prefix.hashes, self._young, self._old, visit.offer
        alone: tuple[Visit, ...] = (visit,)
        joined, before = alone, None
        for place in known.places:
            key = hashes[place]
            visits = young.get(key) or old.get(key)
            if visits is not before:  # places that the same have seen share one tuple
                before = visits
                others = [one for one in visits or () if one.offer is not offer]
                both = (*others[1 - _HOLDERS :], visit) if others else alone
                joined = joined if joined == both else both
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
