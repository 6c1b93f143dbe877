"""What several instances have learned: each adds to it, in a transaction under a lock that only such ones take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from arbstr.ledger.postgres import schema, shared_states
from arbstr.ledger.postgres.shared_states import Change
from arbstr.ledger.sql import Statements, chunks, values

Cell = tuple[str, str]  # kind and key
Cells = Mapping[Cell, str]

RATIOS = "ratios"  # the kind under which token ratios go, as [requests, ratio] by policy
_DONE = "learned"  # the kind of value that says which addition of an instance was the last one
_DONE_FOR_S = 7 * 86_400.0

_CELLS = (
    "SELECT kind, key, value, version, EXTRACT(EPOCH FROM clock_timestamp() - changed_at)::float8 "
    "FROM learned WHERE version > ? AND kind = ANY(?)"
)
_RATIOS = "SELECT policy, avg_ratio, sample_count, version FROM token_ratios WHERE version > ?"


class Addition(NamedTuple):
    """What an instance adds: of these cells its `own` values, which have grown from `known` ones.

    `since` is the version up to which it has seen what others have added, `kinds` are those it understands. `merge`
    returns the value to which both have added, by kind, the shared, the known and the own one, and the shared one's
    age in seconds. `number` is another with each addition of `instance`.
    """

    own: Cells
    known: Cells
    since: int
    kinds: Sequence[str]
    merge: Callable[[str, str | None, str | None, str | None, float], str | None]
    instance: str
    number: int


class Added(NamedTuple):
    """The cells that have changed since the addition before, as they are now, and the version of the last of them."""

    cells: dict[Cell, str]
    version: int


def add_learned(db: Statements, addition: Addition) -> Added:
    """In a transaction: add what an instance has learned to what all have."""
    schema.lock(db, schema.LEARNED)
    version, cells, ages = _changed(db, addition)
    merged = {}
    for cell, own in addition.own.items():
        known = addition.known.get(cell)
        shared = cells.get(cell, known)
        value = addition.merge(cell[0], shared, known, own, ages.get(cell, 0.0))
        if value is not None and value != shared:
            merged[cell] = value
    version = max(version, _write(db, merged))
    done = Change(_DONE, addition.instance, str(addition.number), _DONE_FOR_S)
    shared_states.put(db, [done], addition.instance)
    return Added(cells | merged, version)


def is_done(db: Statements, instance: str, number: int) -> bool:
    """Check whether an addition of an instance was committed, and none since."""
    row = db.execute("SELECT value FROM shared WHERE kind = ? AND key = ?", (_DONE, instance)).fetchone()
    return row is not None and row[0] == str(number)


def _changed(db: Statements, addition: Addition) -> tuple[int, dict[Cell, str], dict[Cell, float]]:
    """Return what others have added since, its last version, and the ages of cells."""
    last, cells, ages = addition.since, {}, {}
    for kind, key, value, version, age_s in db.execute(_CELLS, (addition.since, list(addition.kinds))):
        cells[kind, key], ages[kind, key] = value, age_s
        last = max(last, version)
    for policy, ratio, requests, version in db.execute(_RATIOS, (addition.since,)):
        cells[RATIOS, policy] = json.dumps([requests, ratio], separators=(",", ":"))
        last = max(last, version)
    return last, cells, ages


def _write(db: Statements, cells: Cells) -> int:
    """Write cells; return the version of the last one, 0 if there are none."""
    last = 0
    ratios = [(policy, *json.loads(value)) for (kind, policy), value in cells.items() if kind == RATIOS]
    for policy, requests, ratio in ratios:
        [last] = db.execute(
            "INSERT INTO token_ratios (policy, avg_ratio, sample_count) VALUES (?, ?, ?) ON CONFLICT (policy) "
            "DO UPDATE SET avg_ratio = excluded.avg_ratio, sample_count = excluded.sample_count, "
            "version = nextval('changes') "
            "RETURNING version",
            (policy, ratio, requests),
        ).fetchone()
    for some in chunks([(kind, key, value) for (kind, key), value in cells.items() if kind != RATIOS]):
        written = db.execute(
            f"INSERT INTO learned (kind, key, value) VALUES {values(len(some), 3)} ON CONFLICT (kind, key) DO UPDATE "
            "SET value = excluded.value, changed_at = clock_timestamp(), version = nextval('changes') "
            "RETURNING version",
            list(chain.from_iterable(some)),
        )
        last = max(last, *(version for (version,) in written))
    return last
