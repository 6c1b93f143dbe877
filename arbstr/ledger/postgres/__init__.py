"""The ledger in PostgreSQL, shared by any number of instances: the port that the SQLite ledger fills, once more.

Rows that have ended are in `requests`, a partition for each month; those of streams that have not, in `open_requests`.
A batch goes by COPY into a temporary table and from there to where it belongs: a row that is there already is left as
it is, and only those that are new are summed, booked and counted, all in one transaction. Sums are changed under one
advisory lock, so that instances add to them one after the other. An instance is a row of `sessions`, with an advisory
lock that dies with its connection.
"""
