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
_DONE = "null"  # the value of what was claimed and is done
_CLAIM = (
    "INSERT INTO shared (kind, key, value, instance, changed_at, expires_at) "
    "VALUES (?, ?, ?, ?, clock_timestamp(), clock_timestamp() + make_interval(secs => ?::float8)) "
    "ON CONFLICT (kind, key) DO UPDATE SET instance = excluded.instance, changed_at = excluded.changed_at, "
    "expires_at = excluded.expires_at, version = nextval('changes'), "
    f"value = CASE shared.value WHEN '{_DONE}' THEN excluded.value ELSE shared.value END "
    "WHERE shared.instance = excluded.instance OR shared.expires_at <= clock_timestamp() RETURNING value"
)
_CLAIMED = (
    "SELECT value, EXTRACT(EPOCH FROM expires_at - clock_timestamp())::float8 FROM shared WHERE kind = ? AND key = ?"
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


class Claimed(NamedTuple):
    """Whose something is: the caller's, with the number that goes with it; else another's, for `left_s` more.

    `done`: that one has done it.
    """

    number: str | None
    left_s: float = 0.0
    done: bool = False


def claim(db: Statements, kind: str, key: str, instance: str, number: str, for_s: float) -> Claimed:
    """Claim something for a time, unless another instance has.

    It goes by this number, or by that of an instance whose time was over before it was done.
    """
    own = db.execute(_CLAIM, (kind, key, number, instance, for_s)).fetchone()
    if own is not None:
        return Claimed(str(own[0]))
    value, left_s = db.execute(_CLAIMED, (kind, key)).fetchone() or ("", 0.0)
    return Claimed(None, left_s, done=value == _DONE)


def finish(db: Statements, kind: str, key: str, instance: str, for_s: float) -> None:
    """Note that something that was claimed is done; others hear so for a time."""
    db.execute(_PUT, (kind, key, _DONE, instance, 0.0, for_s))


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
