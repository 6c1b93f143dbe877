"""Money: where it went, and what was saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from arbstr.ledger.model import GroupBy
from arbstr.types import NO_GROUP
from tui.keymap import key
from tui.model.completion import Names
from tui.model.dashboard import DashboardModel
from tui.model.filter_language import name_matches
from tui.model.ledger_stats import Groups
from tui.screens.base import DashboardScreen
from tui.widgets.money import Budgets, GroupTable, Ratios, Summary

BY: tuple[GroupBy, ...] = ("model", "provider", "policy", "client", "day")
_TABLES = "Another table, on a narrow terminal"
PAGES = (*BY, "plans")


class MoneyScreen(DashboardScreen):
    """Spending in tables, two and two or one at a time if narrow; budgets and learned lengths below.

    That of clients is there once a client with a key of its own has asked for something.
    """

    GROUPS: ClassVar[tuple[GroupBy, ...]] = BY
    FILTER_EXAMPLE = "a part of a name in these tables"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("next_table", "table(1)", "The next table, on a narrow terminal", "more", _TABLES),
        key("previous_table", "table(-1)", "The table before", group=_TABLES),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "money")
        self._summary = Summary(id="summary")
        self._tables = {by: GroupTable(by, id=f"by-{by}") for by in BY}
        self._budgets = Budgets(id="budgets")
        self._ratios = Ratios(id="ratios")
        model, provider, policy, client, day = (self._tables[by] for by in BY)
        self._rows = (
            Horizontal(model, provider, classes="tables"),
            Horizontal(policy, client, day, classes="tables"),
        )
        self._plans = Horizontal(self._budgets, self._ratios, id="plans")
        self._page: str = "model"
        self._one_by_one = False

    def pieces(self) -> Sequence[Widget]:
        """Return the sums above, budgets and learned lengths below."""
        return (self._summary, *self._rows, self._plans)

    def size_pieces(self, width: int, height: int) -> None:
        """Arrange the tables two by two if there is room."""
        self._one_by_one = width < 100 or height < 28
        view = self.dashboard.view()
        rows = min(max(len(view.budgets), len(view.ratios), 1) + 3, height // 4)
        self._plans.styles.height = "1fr" if self._one_by_one else rows
        self._plans.set_class(self._one_by_one, "stacked")
        self._choose()

    def _choose(self) -> None:
        """Show one page, or all tables."""
        for by, table in self._tables.items():
            table.display = by == self._page if self._one_by_one else by != "client" or self._has_clients()
        shown = [table.display for table in self._tables.values()]
        self._rows[0].display, self._rows[1].display = any(shown[:2]), any(shown[2:])
        self._plans.display = not self._one_by_one or self._page == "plans"

    def paint_body(self) -> Iterator[None]:
        """Paint piece by piece."""
        dashboard, view = self.dashboard, self.dashboard.view()
        figures = dashboard.figures
        self._choose()
        self._summary.show(figures, dashboard.range.name, dashboard.zone)
        yield
        for by, table in self._tables.items():
            if table.display:
                table.show(self._named(by), "last 7 days, UTC" if by == "day" else f"last {dashboard.range.name}")
                yield
        self._budgets.show(view)
        self._ratios.show(view.ratios)
        yield

    def _has_clients(self) -> bool:
        groups = self.dashboard.figures.groups.get("client") or {}
        return any(name != NO_GROUP for name in groups)

    def _pages(self) -> Sequence[str]:
        return PAGES if self._has_clients() else [page for page in PAGES if page != "client"]

    def _named(self, by: GroupBy) -> Groups | None:
        """Return the groups whose names contain the filter's words; days have no names."""
        groups = self.dashboard.figures.groups.get(by)
        if groups is None or by == "day":
            return groups
        return {name: group for name, group in groups.items() if name_matches(self.typed, name)}

    def names(self) -> Names:
        """Return all names in the tables."""
        groups = self.dashboard.figures.groups
        return {"": [name for by in BY if by != "day" for name in groups.get(by) or ()]}

    def words(self) -> Mapping[str, str]:
        """Hide the key for the next page where all are in sight."""
        return {} if self._one_by_one else {"next_table": ""}

    def action_table(self, by: int) -> None:
        """Show the next page, or the one before."""
        pages = self._pages()
        place = pages.index(self._page) if self._page in pages else 0
        self._page = pages[(place + by) % len(pages)]
        self._choose()
        self.call_after_refresh(self.repaint)
