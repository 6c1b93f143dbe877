"""What finished requests have added up to since the start, for `/metrics`: one update a request, few enough sums.

Clients may ask for any name of a model, and providers may list any. So a label is only ever a listed name, and there
are no more than `MOST_MODELS` of them; all others share one. Providers, policies and clients are the configuration's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import NamedTuple

from arbstr.engine.routing.names import ModelNames
from arbstr.events import ChargeBooked, Event, RequestFinished, UnexplainedCharge
from arbstr.monitoring.live_state import known_sum
from arbstr.sanitize import sanitize
from arbstr.types import NO_GROUP, RequestRecord

UNKNOWN_MODEL = "(unknown)"
MOST_MODELS = 500
_MOST_REMEMBERED = 4096  # spellings of them
_AT_ONCE = 200  # requests are summed up together: each by itself would cost several times as much
_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)


class Labels(NamedTuple):
    """What requests are counted by. `status` is the HTTP status: 200, or the error's."""

    model: str
    provider: str
    policy: str
    client: str
    status: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """How durations are distributed. `upto` are pairs of a bound in ms and how many took no longer, of `count`."""

    upto: tuple[tuple[int, int], ...]
    count: int
    sum_ms: int


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The sums at an instant. `spent_msats` never falls; `tokens` are by kind, as far as they are known."""

    requests: dict[Labels, int]
    spent_msats: int
    tokens: dict[str, int]
    durations: Distribution
    first_bytes: Distribution


class RequestCounters:
    """Counts finished requests. A bus listener: `put` takes each event of `EVENTS`."""

    EVENTS = (RequestFinished, ChargeBooked, UnexplainedCharge)

    def __init__(self, names: ModelNames) -> None:
        self._models = _ModelLabels(names)
        self._uncounted: list[RequestRecord] = []
        self._labels: list[str] = []  # of their models, as they were listed then
        self._requests: Counter[Labels] = Counter()
        self._msats = 0
        self._shown_msats = 0
        self._input_tokens = self._output_tokens = self._cached_tokens = self._cache_write_tokens = 0
        self._durations = _Durations(_MS)
        self._first_bytes = _Durations(_MS)

    def renew(self, names: ModelNames) -> None:
        """Label by another configuration's names from now on."""
        self._models.renew(names)

    def put(self, event: Event) -> None:
        """Count a request that has ended, or correct what was spent."""
        if type(event) is RequestFinished:
            self._uncounted.append(event.record)
            self._labels.append(self._models.of(event.record.model))
            if len(self._uncounted) >= _AT_ONCE:
                self._count()
        elif type(event) is ChargeBooked:
            self._msats += event.cost_msats - (event.was_msats or 0)
        elif type(event) is UnexplainedCharge:
            self._msats += event.msats

    def counts(self) -> RequestCounts:
        """Return the sums now.

        A correction can lower what was spent. A counter that falls would read as one that began again at zero, and what
        it shows as spent once more: it stands still instead, until as much has been spent.
        """
        self._count()
        self._shown_msats = max(self._shown_msats, self._msats)
        tokens = {
            "input": self._input_tokens,
            "cached": self._cached_tokens,
            "cache_write": self._cache_write_tokens,
            "output": self._output_tokens,
        }
        distributions = self._durations.distribution(), self._first_bytes.distribution()
        return RequestCounts(dict(self._requests), self._shown_msats, tokens, *distributions)

    def _count(self) -> None:
        """Count the requests that have ended since the last time."""
        records, models = self._uncounted, self._labels
        alike = Counter(zip(models, map(_GROUP, records), strict=True))
        for (model, (provider, policy, client, success, status)), count in alike.items():
            named = (provider or NO_GROUP, policy or NO_GROUP, client or NO_GROUP)
            self._requests[Labels(model, *named, 200 if success else status or 0)] += count
        self._msats += known_sum(records, "cost_msats")
        self._input_tokens += known_sum(records, "input_tokens")
        self._output_tokens += known_sum(records, "output_tokens")
        self._cached_tokens += known_sum(records, "cached_tokens")
        self._cache_write_tokens += known_sum(records, "cache_write_tokens")
        streams = [record for record in records if record.stream_duration_ms is not None]
        self._durations.add([record.latency_ms for record in records if record.stream_duration_ms is None])
        self._durations.add([record.stream_duration_ms or 0 for record in streams])
        self._first_bytes.add([record.latency_ms for record in streams])
        records.clear()
        models.clear()


_GROUP = attrgetter("provider", "policy", "client", "success", "error_status")


class _Durations:
    """Counts durations by the bounds, in ms, between which they lie."""

    def __init__(self, bounds: Sequence[int]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_ms = 0

    def add(self, durations_ms: Sequence[int]) -> None:
        for place, count in Counter(map(bisect_left, repeat(self._bounds), durations_ms)).items():
            self._counts[place] += count
        self._sum_ms += sum(durations_ms)

    def distribution(self) -> Distribution:
        count, upto = 0, list[tuple[int, int]]()
        for bound, within in zip(self._bounds, self._counts, strict=False):
            count += within
            upto.append((bound, count))
        return Distribution(tuple(upto), count + self._counts[-1], self._sum_ms)


class _ModelLabels:
    """Chooses the label of a requested model: the listed name that it stands for."""

    def __init__(self, names: ModelNames) -> None:
        self._names = names
        self._version = -1
        self._listed: dict[str, str] = {}  # by name without regard to case
        self._used: set[str] = set()
        self._labels: dict[str, str] = {}  # by requested name; a name keeps its label when no list has it any more

    def renew(self, names: ModelNames) -> None:
        self._names, self._version = names, -1
        self._labels.clear()

    def of(self, asked: str) -> str:
        return self._labels.get(asked) or self._new(asked)

    def _new(self, asked: str) -> str:
        if self._version != self._names.version:
            self._version = self._names.version
            self._listed = {name.casefold(): sanitize(name) for name in self._names.all()}
        listed = self._listed
        label = listed.get(asked.casefold()) or listed.get(self._names.resolve(asked).casefold()) if asked else None
        if label is None or (label not in self._used and len(self._used) >= MOST_MODELS):
            return UNKNOWN_MODEL
        if len(self._labels) >= _MOST_REMEMBERED:
            self._labels.clear()
        self._used.add(label)
        self._labels[asked] = label
        return label
