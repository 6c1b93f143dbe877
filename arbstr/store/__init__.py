"""The ledger: one SQLite database, one writer, read-only readers."""
