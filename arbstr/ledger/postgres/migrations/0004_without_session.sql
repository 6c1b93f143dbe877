-- Rows without a session are found and counted as those of one are: by an index of their own.
CREATE INDEX requests_without_session ON requests (at_ms, id) INCLUDE (facet, cost_sats) WHERE session IS NULL;
