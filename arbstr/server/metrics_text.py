"""`/metrics` in Prometheus' text format.

Loaded at the first scrape: prometheus-client takes 50 ms to import, which is more than the proxy takes to start with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from arbstr.monitoring.gauges import Gauges
from arbstr.monitoring.request_counters import Distribution, Labels, RequestCounts
from arbstr.types import BreakerState

_BREAKER: Mapping[BreakerState, int] = {"closed": 0, "half_open": 1, "open": 2}


def write(counts: RequestCounts, gauges: Gauges) -> bytes:
    """Return all metrics as text."""
    return generate_latest(_Metrics(counts, gauges))


@dataclass(frozen=True, slots=True)
class _Metrics(Collector):
    """What the library writes out: it keeps no counters of ours."""

    counts: RequestCounts
    gauges: Gauges

    def collect(self) -> Iterator[Metric]:
        yield from _of_requests(self.counts)
        yield from _of_state(self.gauges)


def _of_requests(counts: RequestCounts) -> Iterator[Metric]:
    about = "Finished requests since the start; status is the HTTP status."
    requests = CounterMetricFamily("arbstr_requests_total", about, labels=Labels._fields)
    for labels, count in counts.requests.items():
        requests.add_metric([str(label) for label in labels], count)
    yield requests
    about = "Sats spent since the start, with what no request explains."
    yield CounterMetricFamily("arbstr_sats_total", about, counts.spent_msats / 1000)
    about = "Tokens since the start, where known; cached and cache_write are part of input."
    tokens = CounterMetricFamily("arbstr_tokens_total", about, labels=["kind"])
    for kind, count in counts.tokens.items():
        tokens.add_metric([kind], count)
    yield tokens
    about = "Time from a request's arrival to the end of its answer."
    yield _histogram("arbstr_request_duration_seconds", about, counts.durations)
    about = "Time from a request's arrival to the first byte of its stream."
    yield _histogram("arbstr_first_byte_seconds", about, counts.first_bytes)


def _of_state(gauges: Gauges) -> Iterator[Metric]:
    states = (((provider,), _BREAKER[state]) for provider, state in gauges.breakers.items())
    about = "The provider's circuit breaker: 0 closed, 1 half open, 2 open."
    yield _gauge("arbstr_breaker_state", about, ["provider"], states)
    budgets, by = gauges.budgets, ["scope", "period"]
    spent = (((budget.scope, budget.period), budget.spent_msats / 1000) for budget in budgets)
    yield _gauge("arbstr_budget_spent_sats", "Spent of a budget in its current period.", by, spent)
    limits = (((budget.scope, budget.period), budget.limit_msats / 1000) for budget in budgets)
    yield _gauge("arbstr_budget_limit_sats", "A budget.", by, limits)
    balances = (((provider,), msats / 1000) for provider, msats in gauges.balances_msats.items())
    about = "What is free at a Routstr node, as last read."
    yield _gauge("arbstr_balance_sats", about, ["provider"], balances)
    yield GaugeMetricFamily("arbstr_requests_in_flight", "Requests in flight.", gauges.in_flight)
    yield GaugeMetricFamily("arbstr_ledger_queue_rows", "Rows that wait to be written.", gauges.queued_rows)
    if gauges.instances is not None:
        about = "Instances that share the ledger: those heard of, and those that were not for half a minute."
        counts = zip((("live",), ("stale",)), gauges.instances, strict=True)
        yield _gauge("arbstr_instances", about, ["state"], counts)


def _gauge(name: str, about: str, by: list[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=by)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(name: str, about: str, spread: Distribution) -> Metric:
    buckets = [(f"{bound / 1000:g}", float(count)) for bound, count in spread.upto]
    return HistogramMetricFamily(name, about, [*buckets, ("+Inf", spread.count)], spread.sum_ms / 1000)
