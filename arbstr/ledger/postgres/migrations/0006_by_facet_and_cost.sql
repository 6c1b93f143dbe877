-- For pages deep in a filtered list by cost: of each facet that is meant, the rows beyond a bound of cost.
CREATE INDEX requests_by_facet_and_cost ON requests (facet, cost_sats, id) INCLUDE (at_ms);
