-- What the rows say that each provider took, from when on its node's own total was first read: no more, and no less.
-- `msats` is changed in the transaction that writes a row, or changes its cost.
CREATE TABLE IF NOT EXISTS booked (
    provider TEXT PRIMARY KEY,
    msats INTEGER NOT NULL
);

-- What nodes said at last, of the key that `name` stands for: all that it has spent, and what it holds. `taken_msats` is
-- what was taken on the scale of `booked`, null where the two have yet to be compared; `booked_msats` was booked then.
CREATE TABLE IF NOT EXISTS accounts (
    name TEXT PRIMARY KEY,
    spent_msats INTEGER NOT NULL,
    funds_msats INTEGER NOT NULL,
    taken_msats INTEGER,
    booked_msats INTEGER NOT NULL
);

-- What providers may have taken for a request without saying so. `counted_msats` is what the row's cost has for it,
-- `booked_msats` what `booked` has.
CREATE TABLE IF NOT EXISTS doubts (
    request_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    expected_msats INTEGER NOT NULL,
    counted_msats INTEGER NOT NULL DEFAULT 0,
    booked_msats INTEGER NOT NULL DEFAULT 0,
    answered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id, provider)
);

-- What providers took that no request explains.
CREATE TABLE IF NOT EXISTS unexplained (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    provider_key TEXT NOT NULL,
    msats INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS unexplained_by_time ON unexplained (at_ms);
