"""State kept over restarts: what was learned, the breakers' states, what was spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from arbstr.bus import Subscription
from arbstr.engine.budget import Budgets
from arbstr.engine.learning import codec
from arbstr.engine.sessions import Sessions
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.writer import LedgerWriter
from arbstr.runtime.composition import Composition
from arbstr.sanitize import json_or_none

if TYPE_CHECKING:
    from arbstr.runtime.sharing import Sharing

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 30.0  # what a crash may lose of what was learned
SAVE_APART_S = 1.0
LOAD_EVERY_S = 1.0


class StatePersistence:
    """Keeps what the `current` composition has learned in the ledger, over restarts.

    `changes` receives the breakers' events. With `sharing` that is what adds to what was learned.
    """

    def __init__(
        self,
        ledger: LedgerWriter,
        current: Callable[[], Composition],
        sessions: Sessions,
        changes: Subscription,
        sharing: Sharing | None = None,
    ) -> None:
        self._ledger = ledger
        self._current = current
        self._sessions = sessions
        self._changes = changes
        self._sharing = sharing

    async def load(self) -> None:
        """Restore the saved state."""
        learned: LearnedState = await self._ledger.load_learned()
        now = self._current()
        now.router.learner.restore(learned.ratios, learned.cells)
        saved = {name: json_or_none(text) for (kind, name), text in learned.cells.items() if kind == codec.HEALTH}
        now.health.restore(saved)
        if self._sharing is not None:
            self._sharing.loaded(learned)
        now.lists.restore(learned.cells)
        self._sessions.key = await self._ledger.session_key()

    def save(self) -> None:
        """Save the present state in the ledger."""
        now = self._current()
        if self._sharing is not None:  # which adds to what all have learned; and others know which breakers are open
            self._ledger.save_learned({}, now.lists.export())
            return
        ratios, learned = now.router.learner.export()
        states = {(codec.HEALTH, name): codec.dumps(state) for name, state in now.health.export().items()}
        self._ledger.save_learned(ratios, {**learned, **states, **now.lists.export()})

    async def save_periodically(self) -> None:
        """Save at intervals, and soon after a breaker has changed; the owner cancels it."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY_S):
                    await self._changes.wait()
            self._changes.drain()
            self.save()
            if not self._sessions.key:
                self._sessions.key = await self._ledger.session_key()
            await asyncio.sleep(SAVE_APART_S)


class SpendPersistence:
    """Loads past spending from the ledger, retrying until it answers: until then budgets admit nothing."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._failing = False

    async def load(self) -> None:
        """Load once what is not known yet."""
        try:
            await self._budgets.recall()
        except LedgerUnavailable as error:
            if not self._failing:
                logger.warning("budgets admit no requests until past spending can be read: %s", error)
            self._failing = True
        else:
            if self._failing:
                logger.warning("past spending has been read; budgets admit requests again")
            self._failing = False

    async def load_missing(self) -> None:
        """Load what is unknown, again and again, also after a jump of the clock; the owner cancels it."""
        while True:
            await asyncio.sleep(LOAD_EVERY_S)
            if self._budgets.unknown:
                await self.load()
