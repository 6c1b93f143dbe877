"""What of a request can be copied: its id at once, then its row, its JSON, and commands about it."""

from __future__ import annotations

from textual.screen import Screen

from arbstr.ledger.export import csv_line, csv_row, dumps
from arbstr.ledger.model import Entry
from arbstr.ledger.serialize import entry_json
from tui.format import shown
from tui.model.commands import ask_for, repeat
from tui.model.dashboard import DashboardModel
from tui.screens.choice import ChoiceScreen

_WORDS = {
    "i": "its id",
    "r": "its row, as CSV",
    "j": "its JSON",
    "c": "curl: the command that asks for its row",
    "n": "curl: a new request like it, of another prompt",
}
_LONGEST = 10_000


def offer_copies(screen: Screen[None], dashboard: DashboardModel, request_id: str, entry: Entry | None) -> None:
    """Copy a request's id, and ask what else to; `entry` is None where the ledger does not have it yet."""
    address = dashboard.view().address
    texts = _texts(address, shown(request_id), entry)
    screen.app.copy_to_clipboard(texts["i"])

    def copy(key: str | None) -> None:
        if key is not None:
            screen.app.copy_to_clipboard(texts[key])
            screen.notify(f"Copied {_WORDS[key]}", markup=False)

    screen.app.push_screen(ChoiceScreen("Its id is copied. Or copy", [(key, _WORDS[key]) for key in texts]), copy)


def _texts(address: str, request_id: str, entry: Entry | None) -> dict[str, str]:
    """Return what can be copied, by key."""
    texts: dict[str, str | None] = {"i": request_id, "c": ask_for(address, request_id)}
    if entry is not None:
        texts |= {
            "r": shown(csv_line(csv_row(entry)), _LONGEST),
            "j": shown(dumps(entry_json(entry)), _LONGEST),
            "n": repeat(address, entry),
        }
    return {key: text for key in _WORDS if (text := texts.get(key)) is not None}
