-- What a request cost by the rates stands beside what it cost (`cost_sats`). `implausible` says which of the provider's
-- claims can't be true: "charge", "tokens" or both. `doubtful_msats` may have been spent besides, by attempts whose end was
-- not seen: only budgets count it. Every row of an earlier arbstr was a chat completion.
ALTER TABLE requests ADD COLUMN list_cost_sats REAL;
ALTER TABLE requests ADD COLUMN cached_tokens INTEGER;
ALTER TABLE requests ADD COLUMN cache_write_tokens INTEGER;
ALTER TABLE requests ADD COLUMN served_model TEXT;
ALTER TABLE requests ADD COLUMN dialect TEXT DEFAULT 'chat';
ALTER TABLE requests ADD COLUMN session TEXT;
ALTER TABLE requests ADD COLUMN client TEXT;
ALTER TABLE requests ADD COLUMN implausible TEXT;
ALTER TABLE requests ADD COLUMN doubtful_msats INTEGER;
-- The index by session is made once all rows have their facets.

-- Two more grains: client and dialect; facets of the grain row have both. Names grow by them at their end.
ALTER TABLE facets ADD COLUMN client TEXT;
ALTER TABLE facets ADD COLUMN dialect TEXT;
ALTER TABLE facets ADD COLUMN client_key TEXT;
ALTER TABLE facets ADD COLUMN dialect_key TEXT;
UPDATE facets SET name = SUBSTR(name, 1, LENGTH(name) - 1) || ',null,null]' WHERE grain <> 'row';
UPDATE facets SET name = SUBSTR(name, 1, LENGTH(name) - 1) || ',null,"chat"]', dialect = 'chat', dialect_key = 'chat'
WHERE grain = 'row';

-- So far one client and one dialect have everything, as the facet of all rows has.
INSERT INTO facets (name, grain, dialect, dialect_key)
SELECT name, grain, dialect, dialect FROM (
    SELECT '["client",null,null,null,null,null,null,null]' AS name, 'client' AS grain, NULL AS dialect
    UNION ALL SELECT '["dialect",null,null,null,null,null,null,"chat"]', 'dialect', 'chat'
) AS added WHERE EXISTS (SELECT 1 FROM rollups);
INSERT INTO rollups (span_ms, facet, start_ms, total, success, streaming, priced, cost_msats, input_tokens,
    output_tokens, latency_ms, saved_vs_dearest_msats, saved_vs_median_msats, latencies)
SELECT r.span_ms, f.id, r.start_ms, r.total, r.success, r.streaming, r.priced, r.cost_msats, r.input_tokens,
    r.output_tokens, r.latency_ms, r.saved_vs_dearest_msats, r.saved_vs_median_msats, r.latencies
FROM rollups r CROSS JOIN facets f WHERE r.facet = 0 AND f.grain IN ('client', 'dialect');
