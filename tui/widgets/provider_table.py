"""The Providers screen's pieces: the table, and one provider in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from arbstr.ledger.model import Aggregate
from arbstr.types import Balance
from tui.format import NOTHING, age, clock, count, duration, percent, rates_alike, sats_alike, sats_round, shown, stamp
from tui.model.groups import Groups
from tui.model.provider_view import HealthChange, ProviderView
from tui.model.request_row import OVERCHARGE
from tui.render.layout import (
    EMPTY,
    Column,
    Line,
    Role,
    Span,
    cells,
    counted,
    framed,
    header,
    lay_out,
    merged,
    under_cursor,
)
from tui.widgets.panel import Panel
from tui.widgets.provider_health import health, lately, rate_role, row_cells, runway_of
from tui.widgets.scroll_panel import thumb

COLUMNS = (
    Column("", 1, exact=True),
    Column("provider", 10, share=3, most=28),
    Column("state", 9, exact=True),
    Column("health", 6, "right", rank=1),
    Column("first byte", 10, "right", rank=3),
    Column("lately", 8, rank=8),
    Column("tok/s", 5, "right", rank=6),
    Column("running", 7, "right", rank=7),
    Column("charged", 7, "right", rank=4),
    Column("balance", 7, "right", rank=2),
    Column("lasts", 8, rank=2, exact=True),
    Column("prices", 6, rank=5, exact=True),
    Column("requests", 8, "right", rank=9),
    Column("sats", 8, "right", rank=9),
    Column("lost", 4, "right", rank=10),
)
SAMPLE_IN, SAMPLE_OUT = 1000, 256
_NO_BALANCE: dict[str, Span] = {
    "unknown": ("unknown", "warn"),
    "expired": ("key expired", "bad"),
    "bad_key": ("key unknown", "bad"),
}


def _columns(providers: Sequence[ProviderView]) -> tuple[Column, ...]:
    """Return the columns without those that would be empty: balances and lists that no provider has."""
    empty = set()
    if all(each.status.balance is None for each in providers):
        empty |= {"balance", "lasts"}
    if all(each.status.list_age_s is None for each in providers):
        empty.add("prices")
    return tuple(column for column in COLUMNS if column.title not in empty)


def balances(providers: Sequence[ProviderView]) -> list[Span]:
    """Return what can be spent at each provider, or why that is not known."""
    known = [each.status.balance for each in providers]
    free = [each.free_msats if each is not None and each.state == "known" else None for each in known]
    return [
        (text, "text" if msats > 0 else "bad") if msats is not None else _no_balance(each)
        for text, msats, each in zip(sats_alike(free), free, known, strict=True)
    ]


def _no_balance(known: Balance | None) -> Span:
    return (NOTHING, "muted") if known is None else _NO_BALANCE.get(known.state, ("unknown", "warn"))


def _lasts(view: ProviderView) -> Span:
    said, role = runway_of(view)
    return said.removeprefix("lasts "), role


def price_age(view: ProviderView) -> Span:
    """Return how old a provider's price list is; without one its prices are those of the file."""
    age_s = view.status.list_age_s
    if age_s is None:
        return (NOTHING if _is_unpriced(view) else "file"), "muted"
    old = age(age_s * 1000)
    return (f"stale {old}", "warn") if view.status.list_stale else (old, "text")


def charged(ratio: float | None) -> Span:
    """Return the learned ratio of charges to list costs."""
    if ratio is None:
        return (NOTHING, "muted")
    off = ratio - 1
    if abs(off) < 0.0005:
        return ("its price", "text")
    return (f"{off * 100:+.1f} %", "warn" if off > OVERCHARGE else "text")


class ProviderTable(Panel):
    """All providers, one of them selected."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._providers: Sequence[ProviderView] = ()
        self._selected = 0
        self._groups: Groups | None = None
        self._now_ms = 0
        self._range = ""
        self._top = 0
        self._hint = ""
        self._lost: Mapping[str, int] = {}

    def show(
        self,
        providers: Sequence[ProviderView],
        selected: int,
        groups: Groups | None,
        now_ms: int,
        range_name: str,
        *,
        hint: str,
        lost: Mapping[str, int],
    ) -> None:
        """Show other states; `hint` in their place where there are none. `lost` is what failed requests cost."""
        self._hint, self._lost = hint, lost
        self._providers, self._selected, self._groups = providers, selected, groups
        self._now_ms, self._range = now_ms, range_name
        page = max(self.size.height - 3, 1)
        self._top = min(max(self._top, selected - page + 1), selected)
        self.redraw()

    def row_at(self, line: int) -> int | None:
        """Return the index of the provider on a line of the panel."""
        index = line - 2 + self._top
        return index if line >= 2 and index < len(self._providers) else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each."""
        table = self._table(self._providers[self._top : self._top + height - 3])
        layout = lay_out(_columns(self._providers), width - 4, table)
        lines: list[Line] = [header(layout)]
        for index, row in enumerate(table, self._top):
            line = cells(layout, row)
            lines.append(under_cursor(line) if index == self._selected else line)
        if not self._providers:
            lines = [((self._hint, "muted"),)]
        summed = any(column.title == "sats" for column, _ in layout)
        spans: Line = ((f"requests, sats, lost to failures: last {self._range}", "muted"),) if summed else EMPTY
        page, total = height - 3, len(self._providers)
        title, note = counted((("Providers", "title"),), spans, total - page, width)
        track = thumb(self._top, page, total)
        bar = None if track is None else (track[0] + 1, track[1] + 1)
        return framed(lines, width, height, title=title, note=note, thumb=bar)

    def _table(self, providers: Sequence[ProviderView]) -> list[dict[str, Span]]:
        groups = [None if self._groups is None else self._groups.get(each.status.name) for each in providers]
        spent = sats_alike([None if group is None else group.cost_msats for group in groups])
        lost = sats_alike([self._lost.get(each.status.name) or None for each in providers])
        rows = zip(providers, groups, spent, lost, balances(providers), strict=True)
        return [
            {**self._row(view, group), "sats": (cost, "text"), "lost": _lost(loss), "balance": left}
            for view, group, cost, loss, left in rows
        ]

    def _row(self, view: ProviderView, group: Aggregate | None) -> dict[str, Span]:
        status = view.status
        row = row_cells(view, self._now_ms)
        return {
            "": row[""],
            "provider": row["name"],
            "state": row["state"],
            "health": row["health"],
            "first byte": row["first"],
            "running": (count(status.in_flight), "text" if status.in_flight else "muted"),
            "lately": row["lately"],
            "tok/s": _tokens_per_second(view),
            "charged": charged(status.charged_ratio),
            "lasts": _lasts(view),
            "prices": price_age(view),
            "requests": (NOTHING if group is None else count(group.total), "text"),
        }


def _lost(amount: str) -> Span:
    return (amount, "muted" if amount == NOTHING else "warn")


def _tokens_per_second(view: ProviderView) -> Span:
    speed = view.speeds.tokens_per_second
    return (NOTHING, "muted") if speed is None else (f"{speed:,.0f}", "text")


_RATES = (
    Column("model", 16, share=1, most=36),
    Column("in/1k", 6, "right"),
    Column("out/1k", 6, "right"),
    Column("fee", 3, "right", rank=2),
    Column("1,000 in + 256 out", 18, "right", rank=1),
)


def identity_lines(view: ProviderView) -> list[Line]:
    """Return its address, key, balance, charges and the age of its prices."""
    status = view.status
    lines = [
        _field("URL", status.url),
        _field("Key", *_key_words(view)),
        *_balance_lines(view),
        _field("Prices", *_price_words(view)),
    ]
    if not status.inert:
        lines.append(_field("Charged", *_charged_words(view)))
    lines += [
        _field("Overcharge", f"{shown(each.model)}: {each.ratio:.2f} times the rates", "warn")
        for each in view.overcharges[:3]
    ]
    if status.last_error:
        lines.append(_field("Last error", status.last_error, "bad" if status.state == "open" else "text"))
    return lines


def _key_words(view: ProviderView) -> tuple[str, Role]:
    status = view.status
    if status.inert:
        return f"none: arbstr fund {status.name} gets one", "warn"
    return ("none" if status.masked_key is None else f"{status.masked_key}  ({status.key_source})"), "text"


def _balance_lines(view: ProviderView) -> list[Line]:
    known = view.status.balance
    if known is None:
        return []
    ((text, role),) = balances([view])
    held = f", {sats_round(known.reserved_msats)} reserved" if known.reserved_msats else ""
    unit = " sats" if known.state == "known" else ""
    runway, warns = runway_of(view)
    lasts: Line = ((f", {runway} at this rate", warns),) if runway != NOTHING else EMPTY
    return [(*_field("Balance", f"{text}{unit}{held}", role), *lasts)]


def _price_words(view: ProviderView) -> tuple[str, Role]:
    status = view.status
    if status.list_age_s is None:
        return ("those of its list, which has not been read" if _is_unpriced(view) else "as configured"), "muted"
    read = f"list of {len(status.models):,} models, read {age(status.list_age_s * 1000)} ago"
    return (f"{read}: doubted", "warn") if status.list_stale else (read, "text")


def _is_unpriced(view: ProviderView) -> bool:
    """Return whether it is a Routstr node whose list has not been read: rates of nothing are not what it asks."""
    status = view.status
    return (status.inert or status.balance is not None) and status.list_age_s is None and not status.models


def rate_lines(view: ProviderView, width: int) -> list[Line]:
    """Return its rates by model, with a header; nothing where they are not known."""
    if _is_unpriced(view):
        return []
    status = view.status
    models = status.models or ("every model",)
    rates = [status.rates_for(model) for model in models]
    columns = [rates_alike(column) for column in zip(*rates, strict=True)]
    samples = sats_alike([_sample(*each) for each in rates])
    table = [_prices(*row) for row in zip(models, *columns, samples, strict=True)]
    layout = lay_out(_RATES, width, table)
    return [header(layout), *(cells(layout, row) for row in table)]


def _sample(input_rate: float, output_rate: float, base_fee: float) -> float:
    """Return what a request of ordinary size costs, in msats."""
    return input_rate * SAMPLE_IN + output_rate * SAMPLE_OUT + base_fee * 1000


def _prices(model: str, input_rate: str, output_rate: str, base_fee: str, sample: str) -> dict[str, Span]:
    return {
        "model": (model, "text"),
        "in/1k": (input_rate, "text"),
        "out/1k": (output_rate, "text"),
        "fee": (base_fee, "text"),
        "1,000 in + 256 out": (f"{sample} sats", "text"),
    }


def _charged_words(view: ProviderView) -> tuple[str, Role]:
    ratio = view.status.charged_ratio
    if ratio is None:
        return "it does not say what it charges, or has not yet", "muted"
    text, role = charged(ratio)
    return ("what its rates say" if text == "its price" else f"{text} against its rates"), role


def history_lines(view: ProviderView, now_ms: int, zone: tzinfo | None, width: int) -> list[Line]:
    """Return lines about a provider's recent attempts and changes of health."""
    mark, word = health(view, now_ms)
    failures = view.status.failure_count
    note = f"   {failures} failures in a row" if failures else ""
    lines: list[Line] = [
        (("State      ", "muted"), mark, (" ", "text"), word, (note, "muted")),
        *_outcomes(view, width),
        *_speed_lines(view),
    ]
    if not view.health_changes:
        return [*lines, EMPTY, (("no change of health since the dashboard began", "muted"),)]
    times = [_when(each.at_ms, now_ms, zone) for each in view.health_changes]
    width = max(map(len, times))
    changes = zip(times, view.health_changes, strict=True)
    return [*lines, EMPTY, *(_change_line(f"{at:<{width}}", each) for at, each in changes)]


def _outcomes(view: ProviderView, width: int) -> list[Line]:
    if not view.outcomes:
        return [(("no attempt yet", "muted"),)]
    newest = view.outcomes[-max(width - 11, 10) :]
    share = sum(view.outcomes) / len(view.outcomes)
    strip = merged([("▪", "good") if ok else ("✗", "bad") for ok in newest])
    said: Line = (
        (f"Last {len(view.outcomes):<6}", "muted"),
        (percent(share), rate_role(share)),
        (" answered", "muted"),
    )
    learned = percent(view.status.success_rate)
    return [
        (("Attempts   ", "muted"), *strip),
        said,
        (("Health     ", "muted"), (learned, "text"), (" answered, newest count most", "muted")),
    ]


def _speed_lines(view: ProviderView) -> list[Line]:
    speeds = view.speeds
    if speeds.half_ms is None:
        return []
    most = "" if speeds.most_ms is None else f", 95 % in {duration(speeds.most_ms)}"
    began: Line = (("First byte ", "muted"), (duration(speeds.half_ms), "text"), (f"{most}  ", "text"))
    lines: list[Line] = [(*began, lately(view))]
    if speeds.tokens_per_second is not None:
        lines.append((("Speed      ", "muted"), (f"{speeds.tokens_per_second:,.0f}", "text"), (" tokens/s", "muted")))
    return lines


def _when(at_ms: int, now_ms: int, zone: tzinfo | None) -> str:
    """Return the time of day, and before it the date unless that is today's."""
    today = stamp(at_ms, zone)[:10] == stamp(now_ms, zone)[:10]
    return clock(at_ms, zone) if today else stamp(at_ms, zone)


def _change_line(at: str, change: HealthChange) -> Line:
    words: dict[str, Span] = {"closed": ("● ok", "good"), "open": ("✕ open", "bad"), "half_open": ("◐ probing", "warn")}
    word = words[change.state] if change.in_rotation else ("○ taken out", "muted")
    return ((f"{at}  ", "muted"), (f"{word[0]:<11} ", word[1]), (change.reason, "text"))


def _field(label: str, value: str, role: Role = "text") -> Line:
    return ((f"{label:<11}", "muted"), (value, role))
