"""A source without a proxy: rows in memory, and a seeded stream of believable events."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Literal, cast

from arbstr.bus import EventBus, Subscription
from arbstr.errors import LedgerUnavailable
from arbstr.events import (
    Alert,
    AttemptFailed,
    AttemptStarted,
    Event,
    FirstByte,
    ProviderHealthChanged,
    RequestFinished,
    RequestReceived,
    RouteChosen,
    StreamProgress,
)
from arbstr.ledger.model import Aggregate, Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.routing_json import routing_json
from arbstr.monitoring.in_flight import InFlight, advance, arrived
from arbstr.monitoring.source import LinkState, OfferStatus, ProviderStatus, Snapshot, Totals
from arbstr.shapes import AttemptEntry
from arbstr.types import (
    NO_GROUP,
    Attempt,
    Balance,
    BudgetStatus,
    Candidate,
    LearnedRatio,
    Price,
    RequestRecord,
    Reuse,
    Routing,
)
from tui.model.ledger_stats import ended_ms
from tui.model.request_row import by_rates

NOON = int(datetime(2025, 3, 14, 14, 2, 11, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


class FakeLedger:
    """The ledger's questions, answered from a list of records, oldest first."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.problem: str | None = None
        self.asked = 0
        self._ids: dict[str, int] = {}

    async def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        self._check()
        return _stats(_TheseRows(self.records), where, group_by)

    async def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        rows = self._sorted(where, sort, order)
        return Page([self._entry(row) for row in rows[(page - 1) * per_page : page * per_page]], len(rows))

    async def slice(
        self,
        where: Filter,
        *,
        before: Entry | None,
        limit: int,
        sort: Sort = "timestamp",
        order: Order = "desc",
        offset: int = 0,
    ) -> list[Entry]:
        rows = self._sorted(where, sort, order)[offset:]
        if before is not None:
            rows = [row for row in rows if (row.received_at_ms, self._id(row)) < (before.at_ms, before.id)]
        return [self._entry(row) for row in rows[:limit]]

    async def count(self, where: Filter) -> int:
        return len(self._matching(where))

    async def request(self, request_id: str) -> Detail | None:
        self._check()
        for row in self.records:
            if row.request_id == request_id:
                routing = None if row.routing is None else routing_json(row.routing)
                return Detail(self._entry(row), [_attempt_json(attempt) for attempt in row.attempts], routing)
        return None

    async def known(self, column: Literal["model", "provider"], name: str) -> bool:
        return any(getattr(row, column) == name for row in self.records)

    async def entries(self, where: Filter, sort: Sort, order: Order, limit: int | None) -> AsyncIterator[Entry]:
        for row in self._sorted(where, sort, order)[:limit]:
            yield self._entry(row)

    def _check(self) -> None:
        self.asked += 1
        if self.problem is not None:
            raise LedgerUnavailable(self.problem)

    def _matching(self, where: Filter) -> list[RequestRecord]:
        self._check()
        return list(_matching(_TheseRows(self.records), where))

    def _sorted(self, where: Filter, sort: Sort, order: Order) -> list[RequestRecord]:
        keys: dict[Sort, Callable[[RequestRecord], int]] = {
            "timestamp": lambda row: row.received_at_ms,
            "cost_sats": lambda row: row.cost_msats or 0,
            "latency_ms": lambda row: row.latency_ms,
        }
        rows = sorted(self._matching(where), key=lambda row: (keys[sort](row), self._id(row)), reverse=order == "desc")
        return sorted(rows, key=lambda row: sort == "cost_sats" and row.cost_msats is None)  # unknown ones are last

    def _id(self, row: RequestRecord) -> int:
        if len(self._ids) != len(self.records):
            self._ids = {record.request_id: number for number, record in enumerate(self.records, 1)}
        return self._ids[row.request_id]

    def _entry(self, row: RequestRecord) -> Entry:
        stamp = datetime.fromtimestamp(row.received_at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        return Entry(
            self._id(row),
            row.request_id,
            stamp,
            row.received_at_ms,
            row.model,
            row.provider,
            row.policy,
            row.streaming,
            row.success,
            row.input_tokens,
            row.output_tokens,
            row.cost_msats,
            row.provider_cost_msats,
            row.latency_ms,
            row.stream_duration_ms,
            row.error_status,
            row.error_message,
            row.list_cost_msats,
            row.cached_tokens,
            session=row.session,
            predicted_cached_tokens=row.predicted_cached_tokens,
            cache_saved_msats=row.cache_saved_msats,
            switching_msats=row.switching_msats,
        )


def _attempt_json(attempt: Attempt) -> AttemptEntry:
    return cast("AttemptEntry", asdict(attempt))


class _TheseRows:
    """Rows as a key: the same ones are the very same objects, for comparing what is in them would take as long."""

    def __init__(self, rows: Iterable[RequestRecord]) -> None:
        self.rows = tuple(rows)
        self._ids = tuple(map(id, self.rows))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TheseRows) and self._ids == other._ids

    def __hash__(self) -> int:
        return hash(self._ids)


@lru_cache(4096)  # every dashboard asks the same ones of the same history, many times over
def _stats(these: _TheseRows, where: Filter, group_by: GroupBy | None) -> Stats:
    rows = _matching(these, where)
    groups: dict[str, list[RequestRecord]] = {}
    for row in rows if group_by else ():
        groups.setdefault(_group(row, group_by), []).append(row)
    if group_by in ("hour", "day"):
        groups = _gapless(groups, where, HOUR if group_by == "hour" else 24 * HOUR)
    return Stats(_aggregate(rows), {name: _aggregate(group) for name, group in groups.items()})


def _gapless(groups: dict[str, list[RequestRecord]], where: Filter, step: int) -> dict[str, list[RequestRecord]]:
    starts = [int(start) for start in groups] or [NOON // step * step]
    first = min(starts) if where.since_ms is None else where.since_ms // step * step
    last = max(*starts, first) if where.until_ms is None else where.until_ms
    return {str(start): groups.get(str(start), []) for start in range(first, last + 1, step)}


@lru_cache(4096)
def _matching(these: _TheseRows, where: Filter) -> Sequence[RequestRecord]:
    return [row for row in these.rows if matches_filter(row, where)]


def matches_filter(row: RequestRecord, where: Filter) -> bool:
    """What a filter means, said in plain words."""
    return all(check(row) for check in _checks(where))


@cache
def _checks(where: Filter) -> tuple[Callable[[RequestRecord], bool], ...]:
    """What a row must be, for each thing that the filter asks for."""
    checks: dict[str, Callable[[RequestRecord], bool]] = {
        "since_ms": lambda row: row.received_at_ms >= (where.since_ms or 0),
        "until_ms": lambda row: row.received_at_ms <= (where.until_ms or 0),
        "success": lambda row: row.success == where.success,
        "streaming": lambda row: row.streaming == where.streaming,
        "statuses": lambda row: _status_of(row) in (where.statuses or ()),
        "without_statuses": lambda row: _status_of(row) not in where.without_statuses,
        "min_cost_msats": lambda row: _within(row.cost_msats, where.min_cost_msats, None),
        "max_cost_msats": lambda row: _within(row.cost_msats, None, where.max_cost_msats),
        "min_took_ms": lambda row: _within(_took_ms(row), where.min_took_ms, None),
        "max_took_ms": lambda row: _within(_took_ms(row), None, where.max_took_ms),
        "models": lambda row: row.model in (where.models or ()),
        "providers": lambda row: row.provider in (where.providers or ()),
        "policies": lambda row: row.policy in (where.policies or ()),
        "clients": lambda row: row.client in (where.clients or ()),
        "dialects": lambda row: row.dialect in (where.dialects or ()),
        "sessions": lambda row: _begins(row.session, where.sessions or ()),
        "without_sessions": lambda row: not _begins(row.session, where.without_sessions),
        "texts": lambda row: all(text.lower() in _hay(row) for text in where.texts),
        "without_texts": lambda row: not any(text.lower() in _hay(row) for text in where.without_texts),
    }
    return tuple(check for name, check in checks.items() if getattr(where, name) != getattr(Filter(), name))


def _hay(row: RequestRecord) -> str:
    return " ".join((row.model, row.provider or "", row.policy or "", row.request_id, row.error_message or "")).lower()


def _status_of(row: RequestRecord) -> int:
    return 200 if row.success else row.error_status or 0


def _took_ms(row: RequestRecord) -> int:
    return max(row.latency_ms, row.stream_duration_ms or 0)


def _begins(session: str | None, wanted: tuple[str | None, ...]) -> bool:
    return any(session is None if each is None else (session or "").startswith(each) for each in wanted)


def _within(figure: int | None, least: int | None, most: int | None) -> bool:
    return figure is not None and (least is None or figure >= least) and (most is None or figure <= most)


def _group(row: RequestRecord, group_by: GroupBy | None) -> str:
    if group_by in ("hour", "day"):
        step = HOUR if group_by == "hour" else 24 * HOUR
        return str(row.received_at_ms // step * step)
    return str(getattr(row, group_by or "model") or NO_GROUP)


def _aggregate(rows: Sequence[RequestRecord]) -> Aggregate:
    latencies = sorted(row.latency_ms for row in rows)
    compared = [row for row in rows if row.cost_msats is not None and row.median_msats is not None]
    return Aggregate(
        total=len(rows),
        success=sum(row.success for row in rows),
        streaming=sum(row.streaming for row in rows),
        cost_msats=sum(row.cost_msats or 0 for row in rows),
        input_tokens=sum(row.input_tokens or 0 for row in rows),
        output_tokens=sum(row.output_tokens or 0 for row in rows),
        avg_latency_ms=sum(latencies) / len(latencies) if latencies else 0,
        p50_latency_ms=_quantile(latencies, 0.5),
        p95_latency_ms=_quantile(latencies, 0.95),
        p99_latency_ms=_quantile(latencies, 0.99),
        saved_vs_dearest_msats=sum((row.dearest_msats or 0) - (row.cost_msats or 0) for row in compared),
        saved_vs_median_msats=sum((row.median_msats or 0) - (row.cost_msats or 0) for row in compared),
        list_cost_msats=sum((by_rates(row) if row.cost_msats is not None else 0) or 0 for row in rows),
        cache_hit_tokens=sum(row.cached_tokens or 0 for row in rows),
        saved_by_cache_msats=sum(row.cache_saved_msats or 0 for row in rows),
        lost_by_switching_msats=sum(row.switching_msats or 0 for row in rows),
    )


def _quantile(values: list[int], share: float) -> int:
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0


PROVIDERS = (
    ("alpha", ("gpt-4o", "claude-3.5-sonnet", "gpt-4o-mini"), 10.0, 30.0, 1.0),
    ("beta", ("gpt-4o", "gpt-4o-mini"), 12.0, 28.0, 0.0),
    ("gamma", ("claude-3.5-sonnet", "llama-3.3-70b"), 8.0, 40.0, 0.5),
    ("delta", ("gpt-4o-mini", "llama-3.3-70b"), 2.5, 9.0, 0.0),
)
MODELS = ("gpt-4o", "gpt-4o", "gpt-4o", "claude-3.5-sonnet", "claude-3.5-sonnet", "gpt-4o-mini", "llama-3.3-70b")
POLICIES = (None, None, "code", "chat")
SESSIONS = (None, "1f3a5c7e9b2d4f60", "8c0e2a4b6d8f1032", "1fa0b1c2d3e4f506", "77e0d9c8b7a69584")


class FakeSource:
    """A source whose state moves only by the events it publishes. `now_ms` is its clock, moved by hand."""

    def __init__(self, *, now_ms: int = NOON, providers: bool = True) -> None:
        self.now_ms = now_ms
        self.started_at_ms = now_ms - 2 * HOUR - 14 * 60_000
        self.bus = EventBus()
        self.ledger = self.own_ledger = FakeLedger()
        self.totals = Totals()
        self.providers = {each.name: each for each in (_status(*each) for each in PROVIDERS)} if providers else {}
        self.running: dict[str, InFlight] = {}
        self.budgets: tuple[BudgetStatus, ...] = ()
        self.ratios: tuple[LearnedRatio, ...] = ()
        self.alerts: tuple[Alert, ...] = ()
        self.ledger_problem: str | None = None
        self.snapshots = 0
        self.link: LinkState | None = None

    def clock(self) -> int:
        return self.now_ms

    def subscribe(self, capacity: int = 10_000) -> Subscription:
        return self.bus.subscribe(capacity)

    def unsubscribe(self, subscription: Subscription) -> None:
        self.bus.unsubscribe(subscription)

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        running = tuple(each.snapshot() for each in self.running.values())
        in_flight = [each.provider for each in running]
        return Snapshot(
            self.now_ms,
            self.started_at_ms,
            "http://127.0.0.1:8080",
            "0.1.0",
            tuple(replace(each, in_flight=in_flight.count(each.name)) for each in self.providers.values()),
            running,
            tuple(sorted(self.own_ledger.records[-300:], key=ended_ms, reverse=True)),
            self.totals,
            self.budgets,
            self.ratios,
            self.ledger_problem,
            alerts=self.alerts,
        )

    async def offers(self, models: Sequence[str]) -> dict[str, tuple[OfferStatus, ...]]:
        return {model: tuple(_offers(model, self.providers.values())) for model in models}

    def set_in_rotation(self, provider: str, in_rotation: bool) -> None:
        self.change(provider, in_rotation=in_rotation, reason="by hand")

    def close_breaker(self, provider: str) -> None:
        self.change(provider, state="closed", reason="closed by hand")

    def change(
        self,
        provider: str,
        *,
        state: Literal["closed", "open", "half_open"] | None = None,
        in_rotation: bool | None = None,
        reason: str = "",
        until_ms: int | None = None,
    ) -> None:
        """Change a provider's health and say so."""
        old = self.providers[provider]
        new = replace(
            old,
            state=state or old.state,
            in_rotation=old.in_rotation if in_rotation is None else in_rotation,
            open_until_ms=until_ms,
        )
        self.providers[provider] = new
        self.bus.publish(
            ProviderHealthChanged(provider, self.now_ms, old.state, new.state, reason, until_ms, new.in_rotation)
        )

    def publish(self, event: Event) -> None:
        """Let the event happen: the source's own state moves, then everyone hears."""
        match event:
            case RequestReceived():
                self.running[event.request_id] = arrived(event)
            case AttemptStarted() | AttemptFailed() | RouteChosen() | FirstByte() | StreamProgress():
                if event.request_id in self.running:
                    advance(self.running[event.request_id], event)
            case RequestFinished():
                self.running.pop(event.record.request_id, None)
                self.own_ledger.records.append(event.record)
                self.totals = _counted(self.totals, event.record)
        self.bus.publish(event)


def _offers(model: str, providers: Iterable[ProviderStatus]) -> Iterator[OfferStatus]:
    for each in providers:
        if model in each.models:
            ratio, success = each.charged_ratio or 1.0, max(each.success_rate or 1.0, 0.2)
            yield OfferStatus(each.name, *each.rates_for(model), ratio=ratio, success=success)


def _counted(totals: Totals, record: RequestRecord) -> Totals:
    saved = (record.median_msats or 0) - (record.cost_msats or 0)
    known = record.median_msats is not None and record.cost_msats is not None
    return Totals(
        totals.requests + 1,
        totals.succeeded + record.success,
        totals.cost_msats + (record.cost_msats or 0),
        totals.saved_vs_median_msats + (saved if known else 0),
        totals.input_tokens + (record.input_tokens or 0),
        totals.output_tokens + (record.output_tokens or 0),
        totals.compared_msats + ((record.cost_msats or 0) if known else 0),
        totals.list_cost_msats + (by_rates(record) or 0),
        totals.failures
        if record.success
        else {**totals.failures, record.error_status or 0: totals.failures.get(record.error_status or 0, 0) + 1},
        totals.cached_tokens + (record.cached_tokens or 0),
        totals.cache_saved_msats + (record.cache_saved_msats or 0),
        totals.switching_msats + (record.switching_msats or 0),
    )


def _status(name: str, models: tuple[str, ...], into: float, out: float, fee: float) -> ProviderStatus:
    return ProviderStatus(
        name,
        f"https://{name}.example.com/v1",
        models,
        into,
        out,
        fee,
        "sk-abc...***",
        "environment reference",
        "closed",
        in_rotation=True,
        failure_count=0,
        in_flight=0,
        success_rate=0.998 if name == "alpha" else 0.97,
        latency_ms={"alpha": 240.0, "beta": 610.0, "gamma": 1900.0}.get(name, 330.0),
    )


class Traffic:
    """Believable requests from a seed: the same ones each time."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self._number = 0

    def request(self, at_ms: int) -> tuple[list[Event], RequestFinished]:
        """The events of one request that comes in then: those up to its end, and the end."""
        rng = self._random
        self._number += 1
        request_id = f"{rng.getrandbits(32):08x}-0000-4000-8000-{self._number:012x}"
        model, policy, streaming = rng.choice(MODELS), rng.choice(POLICIES), rng.random() < 0.6
        providers = [name for name, models, *_ in PROVIDERS if model in models]
        into, out = int(rng.lognormvariate(6.2, 1.1)), int(rng.lognormvariate(5.2, 0.9))
        providers.sort(key=lambda name: _cost(name, into, 256))
        costs = [(_cost(name, into, out), name) for name in providers]
        routing = _routing(model, policy, into, costs)
        first = int(rng.lognormvariate(5.7, 0.5))
        broken = rng.random() < 0.1
        attempts, names = self._attempts(costs, first, broken=broken)
        ok = attempts[-1].failure is None
        last = names[-1]
        by_its_rates = next(cost for cost, name in costs if name == last) if ok else None
        charged = None
        if by_its_rates is not None and last != "beta":
            charged = round(by_its_rates * (1.0 if last != "gamma" else 1.08))
        record = RequestRecord(
            request_id,
            at_ms,
            model,
            streaming,
            ok,
            attempts[-1].started_ms + attempts[-1].duration_ms,
            provider=last,
            policy=policy,
            input_tokens=into if ok else None,
            output_tokens=out if ok else None,
            cost_msats=by_its_rates if charged is None else charged,
            provider_cost_msats=charged,
            list_cost_msats=by_its_rates,
            stream_duration_ms=attempts[-1].started_ms + first + out * 12 if streaming and ok else None,
            error_status=None if ok else 502,
            error_message=None if ok else f"all providers failed: {', '.join(names)}",
            dearest_msats=max(costs)[0] if ok else None,
            median_msats=sum(cost for cost, _ in costs) // len(costs) if ok else None,
            attempts=tuple(attempts),
            routing=routing,
            session=SESSIONS[int(request_id[-1], 16) % len(SESSIONS)],
            **(_caches(into, costs, last) if ok else {}),
        )
        return list(self._events(record, out)), RequestFinished(record)

    def _attempts(self, costs: list[tuple[int, str]], first: int, *, broken: bool) -> tuple[list[Attempt], list[str]]:
        attempts: list[Attempt] = []
        at = 2
        if broken:
            attempts.append(Attempt(costs[0][1], at, 812, "status", 503, "overloaded, try again later"))
            at += 812
        if broken and len(costs) == 1:
            return attempts, [costs[0][1]]
        answering = costs[1 if broken and len(costs) > 1 else 0][1]
        if broken and self._random.random() < 0.3:
            attempts.append(Attempt(answering, at, 5000, "connect", None, "connection refused"))
        else:
            attempts.append(Attempt(answering, at, first))
        return attempts, [attempt.provider for attempt in attempts]

    def _events(self, record: RequestRecord, out: int) -> Iterator[Event]:
        yield RequestReceived(record.request_id, record.received_at_ms, record.model, record.streaming)
        if record.routing is not None:
            yield RouteChosen(record.request_id, record.routing)
        for attempt in record.attempts:
            yield AttemptStarted(record.request_id, attempt.provider)
            if attempt.failure is not None:
                yield AttemptFailed(
                    record.request_id,
                    attempt.provider,
                    attempt.failure,
                    attempt.status,
                    attempt.message,
                    attempt.duration_ms,
                    None,
                )
        if record.success and record.provider is not None:
            yield FirstByte(record.request_id, record.provider, record.latency_ms)
            if record.streaming:
                yield StreamProgress(record.request_id, out // 2)


def _rates_of(name: str) -> tuple[float, float, float]:
    return {each[0]: each[2:] for each in PROVIDERS}[name]


def _cost(name: str, into: int, out: int) -> int:
    rates = _rates_of(name)
    return round(into * rates[0] + out * rates[1] + rates[2] * 1000)


def _prefix(into: int) -> int:
    """How much of a prompt was said before: most of a long one, nothing of a short one."""
    return into * 4 // 5 // 128 * 128 if into >= 1024 else 0


def _caches(into: int, costs: list[tuple[int, str]], last: str) -> dict[str, Any]:
    """What the cache of the first choice, which had the conversation before, had of a prompt; others have nothing."""
    first, known = costs[0][1], _prefix(into)
    if not known:
        return {}
    worth = round(known * _rates_of(first)[0] * 0.9)
    here = last == first
    return {
        "predicted_cached_tokens": known * here,
        "cached_tokens": known * here,
        "cache_saved_msats": worth * here,
        "switching_msats": worth * (not here),
    }


def _routing(model: str, policy: str | None, into: int, costs: list[tuple[int, str]]) -> Routing:
    candidates = tuple(
        Candidate(
            name,
            float(_cost(name, into, 256)),
            _cost(name, into, 256) * (1.08 if name == "gamma" else 1.0),
            "charges 8 % more than its rates say" if name == "gamma" else "",
            price=Price(*_rates_of(name), "list" if name == "alpha" else "configured"),
            price_age_s=31 if name == "alpha" else None,
            cached_tokens=0 if number else _prefix(into),
        )
        for number, (_, name) in enumerate(costs)
    )
    why = None if policy is None else "named by the request"
    reuse = None
    if known := _prefix(into):
        first = costs[0][1]
        reuse = Reuse(0.83, first, round(known * _rates_of(first)[0] * 0.9))
    return Routing("cheapest", policy, model, into, 256, candidates, (("epsilon", "its breaker is open"),), why, reuse)


def lived_in(seed: int = 7) -> FakeSource:
    """A source that has run for two hours and has some requests under way, one provider open and one probing."""
    source = FakeSource()
    now, past = source.now_ms, _past(seed)
    source.own_ledger.records = list(past.own_ledger.records)
    source.totals, source.running = past.totals, deepcopy(past.running)
    source.providers["beta"] = replace(
        source.providers["beta"], state="half_open", success_rate=0.71, latency_ms=1900.0
    )
    source.providers["gamma"] = replace(
        source.providers["gamma"],
        state="open",
        open_until_ms=now + 12_000,
        failure_count=4,
        success_rate=0.43,
        last_error="connection refused",
        charged_ratio=1.08,
    )
    held = Balance("known", free_msats=14_200_000, reserved_msats=120_000, hourly_msats=1_973_500)
    source.providers["alpha"] = replace(source.providers["alpha"], charged_ratio=1.0, balance=held, list_age_s=48.0)
    source.budgets = (
        BudgetStatus("global", "day", 41_200_000, 300_000, 50_000_000, now + 9 * HOUR),
        BudgetStatus("code", "hour", 2_100_000, 0, 10_000_000, now + HOUR // 2),
    )
    source.ratios = (LearnedRatio(None, 0.41, 212), LearnedRatio("code", 0.83, 64), LearnedRatio("chat", 0.37, 55))
    return source


@cache
def _past(seed: int) -> FakeSource:
    """A source that has seen the requests of the week before `NOON`, and those that still run; made once."""
    source, traffic, rng = FakeSource(), Traffic(seed), random.Random(seed)
    for hours_ago in range(160, 0, -1):
        for _ in range(rng.randrange(1, 7)):
            _pass(source, traffic, NOON - hours_ago * HOUR + rng.randrange(HOUR))
    source.totals = Totals()  # it has started but now
    for at_ms in sorted(NOON - int(rng.random() ** 1.6 * HOUR) for _ in range(260)):
        _pass(source, traffic, at_ms)
    source.own_ledger.records.sort(key=lambda record: record.received_at_ms)
    for ago in (3200, 2600, 900):
        for event in traffic.request(NOON - ago)[0]:
            source.publish(event)
    return source


def _pass(source: FakeSource, traffic: Traffic, at_ms: int) -> None:
    """Let a whole request pass; it came so much earlier that it has ended by now."""
    events, end = traffic.request(at_ms)
    late_ms = max(ended_ms(end.record) - source.now_ms, 0)
    record = replace(end.record, received_at_ms=at_ms - late_ms)
    for event in events:
        source.publish(replace(event, at_ms=at_ms - late_ms) if isinstance(event, RequestReceived) else event)
    source.publish(RequestFinished(record))
