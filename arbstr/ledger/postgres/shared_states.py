"""What instances share besides rows: values by kind and key, each for a time, by the server's clock alone.

Instances' clocks may differ by minutes. So ages and times left are what travels here, never an instant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arbstr.ledger.sql import Statements

VERSION = 1  # of the notifications
MOST = 5_000  # values that are read at once
_LONGEST = 8_000_000  # bytes
_KEPT_S = 60.0  # values are deleted that long after their time

_PUT = (
    "INSERT INTO shared (kind, key, value, instance, changed_at, expires_at) VALUES (?, ?, ?, ?, "
    "clock_timestamp() - make_interval(secs => ?::float8), clock_timestamp() + make_interval(secs => ?::float8)) "
    "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, instance = excluded.instance, "
    "changed_at = excluded.changed_at, expires_at = excluded.expires_at, version = nextval('changes') "
    "WHERE shared.changed_at <= excluded.changed_at"
)
_CLAIM = (
    "INSERT INTO shared (kind, key, value, instance, changed_at, expires_at) "
    "VALUES (?, ?, 'null', ?, clock_timestamp(), clock_timestamp() + make_interval(secs => ?::float8)) "
    "ON CONFLICT (kind, key) DO UPDATE SET instance = excluded.instance, changed_at = excluded.changed_at, "
    "expires_at = excluded.expires_at, version = nextval('changes') "
    "WHERE shared.instance = excluded.instance OR shared.expires_at <= clock_timestamp() RETURNING 1"
)
_CHANGED = (
    "SELECT shared.kind, shared.key, value, instance, "
    "EXTRACT(EPOCH FROM clock_timestamp() - changed_at)::float8, "
    "EXTRACT(EPOCH FROM expires_at - clock_timestamp())::float8, shared.version "
    "FROM shared LEFT JOIN UNNEST(?::text[], ?::text[], ?::bigint[]) AS seen (kind, key, version) "
    "ON shared.kind = seen.kind AND shared.key = seen.key AND shared.version = seen.version "
    "WHERE seen.key IS NULL AND expires_at > clock_timestamp() AND ISFINITE(expires_at) AND ISFINITE(changed_at) "
    f"AND OCTET_LENGTH(value) <= {_LONGEST} ORDER BY shared.version LIMIT {MOST}"
)

Versions = Mapping[tuple[str, str], int]


class Change(NamedTuple):
    """A value to be shared: it is of `age_s` ago, and holds for `left_s` more. `quiet`: others need not hear of it."""

    kind: str
    key: str
    value: str
    left_s: float
    age_s: float = 0.0
    quiet: bool = False


class Found(NamedTuple):
    """A value that an instance has shared: it is of `age_s` ago, and holds for `left_s` more."""

    kind: str
    key: str
    value: str
    instance: str
    age_s: float
    left_s: float
    version: int


def put(db: Statements, changes: Sequence[Change], instance: str) -> None:
    """In a transaction: share values, each unless a later one is there."""
    for one in sorted(changes):  # always in one order, so that none waits for another
        db.execute(_PUT, (one.kind, one.key, one.value, instance, one.age_s, one.left_s))


def claim(db: Statements, kind: str, key: str, instance: str, for_s: float) -> bool:
    """Claim something for a time; return whether it is the instance's: no other has claimed it and holds it still."""
    return db.execute(_CLAIM, (kind, key, instance, for_s)).fetchone() is not None


def changed(db: Statements, known: Versions) -> list[Found]:
    """Return the values that hold, without those whose versions are known."""
    kinds, keys = [kind for kind, _ in known], [key for _, key in known]
    return [Found(*row) for row in db.execute(_CHANGED, (kinds, keys, list(known.values())))]


def prune(db: Statements) -> None:
    """Delete what has held no longer for a while."""
    db.execute("DELETE FROM shared WHERE expires_at < clock_timestamp() - make_interval(secs => ?::float8)", (_KEPT_S,))


def notify(db: Statements, kinds: Sequence[str], instance: str) -> None:
    """Have the other instances hear which kinds of values have changed, once the transaction is over."""
    payload = json.dumps({"v": VERSION, "by": instance, "kinds": sorted(set(kinds))}, separators=(",", ":"))
    db.execute("SELECT pg_notify('arbstr_' || current_schema(), ?)", (payload,))
