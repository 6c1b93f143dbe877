"""What this instance has learned is added to what all have, every half minute, and what others have added is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.learning.codec import CACHES, CHARGES, COUNTS, HEALTH, LENGTHS, RATIOS, TEXTS, dumps
from arbstr.engine.learning.learner import Learner
from arbstr.engine.learning.merging import is_same, merge
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.postgres.learned import Addition, Cell, add_learned, is_done
from arbstr.sanitize import json_or_none
from arbstr.sharing.exchange import Channel

EVERY_S = 30.0  # what a crash may lose of what was learned
_KINDS = (LENGTHS, TEXTS, CHARGES, COUNTS, CACHES, HEALTH)


class Learning(Protocol):
    """The parts of the configuration in force that learn."""

    @property
    def learner(self) -> Learner:
        """What learns of answers and charges."""
        ...

    @property
    def health(self) -> CircuitBreakers:
        """The breakers, which learn how often providers answer, and how soon."""
        ...


class SharedLearning:
    """Shares what the `current` configuration learns. `clock` is monotonic seconds."""

    def __init__(self, current: Callable[[], Learning], instance: str, clock: Callable[[], float]) -> None:
        self._current = current
        self._instance = instance
        self._clock = clock
        self._known: dict[Cell, str] = {}  # as all know it, and from which what is here has grown
        self._since = 0
        self._number = 0
        self._unsure: dict[Cell, str] = {}  # what was added, or not: the connection was lost amid that
        self._due_s = clock()

    def loaded(self, learned: LearnedState) -> None:
        """Note what the learner was restored from."""
        ratios = {(RATIOS, policy): dumps([seen, ratio]) for policy, (ratio, seen) in learned.ratios.items()}
        self._known = {cell: text for cell, text in learned.cells.items() if cell[0] in _KINDS} | ratios

    async def sync(self, channel: Channel) -> None:
        """Add and take, if that is due. Raises `LedgerUnavailable`."""
        if self._clock() >= self._due_s:
            await self.sync_now(channel)
            self._due_s = self._clock() + EVERY_S

    async def sync_now(self, channel: Channel) -> None:
        """Add what was learned here, and take what others have added. Raises `LedgerUnavailable`."""
        await self._settle(channel)
        exported = _cells(self._current())
        own = {cell: text for cell, text in exported.items() if not is_same(text, self._known.get(cell))}
        self._number += 1
        known = {cell: text for cell in own if (text := self._known.get(cell)) is not None}
        addition = Addition(own, known, self._since, _KINDS, merge, self._instance, self._number)
        self._unsure = own
        added = await channel.do(lambda db: add_learned(db, addition))
        self._unsure = {}
        self._since = added.version
        self._take(added.cells, exported)

    async def _settle(self, channel: Channel) -> None:
        """Find out whether what was added when the connection was lost counts: it must do so once."""
        if self._unsure:
            done = await channel.do(lambda db: is_done(db, self._instance, self._number))
            self._known |= self._unsure if done else {}
        self._unsure = {}

    def _take(self, shared: Mapping[Cell, str], exported: Mapping[Cell, str]) -> None:
        """Go on from what is shared now, with what was learned here meanwhile."""
        current = self._current()
        here = _cells(current) if any(text != exported.get(cell) for cell, text in shared.items()) else exported
        changed = {}
        for cell, text in shared.items():
            both = merge(cell[0], text, exported.get(cell), here.get(cell))
            if both is not None and not is_same(both, here.get(cell)):
                changed[cell] = both
        self._known |= shared
        pairs = {policy: json_or_none(text) for (kind, policy), text in changed.items() if kind == RATIOS}
        ratios = {policy: (float(pair[1]), int(pair[0])) for policy, pair in pairs.items()}
        current.learner.restore(ratios, {cell: text for cell, text in changed.items() if cell[0] != RATIOS})
        current.health.restore({name: json_or_none(text) for (kind, name), text in changed.items() if kind == HEALTH})


def _cells(current: Learning) -> dict[Cell, str]:
    """Return what was learned by kind and key, token ratios among it."""
    ratios, cells = current.learner.export()
    of_policies = {(RATIOS, policy): dumps([seen, ratio]) for policy, (ratio, seen) in ratios.items()}
    of_providers = {(HEALTH, name): dumps(figures) for name, figures in current.health.figures().items()}
    return {**cells, **of_policies, **of_providers}
