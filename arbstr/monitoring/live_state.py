"""What finished requests add up to, kept up to date by events: what a dashboard starts from."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from arbstr.events import ChargeBooked, Event, RequestFinished, UnexplainedCharge
from arbstr.monitoring.source import Totals
from arbstr.types import RequestRecord

_RECENT = 200  # few, so that memory is reused while it is still in the processor's cache
_NONE = Totals()


class FinishedRequests:
    """The latest finished requests, and the sums since the start. A bus listener: `put` takes each event of `EVENTS`.

    Given a snapshot's values it continues from there.
    """

    EVENTS = (RequestFinished, ChargeBooked, UnexplainedCharge)

    def __init__(self, recent: Sequence[RequestRecord] = (), totals: Totals = _NONE) -> None:
        self._recent: deque[RequestRecord] = deque(recent, maxlen=_RECENT)
        self._unsummed: list[RequestRecord] = []
        self._totals = totals

    @property
    def recent(self) -> tuple[RequestRecord, ...]:
        """The latest finished requests, newest first."""
        return tuple(self._recent)

    @property
    def totals(self) -> Totals:
        """The sums over all finished requests."""
        self._totals = summed(self._totals, self._unsummed)
        self._unsummed.clear()
        return self._totals

    def put(self, event: Event) -> None:
        """Apply an event."""
        if type(event) is RequestFinished:
            self._finish(event.record)
        elif type(event) is ChargeBooked:
            self._amend(event)
        elif type(event) is UnexplainedCharge:
            self._totals = with_unexplained(self.totals, event)

    def _amend(self, event: ChargeBooked) -> None:
        """Change what a finished request cost."""
        self._totals = amended(self.totals, event)
        for place, record in enumerate(self._recent):
            if record.request_id == event.request_id:
                self._recent[place] = amended_record(record, event)

    def _finish(self, record: RequestRecord) -> None:
        self._recent.appendleft(record)
        self._unsummed.append(record)
        if len(self._unsummed) >= _RECENT:  # without a reader: sum up a few at a time, to save memory
            self._totals = summed(self._totals, self._unsummed)
            self._unsummed.clear()


def amended(totals: Totals, event: ChargeBooked) -> Totals:
    """Return the sums with what a request turned out to have cost."""
    return replace(totals, cost_msats=totals.cost_msats + event.cost_msats - (event.was_msats or 0))


def with_unexplained(totals: Totals, event: UnexplainedCharge) -> Totals:
    """Return the sums with what a provider took for no request."""
    return replace(totals, cost_msats=totals.cost_msats + event.msats)


def amended_record(record: RequestRecord, event: ChargeBooked) -> RequestRecord:
    """Return a request's record with what it turned out to have cost."""
    return replace(record, cost_msats=event.cost_msats, doubtful_msats=event.doubtful_msats)


def summed(totals: Totals, records: list[RequestRecord]) -> Totals:
    """Return the sums with more finished requests added; unknown figures add nothing."""
    succeeded = sum(map(attrgetter("success"), records))
    compared = [each for each in records if each.median_msats is not None and each.cost_msats is not None]
    compared_msats = known_sum(compared, "cost_msats")
    by_rates = sum(
        [(each.cost_msats if each.list_cost_msats is None else each.list_cost_msats) or 0 for each in records]
    )
    return Totals(
        requests=totals.requests + len(records),
        succeeded=totals.succeeded + succeeded,
        cost_msats=totals.cost_msats + known_sum(records, "cost_msats"),
        saved_vs_median_msats=totals.saved_vs_median_msats + known_sum(compared, "median_msats") - compared_msats,
        input_tokens=totals.input_tokens + known_sum(records, "input_tokens"),
        output_tokens=totals.output_tokens + known_sum(records, "output_tokens"),
        compared_msats=totals.compared_msats + compared_msats,
        list_cost_msats=totals.list_cost_msats + by_rates,
        cached_tokens=totals.cached_tokens + known_sum(records, "cached_tokens"),
        cache_saved_msats=totals.cache_saved_msats + known_sum(records, "cache_saved_msats"),
        switching_msats=totals.switching_msats + known_sum(records, "switching_msats"),
        failures=_failures(totals.failures, records) if succeeded < len(records) else totals.failures,
    )


def known_sum(records: Iterable[RequestRecord], name: str) -> int:
    """Return the sum of a figure over the requests of which it is known."""
    return sum(filter(None, map(attrgetter(name), records)))


def _failures(known: Mapping[int, int], records: list[RequestRecord]) -> Mapping[int, int]:
    """Return the failures by status with those of more requests."""
    counts = Counter(known)
    counts.update(record.error_status or 0 for record in records if not record.success)
    return counts
