"""The key that hashes a ledger's sessions; the migration that added them has drawn it."""

from __future__ import annotations

from arbstr.ledger.sql import Statements

_PARTS = "SELECT value FROM ledger_state WHERE name IN ('session_key_1', 'session_key_2') ORDER BY name"


def read_session_key(db: Statements) -> bytes:
    """Return the key: 16 bytes that only this ledger has."""
    return b"".join(int(part).to_bytes(8, "big", signed=True) for (part,) in db.execute(_PARTS))
