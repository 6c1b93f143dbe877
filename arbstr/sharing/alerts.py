"""Alerts of what instances share: the first that claims one in the database posts it, for all.

A claim is a lease, longer than a webhook is tried: if its holder has not noted by then that the alert was posted, the
next one posts it, under the same id. It never keeps the instance that holds it from posting the same again: it goes on
hearing of what the others hear. Where the database can't say whose an alert is, each instance posts it: better twice
than never.
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
from arbstr.ledger.postgres.shared_states import Claimed
from arbstr.market.webhook import Turn
from arbstr.sharing.exchange import Channel, Exchange
from arbstr.sharing.parts import Digests

logger = logging.getLogger(__name__)

PATIENCE_S = 2.0  # for the database to say whose an alert is
CLAIM_S = 120.0  # for posting it
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

    def of(self, alert: Alert) -> SharedAlert | None:
        """Return an alert as one that others hear of too; None where they don't."""
        return None if alert.kind in _OWN else SharedAlert(self, alert)

    async def ask(self, alert: Alert, own_id: str) -> Turn:
        """Return whose turn it is to post an alert; within two seconds, whatever the database does."""
        if self._exchange.problem is not None:
            return Turn(own_id)
        answer: asyncio.Future[Claimed] = asyncio.get_running_loop().create_future()

        async def ask(channel: Channel) -> None:
            if not answer.done():  # nobody waits for it any more
                key = self._key(alert)
                claimed = await channel.do(
                    lambda db: shared_states.claim(db, _KIND, key, self._instance, own_id, CLAIM_S)
                )
                if not answer.done():
                    answer.set_result(claimed)

        self._exchange.run_errand(ask)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                claimed = await answer
                return Turn(claimed.number, None if claimed.number or claimed.done else claimed.left_s)
        logger.info("alerts: the ledger does not say whether another instance posts one; it is posted from here")
        return Turn(own_id)

    def posted(self, alert: Alert) -> None:
        """Have the others know that an alert was posted, soon; if that gets lost, another one posts it too."""

        async def say(channel: Channel) -> None:
            key, for_s = self._key(alert), self._held_s(alert)
            await channel.do(lambda db: shared_states.finish(db, _KIND, key, self._instance, for_s))

        self._exchange.run_errand(say)

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


class SharedAlert:
    """An alert that other instances hear of too."""

    def __init__(self, alerts: SharedAlerts, alert: Alert) -> None:
        self._alerts = alerts
        self._alert = alert

    async def ask(self, own_id: str) -> Turn:
        """Return whose turn it is to post it."""
        return await self._alerts.ask(self._alert, own_id)

    def posted(self) -> None:
        """Have the others know that it was posted."""
        self._alerts.posted(self._alert)
