"""Adoption: rows of an earlier arbstr, or of another program, get into the rollups.

In three steps, each of which may be the last one before a kill:

1. Pending rows are noted in the `backlog`, in chunks, with the instants between which they lie.
2. Chunk by chunk, the newest first, their sums are made and added to the rollups. A chunk is read by a connection of
   its own, so that the writer is held up only while the sums are added.
3. Chunk by chunk, the newest first, rows get their instant and facet, in one statement of SQL, and leave the backlog.

Queries are right at each point, see `backlog` and `read_view`. All slow work is done by SQLite, off the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from arbstr.clock import HOUR_MS
from arbstr.ledger import outcomes
from arbstr.ledger.aggregates import SUMS, AggregateSum, from_columns
from arbstr.ledger.backlog import Chunk
from arbstr.ledger.database import Database
from arbstr.ledger.expressions import INSTANT, LATENCY, ROW_SUMS, SAVED_VS_LIST, facet_model, refused
from arbstr.ledger.latency_histogram import sketch_all
from arbstr.ledger.progress import Progress
from arbstr.ledger.read_connection import connect
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.row_mapping import FacetKey, facet_key_of, fold_any, parse_ms
from arbstr.ledger.sql import values

CHUNK = 10_000  # rows, of which the sums are added in a twentieth of a second
_COMPLETED_AT_ONCE = 2_500  # rows, in a hundredth
_FEW = 500  # rows that are adopted in one step: those of another program, or of a crash
_NOTED_AT_ONCE = 3  # chunks
_PATIENCE_S = 0.02  # that a step waits for a chunk to be read, before other rows may be written

# What makes a facet, as it is in the row.
_NAMES = f"{facet_model()}, provider, policy, streaming <> 0, success <> 0, client, dialect"
_KEY_COLUMNS = ("model", "provider", "policy", "streaming", "success", "client", "dialect")
_SUMMED = (
    "model, provider, policy, streaming, success, client, dialect, input_tokens, output_tokens, cost_sats, "
    "latency_ms, dearest_msats, median_msats, list_cost_sats, error_status, cached_tokens, cache_saved_msats, "
    "switching_msats"
)
_KEYS = f"CREATE TEMP TABLE IF NOT EXISTS keys (facet INTEGER, {', '.join(_KEY_COLUMNS)})"
_KEYS_INDEX = f"CREATE INDEX IF NOT EXISTS temp.keys_by_name ON keys ({', '.join(_KEY_COLUMNS)}, facet)"
_FACET = (
    "SELECT k.facet FROM temp.keys k WHERE k.streaming = (r.streaming <> 0) AND k.success = (r.success <> 0)"
    f" AND k.model IS {facet_model('r.')}"
    + "".join(f" AND k.{name} IS r.{name}" for name in ("provider", "policy", "client", "dialect"))
)
_LIST_COSTS = (
    f"SELECT {', '.join(f'f.{name}' for name in _KEY_COLUMNS)}, r.at_ms - r.at_ms % {HOUR_MS}, SUM({SAVED_VS_LIST}) "
    "FROM requests r CROSS JOIN facets f ON f.id = r.facet "
    f"WHERE r.id > ? AND r.id <= ? AND r.list_cost_sats <> r.cost_sats GROUP BY r.facet, r.at_ms / {HOUR_MS}"
)
_UPTO = "list_costs_upto"
_PRUNED_MS = "(SELECT COALESCE(MAX(value), 0) FROM ledger_state WHERE name = 'pruned_before_ms')"
_CHUNK_COLUMNS = "first_id, last_id, total, first_ms, last_ms, summed"

Sums = list[tuple[FacetKey, int, AggregateSum]]


async def prepare(db: Database) -> None:
    """Prepare a writer's connection for adoption."""
    await db.create_function("epoch_ms", 1, parse_ms, deterministic=True)
    await db.create_function("fold", 1, fold_any, deterministic=True)
    await db.execute_fetchall(_KEYS)
    await db.execute_fetchall(_KEYS_INDEX)


class Adoption:
    """The steps on one writer's connection, each in its caller's transaction, except for the reading between them."""

    def __init__(self, path: Path, db: Database, rollups: Rollups) -> None:
        self._path = path
        self._db = db
        self._rollups = rollups
        self._reading: tuple[Chunk, asyncio.Future[Sums]] | None = None
        self._total = 0
        self._noting = False
        self._keys_known = False  # those in `temp.keys`

    async def note(self) -> bool:
        """In a transaction: enter the next pending rows in the backlog, or adopt them if few; return False if none."""
        noted = 0
        while noted < _NOTED_AT_ONCE and (chunk := await self._note_chunk()) is not None:
            noted += 1
            if chunk.total <= _FEW:
                await self._add(chunk, folded(map(tuple, await self._db.execute_fetchall(_sums_of(chunk)))))
                await self._complete(chunk)
                await self._db.execute_fetchall("DELETE FROM backlog WHERE first_id = ?", (chunk.first_id,))
        self._noting = noted > 0
        return self._noting

    async def _note_chunk(self) -> Chunk | None:
        pending = "facet IS NULL AND open = 0 AND id > (SELECT COALESCE(MAX(last_id), 0) FROM backlog)"
        # Never across an open row: once closed, it is pending.
        chunk = await self._enter(_next_chunk(INSTANT, pending, "facet IS NULL AND open <> 0"), summed=False)
        if chunk is not None:
            await self._db.execute_fetchall(
                "INSERT OR IGNORE INTO ledger_state (name, value) SELECT 'other_ids', 1 WHERE EXISTS "
                f"(SELECT 1 FROM requests WHERE {_waiting(chunk)} AND correlation_id GLOB '*[^0-9A-Fa-f-]*')"
            )
        return chunk

    async def _enter(self, found: str, *, summed: bool) -> Chunk | None:
        """Enter the chunk that a statement finds in the backlog; return None if it finds no rows."""
        [row] = await self._db.execute_fetchall(found)
        if row[0] is None:
            return None
        await self._db.execute_fetchall(
            f"INSERT INTO backlog ({_CHUNK_COLUMNS}) VALUES {values(1, 6)}", (*row, int(summed))
        )
        return Chunk(*row, summed=summed)

    @property
    def reads(self) -> bool:
        """Whether a chunk is being read, or has been read."""
        return self._reading is not None

    async def sum_up(self) -> bool:
        """Begin to read the newest chunk that no rollups count; return False if there is none."""
        chunk = await self._newest("summed = 0")
        if chunk is not None:
            reading = asyncio.get_running_loop().run_in_executor(None, read_sums, self._path, chunk)
            self._reading = chunk, reading
        return chunk is not None

    async def has_read(self) -> bool:
        """Wait briefly for the chunk; return whether it has been read."""
        if self._reading is not None:
            await asyncio.wait((self._reading[1],), timeout=_PATIENCE_S)
        return self._reading is not None and self._reading[1].done()

    async def add(self) -> None:
        """In a transaction: add the chunk that was read to the rollups, and begin to read the next."""
        if self._reading is None:
            return
        (chunk, reading), self._reading = self._reading, None
        sums = reading.result()
        if chunk == await self._newest("summed = 0"):  # unless another process has added it
            await self._add(chunk, sums)
        await self.sum_up()

    async def _add(self, chunk: Chunk, sums: Sums) -> None:
        await self._db.run(lambda db: self._rollups.add(db, sums))
        await self._db.execute_fetchall(
            f"UPDATE requests SET refused_key = fold(model) WHERE {_waiting(chunk)} AND {refused()}"
        )
        await self._db.execute_fetchall("UPDATE backlog SET summed = 1 WHERE first_id = ?", (chunk.first_id,))

    async def complete(self) -> bool:
        """In a transaction: give the newest rows of the backlog instants and facets; return False if none."""
        chunk = await self._newest("TRUE")
        if chunk is None:
            return False
        first = await self._db.execute_fetchall(
            f"SELECT id FROM requests WHERE {_waiting(chunk)} ORDER BY id DESC LIMIT 1 OFFSET {_COMPLETED_AT_ONCE - 1}"
        )
        if first:
            [(first_id,)] = first
            await self._complete(replace(chunk, first_id=first_id))
            await self._db.execute_fetchall(
                f"UPDATE backlog SET last_id = ?, total = MAX(0, total - {_COMPLETED_AT_ONCE}) WHERE first_id = ?",
                (first_id - 1, chunk.first_id),
            )
        if not first or first_id == chunk.first_id:
            await self._complete(chunk)
            await self._db.execute_fetchall("DELETE FROM backlog WHERE first_id = ?", (chunk.first_id,))
        return True

    async def _complete(self, chunk: Chunk) -> None:
        if not self._keys_known:
            await self._db.execute_fetchall("DELETE FROM temp.keys")
            self._keys_known = True
        await self._mark(_waiting(chunk))
        if await self._enter_keys(_waiting(chunk)):
            await self._mark(_waiting(chunk))

    async def lacks_sums(self) -> bool:
        """Check whether rollups lack sums that an earlier arbstr did not know."""
        return await self._list_costs_upto() is not None or await self._db.run(outcomes.is_left)

    async def add_lacking_sums(self) -> None:
        """In a transaction: add some of them."""
        if await self._list_costs_upto() is not None:
            await self._sum_list_costs()
        else:
            await self._db.run(lambda db: outcomes.sum_day(db, self._rollups))

    async def _list_costs_upto(self) -> int | None:
        """Return the last row whose list cost is not in its rollups yet; None if all are."""
        sql = "SELECT MAX(value) FROM ledger_state WHERE name = ?"
        [(upto,)] = await self._db.execute_fetchall(sql, (_UPTO,))
        return None if upto is None else int(upto)

    async def _sum_list_costs(self) -> None:
        """In a transaction: add the list costs of a chunk of such rows to their rollups, the newest first."""
        upto = await self._list_costs_upto()  # another process may have been here
        if upto is None:
            return
        rows = await self._db.execute_fetchall(_LIST_COSTS, (upto - CHUNK, upto))
        sums = [(facet_key_of(names), start, _list_cost_alone(saved)) for *names, start, saved in rows]
        await self._db.run(lambda db: self._rollups.add(db, sums))
        await self._db.execute_fetchall("UPDATE ledger_state SET value = value - ? WHERE name = ?", (CHUNK, _UPTO))
        await self._db.execute_fetchall(
            "DELETE FROM ledger_state WHERE name = ? AND value < (SELECT COALESCE(MIN(id), value + 1) FROM requests)",
            (_UPTO,),
        )

    async def begin_again(self, after_id: int) -> int | None:
        """In a transaction: mark the next rows with facets for adoption again. Return the last id; None at the end.

        They stay in the rollups until `start_sums_again`. Rows that are to be pruned are not among them.
        """
        rest = f"facet IS NOT NULL AND at_ms >= {_PRUNED_MS} AND id > {after_id}"
        chunk = await self._enter(_next_chunk("at_ms", rest, "facet IS NULL"), summed=True)
        if chunk is None:
            return None
        await self._db.execute_fetchall(
            "UPDATE requests SET at_ms = NULL, facet = NULL WHERE id BETWEEN ? AND ?", (chunk.first_id, chunk.last_id)
        )
        return chunk.last_id

    async def start_sums_again(self) -> None:
        """In a transaction: empty the rollups, and forget facets that nothing has, now that all rows are in chunks."""
        await self._db.execute_fetchall(f"DELETE FROM rollups WHERE start_ms >= {_PRUNED_MS}")
        await self._db.execute_fetchall("DELETE FROM facets WHERE id NOT IN (SELECT facet FROM rollups)")
        await self._db.execute_fetchall("UPDATE requests SET refused_key = NULL WHERE refused_key IS NOT NULL")
        await self._db.execute_fetchall("UPDATE backlog SET summed = 0")
        self._rollups.forget()
        self.forget()

    async def _mark(self, among: str) -> None:
        """Set instants and facets, as far as `temp.keys` knows these."""
        await self._db.execute_fetchall(
            f"UPDATE requests AS r SET at_ms = ({INSTANT}), facet = ({_FACET}) WHERE {among}"
        )

    async def progress(self) -> Progress:
        """Return the progress since the backlog was empty, or this process began; none while it is being filled."""
        if self._noting:
            return Progress()
        [(rows, unsummed)] = await self._db.execute_fetchall(
            "SELECT COALESCE(SUM(total), 0), COALESCE(SUM(total * (summed = 0)), 0) FROM backlog"
        )
        self._total = max(self._total, rows) if rows else 0
        return Progress(self._total - (rows + unsummed) // 2, self._total)

    def forget(self) -> None:
        """Discard what is being read, and the known facets."""
        self._keys_known = False
        if self._reading is not None:
            self._reading[1].add_done_callback(_ignore)
            self._reading = None

    async def _newest(self, which: str) -> Chunk | None:
        sql = f"SELECT {_CHUNK_COLUMNS} FROM backlog WHERE {which} ORDER BY first_id DESC LIMIT 1"
        for *numbers, summed in await self._db.execute_fetchall(sql):
            return Chunk(*numbers, summed=bool(summed))
        return None

    async def _enter_keys(self, among: str) -> bool:
        """Enter the facet of each combination of names in these rows into `temp.keys`; return False if all were."""
        await self._db.execute_fetchall(
            f"INSERT INTO temp.keys SELECT NULL, * FROM (SELECT {_NAMES} FROM requests WHERE {among} "
            f"EXCEPT SELECT {', '.join(_KEY_COLUMNS)} FROM temp.keys)"
        )
        new = await self._db.execute_fetchall(
            f"SELECT rowid, {', '.join(_KEY_COLUMNS)} FROM temp.keys WHERE facet IS NULL"
        )
        keys = {row_id: facet_key_of(names) for row_id, *names in new}
        facets = await self._db.run(lambda db: self._rollups.facets(db, keys.values()))
        for row_id, key in keys.items():
            await self._db.execute_fetchall("UPDATE temp.keys SET facet = ? WHERE rowid = ?", (facets[key], row_id))
        return bool(keys)


def _next_chunk(instant: str, which: str, ends_at: str) -> str:
    """Return the statement that finds the next rows matching `which`, none beyond a row at which a chunk must end."""
    return (
        f"WITH some AS MATERIALIZED (SELECT id, {instant} AS at_ms FROM requests WHERE {which} "
        f"ORDER BY id LIMIT {CHUNK}), "
        "upto(id) AS MATERIALIZED (SELECT MIN(requests.id) FROM requests, "
        "(SELECT MIN(id) AS low, MAX(id) AS high FROM some) "
        f"WHERE {ends_at} AND requests.id BETWEEN low AND high) "
        "SELECT MIN(some.id), MAX(some.id), COUNT(*), MIN(some.at_ms), MAX(some.at_ms) FROM some, upto "
        "WHERE upto.id IS NULL OR some.id < upto.id"
    )


def read_sums(path: Path, chunk: Chunk) -> Sums:
    """Return the sums of a chunk's rows by facet and hour. Raises sqlite3.Error, LedgerUnavailable."""
    with closing(connect(path)) as connection:
        return folded(connection.execute(_sums_of(chunk)).fetchall())


def _sums_of(chunk: Chunk) -> str:
    rows = f"SELECT {_SUMMED}, {INSTANT} AS at_ms FROM requests WHERE {_waiting(chunk)}"
    return sums_sql(f"{rows} LIMIT -1")  # so each instant is read once only


def _waiting(chunk: Chunk) -> str:
    """Return the condition that a row of the chunk has not been completed."""
    return f"id BETWEEN {chunk.first_id} AND {chunk.last_id} AND facet IS NULL AND open = 0"


def sums_sql(rows: str) -> str:
    """Return the statement that sums up rows by facet and hour."""
    return (
        f"SELECT {_NAMES}, at_ms - at_ms % {HOUR_MS}, {ROW_SUMS}, GROUP_CONCAT({LATENCY}, ' ') FROM ({rows}) "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
    )


def folded(rows: Iterable[Sequence[Any]]) -> Sums:
    """Convert the result of such a statement for the rollups."""
    width = len(_KEY_COLUMNS)
    sums = []
    for row in rows:
        names, start_ms, numbers, latencies = row[:width], row[width], row[width + 1 : -1], row[-1]
        tally = AggregateSum(from_columns(numbers), sketch_all(map(int, latencies.split(" "))))
        sums.append((facet_key_of(names), start_ms, tally))
    return sums


def _list_cost_alone(saved_msats: int) -> AggregateSum:
    """Return the sum of no rows but for what they saved against the list, the last of the sums."""
    return AggregateSum((*(0,) * (len(SUMS) - 1), saved_msats))


def _ignore(reading: asyncio.Future[Sums]) -> None:
    if not reading.cancelled():
        reading.exception()
