"""The view-model: what the dashboard shows, kept from events and snapshots, without a screen.

Foreign text is made harmless where it enters here; nothing behind this module needs to care.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

from arbstr.events import (
    AdoptionProgressed,
    Alert,
    AlertRaised,
    AttemptFailed,
    AttemptStarted,
    ChargeBooked,
    ConfigurationRead,
    Event,
    FirstByte,
    LedgerStateChanged,
    OverchargeFound,
    ProviderHealthChanged,
    RequestFinished,
    RequestReceived,
    RouteChosen,
    StreamProgress,
    UnexplainedCharge,
)
from arbstr.monitoring.in_flight import RequestProgress, advance
from arbstr.monitoring.live_state import amended, summed, with_unexplained
from arbstr.monitoring.source import InstanceStatus, ProviderStatus, Snapshot, Totals
from arbstr.types import BudgetStatus, LearnedRatio, RequestRecord
from tui.format import shown
from tui.model.alert_text import harmless
from tui.model.budget_refusals import BudgetRefusals
from tui.model.burn import BudgetRates
from tui.model.counters import Reset, counted_since
from tui.model.feed import KEPT, Feed
from tui.model.notices import (
    Notice,
    alert_notice,
    configuration_notice,
    ledger_notice,
    overcharge_notice,
)
from tui.model.provider_view import HealthChange, PriceList, ProviderView
from tui.model.request_row import InFlightRequest
from tui.model.speed import SpeedLog

RATE_WINDOW_MS = 10_000
FIRST_BYTES = 500  # the newest ones their median is taken of
OUTCOMES = 60
MOMENTS = 50
PAYMENT_REQUIRED = 402


@dataclass(frozen=True, slots=True)
class DashboardView:
    """Everything except the feed's rows and the ledger's figures, at one moment, as plain values."""

    at_ms: int
    started_at_ms: int
    address: str
    version: str
    totals: Totals
    running: int
    per_second: float
    first_byte_ms: float | None
    providers: tuple[ProviderView, ...]
    budgets: tuple[BudgetStatus, ...]
    ratios: tuple[LearnedRatio, ...]
    ledger_problem: str | None
    adopted: float | None = None  # the share of an earlier arbstr's rows that are summed up, None if all are
    refusing: tuple[BudgetStatus, ...] = ()  # budgets that are spent, or were too small for a request just now
    budget_rates: tuple[float | None, ...] = ()  # what was spent lately of each budget, in msats per minute
    config_problem: str | None = None  # why the configuration file is not in force
    alerts: tuple[Alert, ...] = ()  # what needs attention, the latest last
    reset: Reset | None = None  # of the counters; None while they count since the start
    instances: tuple[InstanceStatus, ...] = ()  # those that share the ledger, this one first; none if it is not shared

    @property
    def counted(self) -> Totals:
        """The sums that the counters show: since they were reset, else since the start."""
        return self.totals if self.reset is None else counted_since(self.reset, self.totals)


class ViewModel:
    """Applies events, resynchronises from snapshots, and gives views.

    `on_finished` is called with the requests that have ended, `on_amended` with the time since which sums have changed:
    what a request cost, or what none explains, is known later.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        on_finished: Callable[[list[RequestRecord]], None] = lambda records: None,
        on_amended: Callable[[int], None] = lambda since_ms: None,
    ) -> None:
        self.feed = Feed()
        self.notices: deque[Notice] = deque(maxlen=20)
        self._on_finished = on_finished
        self._on_amended = on_amended
        self.amendments = 0  # so far
        self._first_bytes: deque[int] = deque(maxlen=FIRST_BYTES)
        self._outcomes: dict[str, deque[bool]] = {}
        self._moments: dict[str, deque[HealthChange]] = {}
        self._overcharges: dict[str, dict[str, OverchargeFound]] = {}
        self._refusals = BudgetRefusals()
        self._unfunded: set[str] = set()
        self._speeds = SpeedLog()
        self._rates = BudgetRates()
        self._price_lists: dict[str, PriceList] = {}
        self._adopted: float | None = None
        self._past: tuple[RequestRecord, ...] = ()
        self._counts = deque([_before(snapshot)])  # (instant, requests finished by then)
        self._frozen: DashboardView | None = None
        self._reset: Reset | None = None
        self._snapshot = snapshot
        self.resync(snapshot)
        self._remember_attempts(tuple(reversed(snapshot.recent)))
        self._speeds.add(reversed(snapshot.recent))
        streams = [record.latency_ms for record in snapshot.recent if record.streaming and record.success]
        self._first_bytes.extend(reversed(streams))

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def resync(self, snapshot: Snapshot) -> None:
        """Replace what is known by the snapshot; what only events report (history, notices) stays."""
        if snapshot.started_at_ms != self._snapshot.started_at_ms:  # what is watched has begun from zero
            self._reset = None
        self._snapshot = snapshot
        self._totals = snapshot.totals
        self._providers = {each.name: self._shown_provider(each) for each in snapshot.providers}
        flying = self.feed.running
        self.feed.replace_all(
            [_moved_on(flying.get(each.request_id), InFlightRequest.of(each)) for each in snapshot.running],
            (*snapshot.recent, *self._past),
        )
        self._ended = dict.fromkeys(record.request_id for record in reversed(snapshot.recent))
        self.ledger_problem = None if snapshot.ledger_problem is None else shown(snapshot.ledger_problem)
        self.config_problem = shown(snapshot.config_problems[0]) if snapshot.config_problems else None
        self.budgets = tuple(replace(each, scope=shown(each.scope)) for each in snapshot.budgets)
        self._rates.add(self.budgets, snapshot.at_ms)
        self._alerts = tuple(map(harmless, snapshot.alerts))
        self._low = {each.name for each in snapshot.alerts if each.kind == "balance"}
        self._instances = tuple(
            replace(each, name=shown(each.name), version=shown(each.version)) for each in snapshot.instances
        )
        self.ratios = tuple(replace(each, policy=each.policy and shown(each.policy)) for each in snapshot.ratios)

    def _shown_provider(self, status: ProviderStatus) -> ProviderStatus:
        """Return a status fit to show; price lists are long and seldom change, so the latest one is kept."""
        known = self._price_lists.get(status.name)
        if known is None or known.models != status.models or known.rates != status.model_rates:
            known = self._price_lists[status.name] = PriceList(status.models, status.model_rates)
        return replace(
            status,
            name=shown(status.name),
            url=shown(status.url),
            models=known.shown_models,
            model_rates=known.shown_rates,
            masked_key=None if status.masked_key is None else shown(status.masked_key),
            last_error=None if status.last_error is None else shown(status.last_error),
        )

    def remember(self, past: Sequence[RequestRecord]) -> None:
        """Append requests from before this start, newest first, to the feed."""
        self._past = tuple(past)
        self.feed.lengthen(self._past)
        if not self._ended:  # else newer ones are known
            self._speeds.add(reversed(self._past))

    def apply(self, events: Sequence[Event]) -> None:
        """Apply events in order; unknown requests and providers are no error."""
        self._finish([event.record for event in events if type(event) is RequestFinished])
        for event in events:
            match event:
                case RequestFinished():
                    pass
                case FirstByte():
                    self._first_bytes.append(event.after_ms)
                    self._advance(event)
                case RequestReceived() | RouteChosen() | AttemptStarted() | AttemptFailed() | StreamProgress():
                    self._advance(event)
                case ChargeBooked() | UnexplainedCharge():
                    self._amend(event)
                case _:
                    self._apply_other(event)

    def _finish(self, records: list[RequestRecord]) -> None:
        """Count requests that have ended. Each counts once, and its later events are ignored."""
        new = [record for record in records if record.request_id not in self._ended]
        if not new:
            return
        self._ended.update(dict.fromkeys(record.request_id for record in new))
        for old in list(islice(self._ended, max(len(self._ended) - 4 * KEPT, 0))):
            del self._ended[old]
        self._totals = summed(self._totals, new)
        self.feed.finish(new)
        self._remember_attempts(new)
        self._speeds.add(new)
        self._refusals.add(new, self.budgets)
        self._on_finished(new)

    def _amend(self, event: ChargeBooked | UnexplainedCharge) -> None:
        """Apply what has turned out about money that was spent before."""
        self.amendments += 1
        if isinstance(event, ChargeBooked):
            self._totals = amended(self._totals, event)
            self.feed.amend(event)
        else:
            self._totals = with_unexplained(self._totals, event)
        self._on_amended(event.at_ms)

    def _advance(self, event: RequestReceived | RequestProgress) -> None:
        """Apply an event of a running request."""
        if event.request_id in self._ended:
            return
        if isinstance(event, RequestReceived):
            flight = InFlightRequest(event.request_id, event.at_ms, event.model, event.streaming)
            self.feed.running.setdefault(event.request_id, flight)
        elif (known := self.feed.running.get(event.request_id)) is not None:
            advance(known, event)

    def _apply_other(self, event: Event) -> None:
        """Apply an event that is not about one request."""
        match event:
            case AdoptionProgressed():
                self._adopted = event.done / event.total if event.done < event.total else None
            case ProviderHealthChanged():
                self._health(event)
            case OverchargeFound():
                known = self._overcharges.setdefault(event.provider, {})
                if not known:  # the Providers screen shows its other models
                    self.notices.append(overcharge_notice(event))
                known[event.model] = event
            case AlertRaised():
                self.notices.append(alert_notice(event.alert))
            case LedgerStateChanged():
                self.ledger_problem = None if event.ok else shown(event.message)
                self.notices.append(ledger_notice(event))
            case ConfigurationRead():
                self.config_problem = shown(event.problems[0]) if event.problems else None
                self.notices.append(configuration_notice(event))

    def _health(self, event: ProviderHealthChanged) -> None:
        moment = HealthChange(event.at_ms, event.new, event.in_rotation, shown(event.reason))
        self._moments.setdefault(event.provider, deque(maxlen=MOMENTS)).appendleft(moment)
        if (status := self._providers.get(event.provider)) is not None:
            self._providers[event.provider] = replace(
                status, state=event.new, in_rotation=event.in_rotation, open_until_ms=event.until_ms
            )

    def _remember_attempts(self, records: Sequence[RequestRecord]) -> None:
        for record in records:
            for attempt in record.attempts:
                outcomes = self._outcomes.get(attempt.provider)
                if outcomes is None:
                    outcomes = self._outcomes[attempt.provider] = deque(maxlen=OUTCOMES)
                outcomes.append(attempt.failure is None)
                if attempt.status == PAYMENT_REQUIRED:
                    self._unfunded.add(attempt.provider)
                else:
                    self._unfunded.discard(attempt.provider)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def started_at_ms(self) -> int:
        """When arbstr started."""
        return self._snapshot.started_at_ms

    @property
    def totals(self) -> Totals:
        """The sums since the start, as of now even when frozen."""
        return self._totals

    @property
    def frozen(self) -> bool:
        """Whether the view is frozen."""
        return self._frozen is not None

    def counting_down(self, now_ms: int) -> bool:
        """Whether a breaker is open until a known time."""
        return any(until > now_ms for until in self._reopenings())

    def changes_between(self, since_ms: int, now_ms: int) -> bool:
        """Check whether time alone has changed something: a breaker or a budget whose time is up."""
        times = (*self._reopenings(), *(budget.resets_at_ms for budget in self.budgets))
        return any(since_ms < time_ms <= now_ms for time_ms in times)

    def _reopenings(self) -> list[int]:
        return [each.open_until_ms for each in self._providers.values() if each.state == "open" and each.open_until_ms]

    @property
    def unseen(self) -> int:
        """How many requests have finished since the view was frozen."""
        return 0 if self._frozen is None else max(self._totals.requests - self._frozen.totals.requests, 0)

    def freeze(self, now_ms: int) -> None:
        """Keep the view as it is, until `thaw`."""
        self._frozen = self.view(now_ms)
        self.feed.freeze()

    def thaw(self) -> None:
        """Show live values again."""
        self._frozen = None
        self.feed.release()

    def toggle_reset(self, now_ms: int) -> Reset | None:
        """Count from now on, or since the start again; return the reset, None for the start."""
        self._reset = Reset(now_ms, self._totals) if self._reset is None else None
        return self._reset

    def view(self, now_ms: int) -> DashboardView:
        """Return everything as it is now, or as it was when frozen."""
        if self._frozen is not None:
            return self._frozen
        snapshot = self._snapshot
        return DashboardView(
            now_ms,
            snapshot.started_at_ms,
            shown(snapshot.address),
            shown(snapshot.version),
            self._totals,
            len(self.feed.running),
            self._per_second(now_ms),
            median(self._first_bytes) if self._first_bytes else None,
            tuple(self._provider_view(name, _as_of(status, now_ms)) for name, status in self._providers.items()),
            self.budgets,
            self.ratios,
            self.ledger_problem,
            self._adopted,
            self._refusals.refusing(self.budgets, now_ms),
            tuple(self._rates.per_minute(budget, now_ms) for budget in self.budgets),
            self.config_problem,
            tuple(each for each in self._alerts if each.until_ms is None or each.until_ms > now_ms),
            self._reset,
            self._instances,
        )

    def _provider_view(self, name: str, status: ProviderStatus) -> ProviderView:
        return ProviderView(
            name,
            status,
            tuple(self._outcomes.get(name, ())),
            tuple(self._moments.get(name, ())),
            tuple(reversed(self._overcharges.get(name, {}).values())),
            name in self._unfunded or (status.balance is not None and status.balance.is_used_up),
            name in self._low,
            self._speeds.of(name),
        )

    def _per_second(self, now_ms: int) -> float:
        """Return requests finished per second, over the last ten: from totals, so that missed events don't matter."""
        counts = self._counts
        if not counts or counts[-1][0] + 250 <= now_ms:
            counts.append((now_ms, self._totals.requests))
        while len(counts) > 1 and counts[1][0] <= now_ms - RATE_WINDOW_MS:
            counts.popleft()
        oldest, requests = counts[0]
        span = max(now_ms - max(oldest, now_ms - RATE_WINDOW_MS), 1000)
        return max(self._totals.requests - requests, 0) * 1000 / span


def _before(snapshot: Snapshot) -> tuple[int, int]:
    """Return how many requests had finished when the rate's window began."""
    since = snapshot.at_ms - RATE_WINDOW_MS
    ends = [each.received_at_ms + max(each.latency_ms, each.stream_duration_ms or 0) for each in snapshot.recent]
    return since, snapshot.totals.requests - sum(end > since for end in ends)


def _as_of(status: ProviderStatus, now_ms: int) -> ProviderStatus:
    """Return a provider's state at that time: an open breaker whose time is up waits for a probe."""
    if status.state == "open" and status.open_until_ms is not None and status.open_until_ms <= now_ms:
        return replace(status, state="half_open", open_until_ms=None)
    return status


def _moved_on(old: InFlightRequest | None, new: InFlightRequest) -> InFlightRequest:
    """Return a running request after a snapshot, with its path so far, which snapshots lack."""
    if old is None:
        return new
    old.events = max(old.events, new.events)
    old.first_byte_ms = new.first_byte_ms
    old.policy = new.policy or old.policy
    if new.path and (not old.path or old.path[-1] != new.path[-1]):
        old.path += new.path
    return old
