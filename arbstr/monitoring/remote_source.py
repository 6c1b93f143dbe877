"""The `Source` of another arbstr, over its `/v1/events`: it follows, reconnects, and says when it is out of date."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from arbstr import __version__
from arbstr.bus import DEFAULT_CAPACITY, EventBus, Subscription
from arbstr.clock import wall_ms
from arbstr.errors import ArbstrError
from arbstr.events import (
    AttemptFailed,
    AttemptStarted,
    ConfigurationRead,
    Event,
    FirstByte,
    LedgerStateChanged,
    ProviderHealthChanged,
    RequestFinished,
    RequestReceived,
    RouteChosen,
    StreamProgress,
)
from arbstr.logs.ring import LogLine, LogRing
from arbstr.monitoring.in_flight import InFlight, advance, arrived
from arbstr.monitoring.live_state import FinishedRequests
from arbstr.monitoring.questions import read_answer
from arbstr.monitoring.remote_ledger import RemoteLedger
from arbstr.monitoring.remote_link import LinkLost, NotWatchable, Received, RemoteLink
from arbstr.monitoring.source import LinkState, OfferStatus, Outage, ProviderStatus, RunningRequest, Snapshot, Totals
from arbstr.monitoring.updates import (
    AlertsUpdated,
    BudgetsUpdated,
    InstancesUpdated,
    LogWritten,
    PricesUpdated,
    ProviderUpdated,
    RatiosUpdated,
    Sent,
    Update,
)
from arbstr.monitoring.wire_format import FORMAT, NAMES
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize_clause
from arbstr.types import RequestRecord

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S, GROWTH = 0.25, 15.0, 1.5  # before connecting once more; a share more by chance
_KINDS: dict[str, type] = {name: kind for kind, name in NAMES.items()}


@dataclass(frozen=True, slots=True)
class _Format:
    """What tells whether a snapshot can be read."""

    format: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class _First:
    """The data of a `snapshot` event."""

    snapshot: Snapshot
    recent: tuple[RequestRecord, ...]
    log: tuple[LogLine, ...]


@asynccontextmanager
async def remote_source(
    url: str, token: Secret | None, *, link: Callable[[str, Secret | None], RemoteLink] = RemoteLink
) -> AsyncIterator[RemoteSource]:
    """Watch the arbstr at a URL. Raises NotWatchable and LinkLost if the first snapshot does not come."""
    connection = link(url, token)
    source = RemoteSource(connection)
    following = asyncio.create_task(source.follow(), name="remote events")
    begun = asyncio.create_task(source.begun.wait())
    try:
        await asyncio.wait({following, begun}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            await _first_failure(following, url)
        yield source
    finally:
        for task in (following, begun):
            task.cancel()
        await asyncio.gather(following, begun, return_exceptions=True)
        await connection.close()


async def _first_failure(following: asyncio.Task[None], url: str) -> None:
    """Raise what kept the first snapshot from coming."""
    try:
        await following
    except LinkLost as error:
        raise LinkLost(f"no arbstr answers at {url}: {error}") from error


class RemoteSource:
    """Implements `source.Source`. `log` gets the lines of its log; `begun` is set once a snapshot has come.

    `random` returns numbers from 0 to 1, `now_ms` is this machine's wall clock.
    """

    def __init__(
        self,
        link: RemoteLink,
        *,
        now_ms: Callable[[], int] = wall_ms,
        random: Callable[[], float] = random.random,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._link = link
        self._local_ms = now_ms
        self._random = random
        self._first_wait_s = first_wait_s
        self._bus = EventBus()
        self._subscriptions: list[Subscription] = []
        self.log = LogRing()
        self.begun = asyncio.Event()
        self._ahead_ms = 0  # of this machine's clock
        self._base = Snapshot(0, 0, link.url, "", (), (), (), Totals())
        self._running: dict[str, InFlight] = {}
        self._finished = FinishedRequests()
        self._last_id: str | None = None
        self._outage: Outage | None = None

    # ── the source ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ledger(self) -> RemoteLedger:
        """Return the queries of its ledger."""
        return RemoteLedger(self._link)

    @property
    def link(self) -> LinkState:
        """Return whom it watches, and whether what it tells is out of date."""
        return LinkState(self._link.url, self._outage)

    def now_ms(self) -> int:
        """Return the time by the clock of the arbstr that is watched."""
        return self._local_ms() + self._ahead_ms

    def subscribe(self, capacity: int = DEFAULT_CAPACITY) -> Subscription:
        """Subscribe to events from now on."""
        subscription = self._bus.subscribe(capacity)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._bus.unsubscribe(subscription)
        self._subscriptions.remove(subscription)

    def snapshot(self) -> Snapshot:
        """Return the state as far as it is known here."""
        running: tuple[RunningRequest, ...] = tuple(each.snapshot() for each in self._running.values())
        return replace(
            self._base,
            at_ms=self.now_ms(),
            address=self._link.url,
            running=running,
            recent=self._finished.recent,
            totals=self._finished.totals,
        )

    async def offers(self, models: Sequence[str]) -> Mapping[str, tuple[OfferStatus, ...]]:
        """Return for each model what the providers that sell it ask now. Raises LedgerUnavailable."""
        answer = await self._link.ask({"ask": "offers", "models": models})
        offers: Mapping[str, tuple[OfferStatus, ...]] = read_answer("offers", answer)
        return offers

    def set_in_rotation(self, provider: str, in_rotation: bool) -> None:
        """Raise ArbstrError: it only watches."""
        raise ArbstrError("this dashboard only watches")

    def close_breaker(self, provider: str) -> None:
        """Raise ArbstrError: it only watches."""
        raise ArbstrError("this dashboard only watches")

    # ── following ───────────────────────────────────────────────────────────────────────────────────────────────

    async def follow(self) -> None:
        """Follow the events for ever, connecting as often as it takes; the owner cancels it.

        Raises NotWatchable and LinkLost if no snapshot has ever come.
        """
        wait_s = self._first_wait_s
        while True:
            try:
                async with aclosing(self._link.events(self._last_id)) as events:
                    async for event in events:
                        self._receive(event)
                        wait_s = self._first_wait_s
            except (LinkLost, NotWatchable) as problem:
                if not self.begun.is_set():
                    raise
                wait_s = await self._pause(str(problem), wait_s)

    async def _pause(self, reason: str, wait_s: float) -> float:
        """Say that there is no connection, and wait; return how long to wait the next time."""
        lasts_s = wait_s * (1 + self._random() / 2)
        now_ms = self.now_ms()
        since_ms = now_ms if self._outage is None else self._outage.since_ms
        self._outage = Outage(reason, since_ms, now_ms + int(lasts_s * 1000))
        await asyncio.sleep(lasts_s)
        return min(wait_s * GROWTH, LONGEST_WAIT_S)

    def _receive(self, event: Received) -> None:
        """Apply an event. Raises NotWatchable for one that this version can't read."""
        self._outage = None
        kind = _KINDS.get(event.name)
        try:
            if event.name == "snapshot":
                self._begin(event.data)
            elif kind is not None and self.begun.is_set():
                sent: Sent = _adapter(kind).validate_json(event.data)
                self._apply(sent)
        except ValidationError as error:
            self._last_id = None
            raise NotWatchable(_unreadable(self._link.url, self._base.version)) from error
        self._last_id = event.id or self._last_id

    def _begin(self, data: bytes) -> None:
        """Start over from a snapshot."""
        try:
            given = _adapter(_Format).validate_json(data)
        except ValidationError:
            raise NotWatchable(f"{self._link.url} is no arbstr: its first event is no snapshot") from None
        if given.format != FORMAT:
            raise NotWatchable(_unreadable(self._link.url, given.version))
        first = _adapter(_First).validate_json(data)
        self._ahead_ms = first.snapshot.at_ms - self._local_ms()
        self._base = replace(first.snapshot, running=(), recent=())
        self._running = {each.request_id: InFlight.of(each) for each in first.snapshot.running}
        self._finished = FinishedRequests(first.recent, first.snapshot.totals)
        known = {line[1:] for line in self.log.since()} if self.begun.is_set() else set()
        self._log(line for line in first.log if line[1:] not in known)
        for subscription in self._subscriptions:
            subscription.miss()
        self.begun.set()

    def _apply(self, sent: Sent) -> None:
        """Apply what happened, to the state here and to who subscribes."""
        if isinstance(sent, Update):
            self._update(sent)
        else:
            self._advance(sent)
            self._bus.publish(sent)

    def _update(self, sent: Update) -> None:
        match sent:
            case ProviderUpdated():
                self._change(sent.status.name, lambda each: _with_prices_of(sent.status, each))
            case PricesUpdated():
                self._change(
                    sent.provider, lambda each: replace(each, models=sent.models, model_rates=sent.model_rates)
                )
            case BudgetsUpdated():
                self._base = replace(self._base, budgets=sent.budgets)
            case RatiosUpdated():
                self._base = replace(self._base, ratios=sent.ratios)
            case AlertsUpdated():
                self._base = replace(self._base, alerts=sent.alerts)
            case InstancesUpdated():
                self._base = replace(self._base, instances=sent.instances)
            case LogWritten():
                self._log(sent.lines)

    def _change(self, name: str, change: Callable[[ProviderStatus], ProviderStatus]) -> None:
        """Change what is known of a provider."""
        providers = tuple(change(each) if each.name == name else each for each in self._base.providers)
        self._base = replace(self._base, providers=providers)

    def _advance(self, event: Event) -> None:
        """Move the state here by an event."""
        match event:
            case RequestReceived():
                self._running[event.request_id] = arrived(event)
            case RouteChosen() | AttemptStarted() | AttemptFailed() | FirstByte() | StreamProgress():
                if (running := self._running.get(event.request_id)) is not None:
                    advance(running, event)
            case ProviderHealthChanged():
                self._health(event)
            case LedgerStateChanged():
                self._base = replace(self._base, ledger_problem=None if event.ok else event.message)
            case ConfigurationRead():
                self._base = replace(self._base, config_problems=event.problems)
            case _:
                if isinstance(event, RequestFinished):
                    self._running.pop(event.record.request_id, None)
                self._finished.put(event)

    def _health(self, event: ProviderHealthChanged) -> None:
        self._change(
            event.provider,
            lambda each: replace(each, state=event.new, in_rotation=event.in_rotation, open_until_ms=event.until_ms),
        )

    def _log(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            self.log.add(line.at_ms, line.level, line.logger, line.text)


def _with_prices_of(status: ProviderStatus, known: ProviderStatus) -> ProviderStatus:
    return replace(status, models=known.models, model_rates=known.model_rates)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _unreadable(url: str, version: str) -> str:
    other = f"arbstr {sanitize_clause(version)}" if version else "another version of arbstr"
    return f"{url} runs {other}, which this dashboard, of arbstr {__version__}, can't read: use the same version"
