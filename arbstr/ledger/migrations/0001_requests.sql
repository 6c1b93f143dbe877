-- The two tables every arbstr has had; in a ledger from an earlier one they are there already.
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    correlation_id TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT,
    policy TEXT,
    streaming BOOLEAN NOT NULL DEFAULT FALSE,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cost_sats REAL,
    provider_cost_sats REAL,
    latency_ms INTEGER NOT NULL,
    stream_duration_ms INTEGER,
    success BOOLEAN NOT NULL,
    error_status INTEGER,
    error_message TEXT
);

CREATE TABLE IF NOT EXISTS token_ratios (
    policy TEXT PRIMARY KEY,
    avg_ratio REAL NOT NULL,
    sample_count INTEGER NOT NULL DEFAULT 0
);
