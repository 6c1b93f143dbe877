-- needs 5
-- Earlier versions would write rows that are missing in these sums.
-- What the rows of each client's session cost in all, and between which instants they lie: enough to find the dearest
-- sessions of any window. `last_day` changes so seldom that most updates touch no index.
CREATE TABLE session_costs (
    session text COLLATE "C" PRIMARY KEY,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    last_day bigint GENERATED ALWAYS AS (last_ms - last_ms % 86400000) STORED,
    cost_msats bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX session_costs_by_day ON session_costs (last_day, first_ms);

-- Facets have one more grain, outcome, which tells streams from others and success from failure; rollups of facet -1 sum
-- the rows without a session. A ledger that has rows gets all three in the background: by days from the last one down,
-- and by how sessions begin.
INSERT INTO ledger_state (name, value)
VALUES ('outcomes_before', 4611686018427387904), ('sessionless_before', 4611686018427387904), ('sessions_from', 0);

-- All that is summed of a session's rows is in their index. It is made before the other goes, so that readers go on.
CREATE INDEX requests_of_session ON requests (session, at_ms) INCLUDE (facet, cost_sats, list_cost_sats, dearest_msats,
    median_msats, input_tokens, output_tokens, latency_ms, success, streaming, cached_tokens, cache_saved_msats,
    switching_msats) WHERE session IS NOT NULL;
DROP INDEX requests_by_session;
ALTER INDEX requests_of_session RENAME TO requests_by_session;
