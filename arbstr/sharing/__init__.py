"""What instances of arbstr on one ledger in PostgreSQL share besides its rows; nothing of it is loaded elsewhere.

Each of them writes what it finds into one table, of values that hold for a time, and notifies the others, who read what
has changed: `exchange` does that over a connection of its own, again and again. A notification may be lost, be another
version's, or anyone's who can reach the database: it only hurries what comes every few seconds anyway. The same holds
for the values: each part takes only those that it understands, and none lets another instance decide for good.

A *part* shares values of one *kind*: breakers, cool-downs, prices, balances, and that the instance lives. What was
learned is no value of one instance's: `learning` adds to what all know.

Of the alerts that all raise `alerts` has one instance post each. Budgets are shared by `leases`: each instance holds
slices of them, which the ledger's writer renews.
"""
