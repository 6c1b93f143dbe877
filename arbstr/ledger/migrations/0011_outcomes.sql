-- One more grain: outcome, which tells streams from others and success from failure. Rollups that are there already get
-- its sums from those of the grain row: day by day, from `outcomes_before` down.
INSERT INTO ledger_state (name, value) SELECT 'outcomes_before', 4611686018427387904 WHERE EXISTS (SELECT 1 FROM rollups);
