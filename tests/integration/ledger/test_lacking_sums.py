"""A ledger in PostgreSQL that an earlier arbstr has written gets the sums that it lacks, and answers meanwhile."""

from __future__ import annotations

from functools import partial

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Filter
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.postgres import schema
from arbstr.ledger.sql import Statements
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from tests.integration.ledger.test_several_instances import mixed_rows
from tests.support.ledger_builders import DAY, NOON, record
from tests.support.ledgers import PostgresLedgers, asked, opened, write_rows

# What the schema before had nothing of.
BEFORE = (
    "DELETE FROM rollups WHERE facet = -1 OR facet IN (SELECT id FROM facets WHERE grain = 'outcome')",
    "DELETE FROM facets WHERE grain = 'outcome'",
    "DROP TABLE session_costs",
    "DELETE FROM ledger_state WHERE name IN ('outcomes_before', 'sessionless_before', 'sessions_from')",
    "DROP INDEX requests_by_facet_and_cost",
    "DELETE FROM schema_versions WHERE version > 4",
)
WHERES = (
    Filter(),
    Filter(success=False),
    Filter(streaming=True, success=True),
    Filter(since_ms=NOON - 1, streaming=False),
    Filter(until_ms=NOON + DAY),
)


def answers(own_ledgers: PostgresLedgers, place: PostgresPlace) -> list[object]:
    with asked(own_ledgers, place) as queries:
        return [
            (queries.stats(where, group_by), queries.page(where, "timestamp", "desc", 2, 7).entries)
            for where in WHERES
            for group_by in (None, "session", "hour", "day", "model")
        ]


def _execute(statement: str, db: Statements, rollups: object) -> None:
    db.execute(statement)


async def back_to_schema_4(place: PostgresPlace) -> None:
    ledger = await opened(place)
    for statement in BEFORE:
        await ledger.change(partial(_execute, statement))
    await ledger.close()


@pytest.mark.parametrize("killed", [False, True])
async def test_what_is_lacking_is_added_step_by_step_and_answers_stay_right(
    own_ledgers: PostgresLedgers, place: PostgresPlace, *, killed: bool
) -> None:
    rows = mixed_rows(5, 60)
    late = [PendingRow(row, final=True) for row in mixed_rows(6, 30)]
    await write_rows(place, rows)
    await back_to_schema_4(place)
    ledger, other = await opened(place), await opened(place)
    steps = 0
    while await ledger.absorb():
        await other.write(late[steps * 3 : steps * 3 + 3], {}, {})
        wanted = [*rows, *(each.record for each in late[: steps * 3 + 3])]
        with asked(own_ledgers, place) as queries:
            for where, count in (
                (Filter(), len(wanted)),
                (Filter(streaming=True), sum(row.streaming for row in wanted)),
            ):
                assert queries.stats(where, "session").overall.total == queries.count(where) == count
                assert sum(group.total for group in queries.stats(where, "session").groups.values()) == count
        steps += 1
        if killed:
            ledger._db.abort()  # type: ignore[attr-defined]  # as a kill does
            await ledger.close()
            ledger = await opened(place)
    assert steps > 4
    own_ledgers.check_sums(place)
    for each in (ledger, other):
        await each.close()


async def test_the_copied_sums_answer_as_those_that_were_there_from_the_first(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    await write_rows(place, mixed_rows(7, 120))
    wanted = answers(own_ledgers, place)
    await back_to_schema_4(place)
    ledger = await opened(place)
    assert answers(own_ledgers, place) == wanted, "from what is finer"
    while await ledger.absorb():
        pass
    await ledger.close()
    assert answers(own_ledgers, place) == wanted


async def test_an_earlier_arbstr_writes_no_more_rows(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    await write_rows(place, [record()])
    monkeypatch.setattr(schema, "LATEST_VERSION", 4)
    with pytest.raises(LedgerUnavailable, match="this one knows 4"):
        await LedgerWriter(place).start()


async def test_sessions_whose_rows_are_gone_are_forgotten(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    ago = ((20, "a"), (19, "b"), (1, "b"), (0, "c"), (0, None))
    rows = [record(received_at_ms=NOON - days * DAY, session=name and name * 16) for days, name in ago]
    await write_rows(place, rows)
    ledger = await opened(place)
    while await ledger.prune(NOON - 5 * DAY, NOON):
        pass
    await ledger.close()
    sessions = own_ledgers.read(place, "SELECT session, cost_msats FROM session_costs ORDER BY 1")
    assert sessions == [("b" * 16, 840), ("c" * 16, 420)]
    with asked(own_ledgers, place) as queries:
        groups = queries.stats(Filter(), "session").groups
    assert {name: group.cost_msats for name, group in groups.items()} == {
        "b" * 16: 420,
        "c" * 16: 420,
        "(none)": 420,
    }
