-- `open` is the number of the session whose stream has not ended, 0 once the row is closed. `at_ms` is the timestamp in
-- epoch milliseconds. A closed row without a facet is in no rollup yet.
ALTER TABLE requests ADD COLUMN at_ms INTEGER;
ALTER TABLE requests ADD COLUMN facet INTEGER;
ALTER TABLE requests ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN dearest_msats INTEGER;
ALTER TABLE requests ADD COLUMN median_msats INTEGER;
ALTER TABLE requests ADD COLUMN attempts TEXT;
ALTER TABLE requests ADD COLUMN routing TEXT;

CREATE INDEX requests_by_correlation ON requests (correlation_id);
-- Two more indexes, by cost and by latency, are made once all rows have their facets.

-- `grain` says which columns distinguish a facet: row (all five), model, provider, policy, or all (none). The keys are
-- the names without regard to case; `name` is the whole combination as JSON.
CREATE TABLE facets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    grain TEXT NOT NULL,
    model TEXT,
    provider TEXT,
    policy TEXT,
    streaming INTEGER,
    success INTEGER,
    model_key TEXT,
    provider_key TEXT,
    policy_key TEXT
);
CREATE INDEX facets_by_model ON facets (grain, model_key);
CREATE INDEX facets_by_provider ON facets (grain, provider_key);
CREATE INDEX facets_by_policy ON facets (grain, policy_key);

-- `span_ms` is an hour or a day, `start_ms` when it begins, UTC. `priced` counts the rows whose cost is known.
CREATE TABLE rollups (
    span_ms INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    total INTEGER NOT NULL,
    success INTEGER NOT NULL,
    streaming INTEGER NOT NULL,
    priced INTEGER NOT NULL,
    cost_msats INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    latency_ms INTEGER NOT NULL,
    saved_vs_dearest_msats INTEGER NOT NULL,
    saved_vs_median_msats INTEGER NOT NULL,
    latencies BLOB NOT NULL,
    PRIMARY KEY (span_ms, facet, start_ms)
);

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at TEXT NOT NULL
);

-- `pruned_before_ms`: rows before that day are gone, their rollups stay.
CREATE TABLE ledger_state (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);

CREATE TABLE learned (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, key)
);
