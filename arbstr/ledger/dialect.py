"""What SQLite and PostgreSQL say differently. All other SQL of the ledger is the same for both, with `?` for values."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.types import value_object


@value_object
class SqlDialect:
    """SQL of one database.

    `aside` precedes a column that must not choose the index; `gathered` one by which rows are sorted that another index
    gathers. `joined` joins in the order that is written, if the
    database can be made to. `by_request_id` keeps a search for request ids to their index. `closed` says that a row of
    `requests` is closed; `succeeded` and `failed`, how it ended.

    `facets_first` says that its planner has to see the numbers of the facets that are meant; `facets_with_costs`, that
    an index has the rows of each facet by cost; `by_months`, that rows of months that are not meant are not looked at.

    `msats` and what follows are expressions over a row: its cost, what budgets count of it, its latency,
    its model in its facet, and the sums of `aggregates.SUMS` in their order. `rows_where` makes a table of the
    rows for which a condition holds, each with its instant; `texts` joins an expression's values of a group with spaces
    between, `hex_texts` those of a blob.
    """

    aside: str
    gathered: str
    joined: str
    by_request_id: str
    closed: str
    succeeded: str
    failed: str
    msats: str
    counted_msats: str
    latency_ms: str
    facet_model: str
    facets_first: bool
    facets_with_costs: bool
    by_months: bool
    row_sums: str
    rows_where: Callable[[str], str]
    texts: Callable[[str], str]
    hex_texts: Callable[[str], str]
