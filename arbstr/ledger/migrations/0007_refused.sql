-- Requests that were refused have facets without a model: clients make up what names they like, and each would stay in the
-- sums for ever. `refused_key` is the model's name without regard to case in the rows of such facets.
ALTER TABLE requests ADD COLUMN refused_key TEXT;
CREATE INDEX requests_refused ON requests (refused_key, at_ms, facet, cost_sats) WHERE refused_key IS NOT NULL;
