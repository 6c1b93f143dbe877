"""The line on top, which says how things stand, and the one at the bottom, which says what one can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from itertools import pairwise

from textual import events
from textual.message import Message

from arbstr.monitoring.source import LinkState, Outage
from tui.format import clock, percent, shown, uptime, zone_name
from tui.model.burn import Burn
from tui.model.view_model import DashboardView
from tui.render.layout import EMPTY, Line, Part, Role, Span, spread, spread_parts, width_of
from tui.widgets.panel import Panel
from tui.widgets.troubles import Trouble, troubles

FROZEN = "‖ frozen"


class TopBar(Panel):
    """The top bar: name, address, serving providers, troubles, uptime, and whether the screen is live or frozen."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._troubles: list[Trouble] = []
        self._left: list[Part] = []
        self._right: list[Part] = []

    def show(
        self,
        view: DashboardView,
        now_ms: int,
        *,
        frozen: bool,
        unseen: int,
        problem: str | None,
        zone: tzinfo | None,
        burn: Burn | None = None,
        link: LinkState | None = None,
        read_only: bool = False,
    ) -> None:
        """Show other values; `problem` is why the ledger can't be read, if it can't; `link` whom it only watches."""
        outage = None if link is None else link.outage
        if link is not None and outage is not None:  # what else was wrong is as old as all the rest
            self._troubles = [_outage(link.url, outage, now_ms)]
        else:
            self._troubles = troubles(view, now_ms, zone, burn, problem)
        address: Line = ((f"  {view.address.removeprefix('http://')}", "muted"),)
        watches: list[Part] = (
            [] if link is None else [((("  watching,", "muted"),), 25), (((" read-only", "muted"),), 4)]
        )
        only: list[Part] = [((("  read-only", "warn"),), 4)] if read_only else []
        self._left = [(((" arbstr", "title"),), 3), (address, 23), *watches, *_providers(view), *_adoption(view)]
        well = not self._troubles and any(each.serves for each in view.providers)
        state: Part = ((("  ▶ live ", "good" if well else "muted"),), 1)
        if outage is not None:
            state = (_badge(f"✕ stale since {clock(outage.since_ms, zone)}", "alarm"), 0)
        elif frozen:
            state = (_badge(f"{FROZEN}  +{unseen:,} new", "badge"), 0)
        zoned: Line = ((f"  {zone_name(now_ms, zone)}", "muted"),)
        up: Line = ((f"  up {uptime(now_ms - view.started_at_ms)}", "muted"),)
        self._right = [*only, (zoned, 22), (up, 27), state]
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw one line: the gravest troubles, whole, and how many more there are; then what else there is room for."""
        kept = sum(width_of(line) for line, rank in (*self._left, *self._right) if rank == 0)
        wrong = _most_said(self._troubles, width - 1 - kept)
        return [spread_parts([*self._left, *wrong], self._right, width)]


def _badge(said: str, role: Role) -> Line:
    return ((" ", "text"), (f" {said} ", role), (" ", "text"))


def _most_said(wrong: Sequence[Trouble], width: int) -> list[Part]:
    """Return as many troubles as there is room for, none of them in part, and the number of the others.

    Details of a single one go before nearly all else in the bar, those of several after how many providers serve.
    """
    for many in range(len(wrong), -1, -1):
        heads = [(*each.head, *each.end) for each in wrong[:many]]
        left_out = len(wrong) - many
        more: Line = ((f"  +{left_out} more", "warn"),) if left_out else EMPTY
        if sum(map(width_of, heads)) + width_of(more) <= width:
            break
    parts: list[Part] = []
    for rank, each in enumerate(wrong[:many]):
        parts += [(each.head, 0), (each.more, 2 if len(wrong) == 1 else 6 + min(rank, 9)), (each.end, 0)]
    return [*parts, (more, 0)]


def _outage(url: str, outage: Outage, now_ms: int) -> Trouble:
    """Return why there is no connection, in short: to whom is said beside it."""
    reason = outage.reason.removeprefix(f"{url} ").partition(";")[0]
    again_s = max(outage.again_ms - now_ms + 999, 0) // 1000
    when = f"again in {again_s} s" if again_s else "connecting"
    return Trouble("no connection", f": {shown(reason, 60)}, {when}", alarming=True)


def _adoption(view: DashboardView) -> list[Part]:
    if view.adopted is None:
        return []
    return [((("  adopting old rows ", "muted"), (percent(view.adopted, 0), "text")), 21)]


def _providers(view: DashboardView) -> list[Part]:
    """Return how many providers serve; that none does is a badge, the gravest trouble of all."""
    total, fit_ = len(view.providers), sum(each.serves for each in view.providers)
    sound = fit_ == total > 0 and not view.refusing and all(each.status.state == "closed" for each in view.providers)
    how_many = f" {total}" if fit_ == total else f" {fit_} of {total}"
    word = " provider" if total == 1 and fit_ else " providers"
    if not fit_:
        said: Line = ((" ", "text"), (f" ✕{how_many}", "alarm"))
        return [(said, 0), (((word, "alarm"),), 24), (((" serving ", "alarm"),), 0)]
    mark: Span = ("  ●", "good") if sound else ("  ◐", "warn")
    parts: list[Part] = [((mark, (how_many, "text")), 5), (((word, "text"),), 24), (((" serving", "text"),), 5)]
    fakes = total and all(each.key.startswith("mock-") for each in view.providers)
    return [*parts, ((("  fake providers", "warn"),), 26)] if fakes else parts


@dataclass(frozen=True, slots=True)
class KeyHint:
    """A key, its effect in a word, and its action, for clicks. The higher its rank, the sooner it goes; 0 stays."""

    key: str
    label: str
    action: str
    current: bool = False
    rank: int = 0


MOST_LEFT_OUT = 4  # keys, for the sake of the screens' names


class KeyBar(Panel):
    """The bottom bar: screens on the left, keys on the right; both can be clicked."""

    class Chosen(Message):
        """Posted when a hint is clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._screens: Sequence[KeyHint] = ()
        self._keys: Sequence[KeyHint] = ()

    def show(self, screens: Sequence[KeyHint], keys: Sequence[KeyHint]) -> None:
        """Show other hints."""
        self._screens, self._keys = screens, keys
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw one line: everything, or without a few keys, or without the screens' names, or with fewer keys."""
        screens = _hints(self._screens)
        for keys in _fewer_and_fewer(self._keys)[: MOST_LEFT_OUT + 1]:
            if _fits(screens, keys, width):
                return [spread(screens, _hints(keys), width)]
        short = _hints([hint if hint.current else replace(hint, label="") for hint in self._screens])
        choices = _fewer_and_fewer(self._keys)
        keys = next((keys for keys in choices if _fits(short, keys, width)), choices[-1])
        return [spread(short, _hints(keys), width)]

    def on_click(self, event: events.Click) -> None:
        """Post the clicked hint."""
        event.stop()
        x = 0
        actions = {hint.key: hint.action for hint in (*self._screens, *self._keys)}
        spans = self._lines[0] if self._lines else EMPTY
        for (key, role), (label, _) in pairwise((*spans, ("", "text"))):
            if role == "key" and x <= event.x < x + len(key) + len(label):
                self.post_message(self.Chosen(actions[key.strip()]))
                return
            x += len(key)


def _fewer_and_fewer(keys: Sequence[KeyHint]) -> list[Sequence[KeyHint]]:
    """Return all keys, then without the one of the highest rank, and so on, down to those that stay."""
    ranks = sorted({hint.rank for hint in keys} | {0}, reverse=True)
    return [[hint for hint in keys if hint.rank <= rank] for rank in ranks]


def _fits(screens: Line, keys: Sequence[KeyHint], width: int) -> bool:
    return width_of(screens) + width_of(_hints(keys)) < width


def _hints(hints: Sequence[KeyHint]) -> Line:
    return tuple(
        span
        for hint in hints
        for span in (
            (f" {hint.key} ", "key"),
            (f"{hint.label} " if hint.label else "", "strong" if hint.current else "muted"),
        )
        if span[0]
    )
