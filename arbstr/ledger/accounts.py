"""What providers took: as the rows say, and as the balances there say, which know more.

`booked` sums what rows say, in the transactions that write them. What a balance tells beyond that is booked later: to
the requests whose charge is in doubt, or as unexplained. All calls are within one transaction of the ledger's writer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import sub
from typing import NamedTuple

from arbstr.clock import HOUR_MS
from arbstr.ledger.aggregates import AggregateSum, from_columns
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.row_mapping import FacetKey, bounded, clean, facet_key_of, fold
from arbstr.ledger.sql import Statements, values
from arbstr.types import RequestRecord, value_object

MOST_AT_ONCE = 200  # doubts that one reading settles: rows are written meanwhile
_MEMORY_MS = 7 * 86_400_000  # a charge that no balance has shown by then stays in doubt for good


@value_object
class OpenDoubt:
    """A charge in doubt since its request ended, in msats: see `types.Doubt`.

    `booked_msats` is what the balance has shown so far.
    """

    request_id: str
    provider: str
    at_ms: int
    expected_msats: int
    counted_msats: int
    booked_msats: int
    answered: bool


@value_object
class Reading:
    """What a node says of a key, in msats: all that it has spent, and what it holds, reserved or not."""

    spent_msats: int
    funds_msats: int


@value_object
class Books:
    """What the ledger knows of an account, in msats.

    `taken_msats` is what the node took by the reading `before`, on the scale of `booked_msats`, None until the two have
    been compared; `before_msats` was booked then. `doubts` are the oldest. `unexplained_msats` is what was
    booked as such.
    """

    booked_msats: int
    taken_msats: int | None
    before: Reading | None
    before_msats: int
    doubts: tuple[OpenDoubt, ...]
    unexplained_msats: int


@value_object
class Booking:
    """What a provider took for a request by now, in msats; `final`: it will be no more."""

    request_id: str
    provider: str
    msats: int
    final: bool


@value_object
class Change:
    """What a reading changes: what was taken by now, on the scale of `booked`, and how that is booked.

    `unexplained_msats` goes to `provider`; a negative one takes back what was unexplained before.
    """

    taken_msats: int
    reading: Reading
    bookings: tuple[Booking, ...] = ()
    provider: str = ""
    unexplained_msats: int = 0


@value_object
class Amendment:
    """A row whose cost has changed, in msats.

    `counted_msats` is by how much what budgets count has grown; `learned_msats` is the charge that the balance showed,
    if it is the request's only one and complete.
    """

    request_id: str
    provider: str
    received_at_ms: int
    policy: str | None
    client: str | None
    served_model: str | None
    cost_msats: int
    was_msats: int | None
    list_cost_msats: int | None
    counted_msats: int
    doubtful_msats: int
    learned_msats: int | None


Decide = Callable[[Books], Change | None]


def enter(db: Statements, records: Iterable[RequestRecord]) -> None:
    """Add what the rows of finished requests say was taken to `booked`, and note what is in doubt."""
    booked: defaultdict[str, int] = defaultdict(int)
    for record in records:
        if record.provider is not None and record.cost_msats:
            counted = sum(doubt.counted_msats for doubt in record.doubts) if record.doubts else 0
            booked[clean(record.provider)] += (bounded(record.cost_msats) or 0) - counted
        if record.doubts:
            _note(db, record)
    for provider, msats in booked.items():
        if msats:
            _book(db, provider, msats)


def _book(db: Statements, provider: str, msats: int) -> None:
    db.execute(
        "INSERT INTO booked (provider, msats) VALUES (?, ?) "
        "ON CONFLICT (provider) DO UPDATE SET msats = booked.msats + excluded.msats",
        (provider, msats),
    )


def _note(db: Statements, record: RequestRecord) -> None:
    for doubt in record.doubts:
        db.execute(
            "INSERT INTO doubts (request_id, provider, at_ms, expected_msats, counted_msats, answered) "
            f"VALUES {values(1, 6)} ON CONFLICT (request_id, provider) DO UPDATE SET at_ms = excluded.at_ms, "
            "expected_msats = excluded.expected_msats, counted_msats = excluded.counted_msats, booked_msats = 0, "
            "answered = excluded.answered",
            (
                clean(record.request_id),
                clean(doubt.provider),
                record.received_at_ms + max(record.latency_ms, record.stream_duration_ms or 0),
                bounded(doubt.expected_msats),
                bounded(doubt.counted_msats),
                doubt.answered,
            ),
        )


# What dead processes have left open was in flight: what it cost is in doubt from now on.
DOUBT_INTERRUPTED = (
    "INSERT OR IGNORE INTO doubts (request_id, provider, at_ms, expected_msats) "
    "SELECT correlation_id, provider, {now_ms}, doubtful_msats FROM requests "
    "WHERE facet IS NULL AND open IN {sessions} AND provider IS NOT NULL AND doubtful_msats > 0"
)
# Rows that were written beside the ledger are in no `booked`: what nodes took is compared from the next reading on.
COMPARE_AGAIN = "UPDATE accounts SET taken_msats = NULL"


def balance(
    db: Statements, rollups: Rollups, account: str, providers: Sequence[str], now_ms: int, decide: Decide
) -> tuple[Change, tuple[Amendment, ...]] | None:
    """Book what a node took beyond what these providers' rows say, as `decide` has it; return what has changed."""
    books = _books(db, account, providers)
    change = decide(books)
    if change is None:
        return None
    if books.taken_msats is None:  # what was taken before is not known
        db.execute(f"DELETE FROM doubts WHERE provider IN {values(1, len(providers))}", providers)
    amended = [found for booking in change.bookings if (found := _amend(db, rollups, booking)) is not None]
    if change.unexplained_msats > 0:
        _enter_unexplained(db, change.provider, change.unexplained_msats, now_ms)
    elif change.unexplained_msats < 0:
        _take_back(db, providers, -change.unexplained_msats)
    booked = _booked(db, providers)
    db.execute(
        "INSERT INTO accounts (name, spent_msats, funds_msats, taken_msats, booked_msats) "
        f"VALUES {values(1, 5)} ON CONFLICT (name) DO UPDATE SET spent_msats = excluded.spent_msats, "
        "funds_msats = excluded.funds_msats, taken_msats = excluded.taken_msats, booked_msats = excluded.booked_msats",
        (account, change.reading.spent_msats, change.reading.funds_msats, change.taken_msats, booked),
    )
    return change, tuple(amended)


def forget_doubts(db: Statements, providers: Sequence[str], now_ms: int) -> None:
    """Leave doubts open for good where no balance will tell: at other providers than these, or after too long."""
    among = f"provider NOT IN {values(1, len(providers))} OR" if providers else "TRUE OR"
    db.execute(f"DELETE FROM doubts WHERE {among} at_ms < ?", (*providers, now_ms - _MEMORY_MS))


def known_accounts(db: Statements) -> frozenset[str]:
    """Return the names of the accounts that have been read before."""
    return frozenset(name for (name,) in db.execute("SELECT name FROM accounts WHERE taken_msats IS NOT NULL"))


def _books(db: Statements, account: str, providers: Sequence[str]) -> Books:
    among = values(1, len(providers))
    [(unexplained,)] = db.execute(
        f"SELECT COALESCE(SUM(msats), 0) FROM unexplained WHERE provider IN {among}", providers
    )
    sql = "SELECT taken_msats, booked_msats, spent_msats, funds_msats FROM accounts WHERE name = ?"
    taken, before_msats, *figures = db.execute(sql, (account,)).fetchone() or (None, 0)
    before = Reading(*figures) if figures else None
    doubts = db.execute(
        "SELECT request_id, provider, at_ms, expected_msats, counted_msats, booked_msats, answered FROM doubts "
        f"WHERE provider IN {among} ORDER BY at_ms, request_id LIMIT {MOST_AT_ONCE}",
        providers,
    )
    return Books(
        _booked(db, providers),
        taken,
        before,
        before_msats,
        tuple(OpenDoubt(*columns) for columns in doubts),
        unexplained,
    )


def _booked(db: Statements, providers: Sequence[str]) -> int:
    sql = f"SELECT COALESCE(SUM(msats), 0) FROM booked WHERE provider IN {values(1, len(providers))}"
    [(msats,)] = db.execute(sql, providers)
    return int(msats)


def _row_sql(dialect: SqlDialect) -> str:
    return (
        f"SELECT id, facet IS NULL, {dialect.facet_model}, provider, policy, streaming, {dialect.succeeded}, client, "
        f"dialect, at_ms, {dialect.msats}, {dialect.counted_msats}, COALESCE(doubtful_msats, 0), served_model, "
        "ROUND(list_cost_sats * 1000) FROM requests "
        f"WHERE id = (SELECT MAX(id) FROM requests WHERE correlation_id = ? AND {dialect.closed})"
    )


class _Row(NamedTuple):
    """A row whose cost may change, in msats. `counted` is what budgets count; a `pending` one is in no rollups."""

    id: int
    pending: bool
    key: FacetKey
    at_ms: int
    cost: int | None
    counted: int
    doubtful: int
    served_model: str | None
    listed: float | None


def _row(db: Statements, dialect: SqlDialect, request_id: str) -> _Row | None:
    found = db.execute(_row_sql(dialect), (request_id,)).fetchone()
    return None if found is None else _Row(found[0], bool(found[1]), facet_key_of(found[2:9]), *found[9:])


def _amend(db: Statements, rollups: Rollups, booking: Booking) -> Amendment | None:
    """Book what a request cost; return None where its row is gone, or can't be changed yet."""
    doubt = db.execute(
        "SELECT counted_msats, booked_msats, expected_msats FROM doubts WHERE request_id = ? AND provider = ?",
        (booking.request_id, booking.provider),
    ).fetchone()
    row = _row(db, rollups.dialect, booking.request_id)
    if row is None:
        _close(db, booking)
    if row is None or row.pending or doubt is None:
        return None
    counted, booked, expected = doubt
    counts = booking.msats if booking.final else max(booking.msats, counted)
    cost = (row.cost or 0) + counts - counted
    if booking.final:
        _close(db, booking)
        doubtful = max(0, row.doubtful - expected) if _is_in_doubt(db, booking.request_id) else 0
    else:
        doubtful = max(0, row.doubtful - max(0, booking.msats - booked))
        _keep_open(db, booking, counts)
    _book(db, booking.provider, booking.msats - booked)
    own = booking.final and booking.provider == row.key[1] and booking.msats == cost
    return Amendment(
        request_id=booking.request_id,
        provider=booking.provider,
        received_at_ms=row.at_ms,
        policy=row.key[2],
        client=row.key[5],
        served_model=row.served_model,
        cost_msats=cost,
        was_msats=row.cost,
        list_cost_msats=None if row.listed is None else int(row.listed),
        counted_msats=_change_row(db, rollups, row, cost, doubtful) - row.counted,
        doubtful_msats=doubtful,
        learned_msats=booking.msats if own else None,
    )


def _close(db: Statements, booking: Booking) -> None:
    db.execute("DELETE FROM doubts WHERE request_id = ? AND provider = ?", (booking.request_id, booking.provider))


def _keep_open(db: Statements, booking: Booking, counts_msats: int) -> None:
    db.execute(
        "UPDATE doubts SET counted_msats = ?, booked_msats = ? WHERE request_id = ? AND provider = ?",
        (counts_msats, booking.msats, booking.request_id, booking.provider),
    )


def _is_in_doubt(db: Statements, request_id: str) -> bool:
    return db.execute("SELECT 1 FROM doubts WHERE request_id = ?", (request_id,)).fetchone() is not None


def _change_row(db: Statements, rollups: Rollups, row: _Row, cost_msats: int, doubtful_msats: int) -> int:
    """Change what a row cost, and the rollups that count it; return what budgets count now."""
    sums = f"SELECT SUM({rollups.dialect.counted_msats}), {rollups.dialect.row_sums} FROM requests WHERE id = ?"
    _, *before = from_columns(db.execute(sums, (row.id,)).fetchone())
    db.execute(
        "UPDATE requests SET cost_sats = ?, doubtful_msats = ? WHERE id = ?",
        (cost_msats / 1000, doubtful_msats or None, row.id),
    )
    counted, *after = from_columns(db.execute(sums, (row.id,)).fetchone())
    change = AggregateSum(list(map(sub, after, before)))
    rollups.add(db, [(row.key, row.at_ms - row.at_ms % HOUR_MS, change)])
    rollups.amended(db, row.id, row.key, row.at_ms, change, counted - row.counted)
    return counted


def _enter_unexplained(db: Statements, provider: str, msats: int, now_ms: int) -> None:
    db.execute(
        f"INSERT INTO unexplained (at_ms, provider, provider_key, msats) VALUES {values(1, 4)}",
        (now_ms, provider, fold(provider), msats),
    )
    _book(db, provider, msats)


def _take_back(db: Statements, providers: Sequence[str], msats: int) -> None:
    """Lower what was unexplained, the newest first: it was a request's, whose row came late."""
    entries = db.execute(
        f"SELECT id, provider, msats FROM unexplained WHERE provider IN {values(1, len(providers))} ORDER BY id DESC",
        providers,
    ).fetchall()
    for number, provider, booked in entries:
        less = min(msats, booked)
        if less == booked:
            db.execute("DELETE FROM unexplained WHERE id = ?", (number,))
        else:
            db.execute("UPDATE unexplained SET msats = msats - ? WHERE id = ?", (less, number))
        _book(db, provider, -less)
        msats -= less
        if not msats:
            return
