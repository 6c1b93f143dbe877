"""A screen whose rows can be written to a file: it asks where to, says how far it is, and can be stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from textual import work

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Filter, Order, Sort
from tui.format import percent, shown
from tui.model.dashboard import DashboardModel
from tui.model.export import Format, export, file_name
from tui.render.layout import EMPTY, Line
from tui.screens.base import DashboardScreen
from tui.screens.choice import ChoiceScreen
from tui.screens.path import PathScreen


@dataclass(frozen=True, slots=True)
class Exported:
    """The rows to write, and how many they are, if that is known."""

    where: Filter
    sort: Sort
    order: Order
    total: int | None
    filtered: bool


class ExportingScreen(DashboardScreen):
    """Writes the rows that subclasses return in `exported`."""

    def __init__(self, dashboard: DashboardModel, name: str) -> None:
        super().__init__(dashboard, name)
        self._progress: int | None = None  # thousandths that the running export has written

    def exported(self) -> Exported:
        """Return the rows to write."""
        raise NotImplementedError

    def export_note(self) -> Line:
        """Return how far the export is; empty if none is running."""
        if self._progress is None:
            return EMPTY
        return ((f"exporting, {percent(self._progress / 1000, 0)}, e stops ", "warn"),)

    def action_export(self) -> None:
        """Ask for the form, then write what is filtered to a file; stop a running export."""
        if self._progress is not None:
            self.workers.cancel_group(self, "export")
            return
        total = self.exported().total
        rows = f"{total:,} requests" if total is not None else "requests"
        choices = [("c", "CSV"), ("j", "JSON"), ("p", "a file of another name or place …")]
        self.app.push_screen(ChoiceScreen(f"Export {rows} as", choices), self._export_chosen)

    def _export_chosen(self, key: str | None) -> None:
        if key is None:
            return
        kind: Format = "json" if key == "j" else "csv"
        path = Path.cwd() / file_name(kind, self.dashboard.now_ms(), filtered=self.exported().filtered)
        if key == "p":
            self.app.push_screen(PathScreen("Export to (.json writes JSON)", path), self._export_to)
        else:
            self._export(path)

    def _export_to(self, path: Path | None) -> None:
        if path is not None:
            self._export(path)

    @work(group="export")
    async def _export(self, path: Path) -> None:
        rows = self.exported()

        def written(count: int) -> None:
            self._show_progress(min(count * 1000 // max(rows.total or 1, 1), 1000))

        try:
            written(0)
            count = await export(self.dashboard.source.ledger, rows.where, rows.sort, rows.order, path, written)
        except (LedgerUnavailable, OSError) as problem:
            self.notify(f"The export failed: {shown(str(problem))}", severity="error", markup=False)
        except asyncio.CancelledError:
            self.notify("The export was stopped, and its file removed", markup=False)
            raise
        else:
            self.notify(f"{count:,} requests in {shown(str(path))}", title="Exported", timeout=10, markup=False)
        finally:
            self._show_progress(None)

    def _show_progress(self, thousandths: int | None) -> None:
        """Show how far the export is, where that has changed: it says so every few rows."""
        if thousandths != self._progress:
            self._progress = thousandths
            self.repaint()
