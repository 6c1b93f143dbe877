-- Rows that have no facet yet are in an index of their own: adopting them then only adds to the others.
DROP INDEX IF EXISTS requests_by_time;
DROP INDEX IF EXISTS requests_by_facet;
CREATE INDEX requests_by_time ON requests (at_ms) WHERE at_ms IS NOT NULL;
CREATE INDEX requests_by_facet ON requests (facet, at_ms) WHERE facet IS NOT NULL;
CREATE INDEX requests_without_facet ON requests (id) WHERE facet IS NULL;

-- Rows of an earlier arbstr that are being adopted, in chunks of neighbouring ids: the instants between which they lie,
-- and whether they are in the rollups. A row that has its facet is in no chunk.
CREATE TABLE backlog (
    first_id INTEGER PRIMARY KEY,
    last_id INTEGER NOT NULL,
    total INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    summed INTEGER NOT NULL DEFAULT 0
);
