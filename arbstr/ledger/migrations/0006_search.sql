-- Indexes by what rows alone can tell are made once all rows have their facets, that by latency with one more column.
DROP INDEX IF EXISTS requests_by_latency;

-- Whether there are ids of requests that are no UUIDs: only then texts of other characters are looked for among them.
INSERT OR REPLACE INTO ledger_state (name, value)
SELECT 'other_ids', 1 WHERE EXISTS (SELECT 1 FROM requests WHERE correlation_id GLOB '*[^0-9A-Fa-f-]*');
