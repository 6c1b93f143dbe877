"""What of a request can be copied: its id, its row, its JSON, the command that asks for it."""

from __future__ import annotations

import shlex

from textual.screen import Screen

from arbstr.ledger.export import csv_line, csv_row, dumps
from arbstr.ledger.model import Entry
from arbstr.ledger.serialize import entry_json
from tui.format import shown
from tui.model.dashboard import DashboardModel
from tui.screens.choice import ChoiceScreen

_WORDS = {"i": "the request's id", "r": "its row, as CSV", "j": "its JSON", "c": "the command that asks for it"}


def copy_id(screen: Screen[None], request_id: str) -> None:
    """Copy a request's id, and confirm it."""
    screen.app.copy_to_clipboard(shown(request_id))
    screen.notify("Copied the request's id; Y copies more of it", markup=False)


def offer_copies(screen: Screen[None], dashboard: DashboardModel, request_id: str, entry: Entry | None) -> None:
    """Ask what to copy; without an `entry`, which the ledger may not have yet, only what the id alone is good for."""

    def copy(key: str | None) -> None:
        if key is not None:
            screen.app.copy_to_clipboard(_text(key, dashboard, shown(request_id), entry))
            screen.notify(f"Copied {_WORDS[key]}", markup=False)

    answers = [(key, words) for key, words in _WORDS.items() if entry is not None or key in "ic"]
    screen.app.push_screen(ChoiceScreen("Copy", answers), copy)


def _text(key: str, dashboard: DashboardModel, request_id: str, entry: Entry | None) -> str:
    if key == "c":
        return f"curl {dashboard.view().address}/v1/requests/{shlex.quote(request_id)}"
    if entry is None or key == "i":
        return request_id
    return shown(csv_line(csv_row(entry)), 10_000) if key == "r" else shown(dumps(entry_json(entry)), 10_000)
