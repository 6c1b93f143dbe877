"""The ledger: one database, one writer in each process, read-only readers. By default it is SQLite's.

Words used here: a *row* is one request. An *open* row belongs to a stream that has not ended. A *facet* is one
combination of model, provider, policy, streaming and success, or one model (provider, policy) alone, or everything. A
*rollup* is an `AggregateSum` (sums and a latency histogram) of a facet's rows in one UTC hour or day. *Pending* rows
are closed but in no rollup yet: those of an earlier arbstr, those that another program inserted, those of a crash.
"""
