"""The keys: for the help, and as commands of the palette."""

from __future__ import annotations

from dataclasses import dataclass

EVERYWHERE = "Everywhere"
LISTS = "Lists"
ALL_SCREENS = ("live", "requests", "providers", "money", "log")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as shown, what it does, and its action if the palette offers it.

    `screens` are those on which it works.
    """

    shown: str
    does: str
    where: str
    action: str = ""
    screens: tuple[str, ...] = ALL_SCREENS


KEYS = (
    Key("1", "Live: what is being spent now", EVERYWHERE, "app.go('live')"),
    Key("2", "Requests: the whole ledger", EVERYWHERE, "app.go('requests')"),
    Key("3", "Providers: price board, balances, health", EVERYWHERE, "app.go('providers')"),
    Key("4", "Money: spend, savings, budgets", EVERYWHERE, "app.go('money')"),
    Key("5", "Log: arbstr's own log lines", EVERYWHERE, "app.go('log')"),
    Key("Tab Shift-Tab", "Next screen, the one before", EVERYWHERE),
    Key("/", "Filter; by name on Providers and Money", EVERYWHERE, "screen.filter"),
    Key("f", "Freeze what is shown, or go on", EVERYWHERE, "app.freeze"),
    Key("t", "Time range: 5 min, 1 h, 24 h, 7 d", EVERYWHERE, "app.range"),
    Key("u", "Times in UTC, or local again", EVERYWHERE, "app.utc"),
    Key("?", "Help", EVERYWHERE, "app.help"),
    Key("Ctrl-P", "Palette: every command by name, themes too", EVERYWHERE),
    Key("Esc", "Back: out of a filter, a selection, a window", EVERYWHERE),
    Key("Ctrl-C", "Copy what is selected; twice quits", EVERYWHERE),
    Key("q Ctrl-Q", "Quit, and stop the proxy; q asks while requests run", EVERYWHERE, "app.quit"),
    Key("j k ↓ ↑", "Next row, the one before", LISTS),
    Key("PgDn PgUp", "A page down, up", LISTS),
    Key("g G Home End", "First row, last row", LISTS),
    Key("Enter", "Open the selected request in full", "Live, Requests", "screen.open", ("live", "requests")),
    Key("Enter", "The selected provider's requests", "Providers", "screen.open", ("providers",)),
    Key("y", "Copy the selected request's id", "Live, Requests", "screen.copy", ("live", "requests")),
    Key("Y", "Copy its row, its JSON, the command for it", "Live, Requests", "screen.copy_more", ("live", "requests")),
    Key("n p → ←", "The next request in full, the one before", "A request in full"),
    Key("s", "Sort by time, cost, latency, either way round", "Requests", "screen.sort", ("requests",)),
    Key("e", "Export what is filtered as CSV or JSON", "Requests", "screen.export", ("requests",)),
    Key("space", "Take the provider out of rotation, or back in", "Providers", "screen.rotate", ("providers",)),
    Key("r", "Close the provider's breaker", "Providers", "screen.close_breaker", ("providers",)),
    Key("h l ← →", "Another table, on a narrow terminal", "Money", "screen.table(1)", ("money",)),
    Key("l", "Least level that is shown", "Log", "screen.level", ("log",)),
    Key("d i a e", "Lines from debug, info, warnings, errors on", "Log"),
    Key("Enter", "The request that the lowest line is about", "Log", "screen.open", ("log",)),
    Key("w", "Wrap long lines, or cut them", "Log", "screen.wrap", ("log",)),
)

FILTERS = (
    ("model:gpt", "models whose name contains it; -model:gpt all others"),
    ("provider:alpha", "the provider that was asked last; named twice, either"),
    ("policy:code", "the rule that held; policy:- where none did"),
    ("status:error", "failed ones; also ok, left, 502, 5xx"),
    ("client:ci", "who asked; dialect:messages, in which dialect"),
    ("kind:stream", "streams; kind:json the others"),
    ("since:2025-03-14", "from that day on, UTC; until:2025-03-14T13, up to that hour"),
    (">5sats <2s", "cost, and time to the last byte; also >= <= ms min"),
    ("timeout", "any other word, in names, ids and errors; -timeout without"),
    ('"charges more"', "words as they stand"),
    ("Tab ↑ ↓", "in the line: complete, earlier filters, later ones"),
)


def found(typed: str) -> list[Key]:
    """Return the keys whose line contains every word."""
    words = typed.lower().split()
    return [key for key in KEYS if all(word in f"{key.shown} {key.does} {key.where}".lower() for word in words)]
