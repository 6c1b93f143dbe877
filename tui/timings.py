"""The dashboard's intervals: how often it applies events, paints and queries the ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Intervals in seconds; tests pass shorter ones. `query_share` is the most of a core that queries take on average.

    A round of queries is followed by a pause of at least `least_query_wait_s`, of `most_query_wait_s` at most.
    """

    busy_beat_s: float = 0.02  # soon enough that events are still in the cache when they are applied
    calm_beat_s: float = 0.1
    slice_gap_s: float = 0.015  # between the pieces of a frame, so that the proxy can run
    fastest_frame_s: float = 0.1  # ten frames a second look alive; more only cost
    slowest_frame_s: float = 1.0
    least_query_wait_s: float = 1.0
    most_query_wait_s: float = 10.0  # however long a query takes: its answer is not to be older
    idle_query_wait_s: float = 30.0  # windows slide even when nothing happens
    query_share: float = 0.02
    whole_sums_s: float = 0.2  # of what is filtered; what takes longer comes piece by piece, the newest rows first
    longest_sums_s: float = 20.0  # of what is filtered; more would burn a core for one line
    typing_pause_s: float = 0.15
    row_retry_s: float = 1.0  # while the ledger has no row: the request runs, or its row waits to be written


NORMAL = Timings()
