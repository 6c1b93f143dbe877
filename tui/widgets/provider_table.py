"""The Providers screen's pieces: the table, and one provider in full."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from arbstr.ledger.model import Aggregate
from tui.format import NOTHING, count, percent, rate, sats_alike, sats_round, shown, stamp
from tui.model.ledger_stats import Groups
from tui.model.request_row import OVERCHARGE
from tui.model.view_model import HealthChange, ProviderView
from tui.render.layout import EMPTY, Column, Line, Role, Span, cells, framed, header, lay_out, merged, under_cursor
from tui.widgets.panel import Panel
from tui.widgets.provider_health import health, rate_role, row_cells

COLUMNS = (
    Column("", 1, exact=True),
    Column("provider", 10, share=3, most=28),
    Column("state", 9, exact=True),
    Column("health", 6, "right", rank=1),
    Column("first byte", 10, "right", rank=2),
    Column("running", 7, "right", rank=5),
    Column("in/1k", 5, "right", rank=3),
    Column("out/1k", 6, "right", rank=3),
    Column("fee", 3, "right", rank=4),
    Column("charged", 8, "right", rank=6),
    Column("requests", 8, "right", rank=7),
    Column("sats", 8, "right", rank=7),
)
SAMPLE_IN, SAMPLE_OUT = 1000, 256


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

    def show(
        self,
        providers: Sequence[ProviderView],
        selected: int,
        groups: Groups | None,
        now_ms: int,
        range_name: str,
        *,
        hint: str,
    ) -> None:
        """Show other states; `hint` in their place where there are none."""
        self._hint = hint
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
        layout = lay_out(COLUMNS, width - 4, table)
        lines: list[Line] = [header(layout)]
        for index, row in enumerate(table, self._top):
            line = cells(layout, row)
            lines.append(under_cursor(line) if index == self._selected else line)
        if not self._providers:
            lines = [((self._hint, "muted"),)]
        counted = any(column.title == "sats" for column, _ in layout)
        note: Line = ((f"requests and sats: last {self._range}", "muted"),) if counted else EMPTY
        title: Line = (("Providers", "title"), ("  rates in sats per 1,000 tokens", "muted"))
        return framed(lines, width, height, title=title, note=note)

    def _table(self, providers: Sequence[ProviderView]) -> list[dict[str, Span]]:
        groups = [None if self._groups is None else self._groups.get(each.status.name) for each in providers]
        spent = sats_alike([0 if group is None else group.cost_msats for group in groups])
        return [self._row(*each) for each in zip(providers, groups, spent, strict=True)]

    def _row(self, view: ProviderView, group: Aggregate | None, spent: str) -> dict[str, Span]:
        status = view.status
        row = row_cells(view, self._now_ms)
        return {
            "": row[""],
            "provider": row["name"],
            "state": row["state"],
            "health": row["health"],
            "first byte": row["first byte"],
            "running": (count(status.in_flight), "text" if status.in_flight else "muted"),
            "in/1k": (rate(status.input_rate), "text"),
            "out/1k": (rate(status.output_rate), "text"),
            "fee": (rate(status.base_fee), "text"),
            "charged": charged(status.charged_ratio),
            "requests": (NOTHING if group is None else count(group.total), "text"),
            "sats": (NOTHING if group is None else spent, "text"),
        }


_RATES = (
    Column("model", 16, share=1, most=36),
    Column("in/1k", 8, "right"),
    Column("out/1k", 8, "right"),
    Column("fee", 6, "right"),
    Column("1,000 in + 256 out", 18, "right", rank=1),
)


def rate_lines(view: ProviderView, width: int) -> list[Line]:
    """Return its identity, its rates and its charges."""
    status = view.status
    key = "none" if status.masked_key is None else f"{status.masked_key}  ({status.key_source})"
    lines = [
        _field("URL", status.url),
        _field("Key", key),
        _field("Charged", *_charged_words(view)),
    ]
    lines += [
        _field("Overcharge", f"{shown(each.model)}: {each.ratio:.2f} times the rates", "warn")
        for each in view.overcharges[:3]
    ]
    if status.last_error:
        lines.append(_field("Last error", status.last_error, "bad" if status.state == "open" else "text"))
    table = [_prices(model, *status.rates_for(model)) for model in status.models or ("every model",)]
    layout = lay_out(_RATES, width, table)
    return [*lines, EMPTY, header(layout), *(cells(layout, row) for row in table)]


def _prices(model: str, input_rate: float, output_rate: float, base_fee: float) -> dict[str, Span]:
    sample = input_rate * SAMPLE_IN + output_rate * SAMPLE_OUT + base_fee * 1000
    return {
        "model": (model, "text"),
        "in/1k": (rate(input_rate), "text"),
        "out/1k": (rate(output_rate), "text"),
        "fee": (rate(base_fee), "text"),
        "1,000 in + 256 out": (f"{sats_round(sample)} sats", "text"),
    }


def _charged_words(view: ProviderView) -> tuple[str, Role]:
    ratio = view.status.charged_ratio
    if ratio is None:
        return "it does not say what it charges, or has not yet", "muted"
    text, role = charged(ratio)
    return ("what its rates say" if text == "its price" else f"{text} against its rates, as learned"), role


def history_lines(view: ProviderView, now_ms: int, zone: tzinfo | None, width: int) -> list[Line]:
    """Return lines about a provider's recent attempts and changes of health."""
    mark, word = health(view, now_ms)
    failures = view.status.failure_count
    note = f"   {failures} failures in a row" if failures else ""
    lines: list[Line] = [
        (("State      ", "muted"), mark, (" ", "text"), word, (note, "muted")),
        *_outcomes(view, width),
    ]
    if not view.health_changes:
        return [*lines, EMPTY, (("no change of health since the dashboard began", "muted"),)]
    return [*lines, EMPTY, *(_change_line(each, zone) for each in view.health_changes)]


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
        (("Health     ", "muted"), (learned, "text"), (" answered, the newest counting most", "muted")),
    ]


def _change_line(change: HealthChange, zone: tzinfo | None) -> Line:
    words: dict[str, Span] = {"closed": ("● ok", "good"), "open": ("✕ open", "bad"), "half_open": ("◐ probing", "warn")}
    word = words[change.state] if change.in_rotation else ("○ taken out", "muted")
    return ((f"{stamp(change.at_ms, zone)}  ", "muted"), (f"{word[0]:<11} ", word[1]), (change.reason, "text"))


def _field(label: str, value: str, role: Role = "text") -> Line:
    return ((f"{label:<11}", "muted"), (value, role))
