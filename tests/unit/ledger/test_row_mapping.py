"""Instants as text and back, and what other programs may have put into rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arbstr.clock import format_ms
from arbstr.ledger.aggregates import SUMS
from arbstr.ledger.expressions import MSATS
from arbstr.ledger.row_mapping import (
    MOST,
    bounded,
    clean,
    msats,
    parse_ms,
    storable,
    tally_of,
    whole,
)
from arbstr.types import RequestRecord
from tests.support.ledger_builders import NOON, record


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.000Z",
        "2026-01-01T12:00:00.000000+00:00",
        "2026-01-01T14:30:00+02:30",
        "2026-01-01T12:00:00",
        "2026-01-01 12:00:00",
        " 2026-01-01 12:00:00.0009 ",
    ],
)
def test_timestamps_of_any_arbstr_are_understood(text: str) -> None:
    assert parse_ms(text) == NOON


@pytest.mark.parametrize(
    "text", ["", "yesterday", None, 5, b"\xff", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_timestamp_counts_as_the_beginning_of_time(text: object) -> None:
    assert parse_ms(text) == 0


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_survives_being_written(at_ms: int) -> None:
    assert parse_ms(format_ms(at_ms)) == at_ms


def test_instants_are_written_with_milliseconds_and_z() -> None:
    assert format_ms(NOON) == "2026-01-01T12:00:00.000Z"


@given(st.integers(0, 2_100_000_000_000_000))
def test_millisats_survive_being_stored_as_sats(amount: int) -> None:
    assert msats(amount / 1000) == min(amount, MOST * 1000)


@given(st.integers(-(10**13), 10**13).map(lambda tenths: tenths / 10_000) | st.floats(allow_nan=False))
@example(0.0005)
@example(0.0015)
@example(-0.0025)
@example(1e300)
def test_sats_of_another_program_are_rounded_as_the_sums_in_sql_are(sats: float) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        [summed] = database.execute(f"SELECT {MSATS} FROM (SELECT ? AS cost_sats)", (sats,)).fetchone()
    assert msats(sats) == summed


def test_half_a_millisat_counts_as_a_whole_one() -> None:
    assert [msats(sats) for sats in (0.0005, 0.0015, 0.0025, 0.00249)] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("value", "number"),
    [(None, None), (5, 5), (5.9, 5), ("7", 7), ("many", 0), (float("inf"), 0), (10**30, MOST), (-(10**30), -MOST)],
)
def test_anything_is_read_as_some_whole_number(value: object, number: int | None) -> None:
    assert whole(value) == number


def test_absurd_numbers_are_cut_off() -> None:
    assert [bounded(n) for n in (None, 3, 10**20, -(10**20))] == [None, 3, MOST, -MOST]


def test_half_a_surrogate_pair_becomes_storable() -> None:
    assert clean("a\ud83d") == "a?"
    assert clean("Ünïcode 🙂") == "Ünïcode 🙂"


def test_an_odd_record_becomes_storable_in_every_field() -> None:
    odd = record(
        model="a\ud83d",
        provider="b\ud83d",
        error_message="Ünïcode \ud83d",
        session=None,
        input_tokens=10**20,
        cost_msats=-(10**20),
        doubtful_msats=7,
    )
    kept = storable(odd)
    assert (kept.model, kept.provider, kept.error_message, kept.session) == ("a?", "b?", "Ünïcode ?", None)
    assert (kept.input_tokens, kept.cost_msats, kept.doubtful_msats) == (MOST, -MOST, 7)
    assert storable(kept) == kept


def test_an_ordinary_record_is_storable_as_it_is() -> None:
    ordinary = record(input_tokens=0, output_tokens=None)
    assert storable(ordinary) is ordinary


@given(st.lists(st.tuples(*[st.none() | st.integers(-5, 500) | st.just(10**20)] * 6), min_size=1, max_size=8))
def test_a_tally_of_many_records_is_the_sum_of_their_tallies(numbers: list[tuple[int | None, ...]]) -> None:
    records = [
        RequestRecord(
            request_id="r",
            received_at_ms=NOON,
            model="m",
            streaming=True,
            success=True,
            latency_ms=place * 40,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            cost_msats=cost,
            dearest_msats=dearest,
            median_msats=median,
            list_cost_msats=listed,
        )
        for place, (tokens_in, tokens_out, cost, dearest, median, listed) in enumerate(numbers)
    ]
    records = list(map(storable, records))
    together, singly = tally_of(records), [tally_of([record]) for record in records]
    assert tuple(together.sums) == tuple(map(sum, zip(*(one.sums for one in singly), strict=True)))
    assert together.sketch == sum(one.sketch for one in singly)


def test_a_tally_counts_absurd_numbers_as_the_largest_and_compares_known_costs_only() -> None:
    priced = record(latency_ms=7, cost_msats=10, dearest_msats=30, input_tokens=10**20)
    unpriced = record(latency_ms=9, cost_msats=None, dearest_msats=30, input_tokens=1)
    sums = dict(zip(SUMS, tally_of([storable(priced), storable(unpriced)]).sums, strict=True))
    assert sums["input_tokens"] == MOST + 1
    assert (sums["total"], sums["success"], sums["streaming"], sums["priced"]) == (2, 2, 0, 1)
    assert (sums["cost_msats"], sums["saved_vs_dearest_msats"], sums["latency_ms"]) == (10, 20, 16)
