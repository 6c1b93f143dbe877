"""Alerts of what instances share: the first that claims one in the database posts it, for all.

A claim ends after a while, and never keeps the instance that holds it from posting the same again: it goes on hearing
of what the others hear. Where the database can't say whose an alert is, each instance posts it: better twice than
never.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from arbstr.config.schema import Provider
from arbstr.engine.learning.codec import dumps
from arbstr.events import Alert
from arbstr.ledger.postgres import shared_states
from arbstr.sharing.exchange import Channel, Exchange
from arbstr.sharing.parts import Digests

logger = logging.getLogger(__name__)

PATIENCE_S = 2.0  # for the database to say whose an alert is
HELD_S = 600.0  # until then others have heard of what it tells; a budget's is held until its period ends
_LONGEST_S = 32 * 86_400.0
_KIND = "alert"
_OWN = frozenset({"unexplained_charge"})  # each charge is another, and no two instances need have found the same


class Configured(Protocol):
    """The parts of the configuration in force that are seen here."""

    @property
    def providers(self) -> Sequence[Provider]:
        """The configured providers."""
        ...


class SharedAlerts:
    """Claims alerts for this `instance`. `now_ms` is the wall clock."""

    def __init__(
        self,
        current: Callable[[], Configured],
        exchange: Exchange,
        instance: str,
        digests: Digests,
        now_ms: Callable[[], int],
    ) -> None:
        self._current = current
        self._exchange = exchange
        self._instance = instance
        self._digests = digests
        self._now_ms = now_ms

    async def claim(self, alert: Alert) -> bool:
        """Return whether this instance is to post an alert; within two seconds, whatever the database does."""
        if alert.kind in _OWN or self._exchange.problem is not None:
            return True
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def ask(channel: Channel) -> None:
            if not answer.done():  # nobody waits for it any more
                key, for_s = self._key(alert), self._held_s(alert)
                is_ours = await channel.do(lambda db: shared_states.claim(db, _KIND, key, self._instance, for_s))
                if not answer.done():
                    answer.set_result(is_ours)

        self._exchange.run_errand(ask)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                return await answer
        logger.info("alerts: the ledger does not say whether another instance posts one; it is posted from here")
        return True

    def _held_s(self, alert: Alert) -> float:
        left_s = ((alert.until_ms or 0) - self._now_ms()) / 1000
        return min(max(HELD_S, left_s), _LONGEST_S)

    def _key(self, alert: Alert) -> str:
        """Return what an alert is by in all instances: what it is of; a budget's period, limit and percent."""
        providers = {provider.name: self._digests.of(provider) for provider in self._current().providers}
        name = alert.name if alert.kind == "budget" else providers.get(alert.name, alert.name)
        return self._digests.of_text(
            dumps([alert.kind, name, alert.period, alert.until_ms, alert.limit_msats, alert.percent])
        )
