"""The state that all screens share: the view-model, the ledger's figures, the log, range and zone."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import NamedTuple

from arbstr.clock import MINUTE_MS
from arbstr.dashboard_keys import Keymap
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Filter
from arbstr.logs.ring import LogRing
from arbstr.monitoring.source import Source
from tui.format import zone_name
from tui.model.burn import SPAN_MS, Burn
from tui.model.feed import KEPT
from tui.model.groups import Groups
from tui.model.ledger_stats import MINUTES, RANGES, LedgerStats, Range, StatsPoller, ended_ms
from tui.model.log_view import LogView
from tui.model.options import Options
from tui.model.price_board import PriceBoard, models_of_interest, price_board
from tui.model.provider_view import ProviderView
from tui.model.request_row import record_of
from tui.model.time_series import Chart
from tui.model.view_model import DashboardView, ViewModel
from tui.timings import NORMAL, Timings

RECALL_AGAIN_S = 1.0
SNAPSHOT_EVERY_MS = 1000  # while busy: what no event reports (success rates, budgets) comes by snapshot
LONGEST_UNSEEN_MS = 30_000  # while idle
HIDDEN_AT_FIRST = frozenset({"client", "session", "dialect", "tok/s", "cached", "id"})  # until they are chosen
SLICE = 300  # events applied at a time: under a millisecond


@dataclass(frozen=True, slots=True)
class _Frozen:
    """What is shown while frozen, besides the view."""

    chart: Chart | None
    figures: LedgerStats
    board: PriceBoard
    burn: Burn | None


class DashboardModel:
    """The dashboard without a screen. Times come from `now_ms`; `zone` None is the machine's own time zone."""

    def __init__(
        self,
        source: Source,
        log: LogRing,
        *,
        now_ms: Callable[[], int],
        zone: tzinfo | None,
        on_figures: Callable[[], None] = lambda: None,
        timings: Timings = NORMAL,
        options: Options | None = None,
    ) -> None:
        self.source = source
        self.options = options or Options()
        self.now_ms = now_ms
        self.timings = timings
        self.zone = UTC if self.options.habits.flag("utc") else zone
        hidden = self.options.habits.texts("hidden columns")
        self.hidden_columns = HIDDEN_AT_FIRST if hidden is None else frozenset(hidden)  # of the ledger's table
        self.filters: dict[str, list[str]] = {}  # filters that were used, by screen
        self._local = zone
        self.mailbox = source.subscribe()
        snapshot = source.snapshot()
        fakes = bool(snapshot.providers) and all(each.name.startswith("mock-") for each in snapshot.providers)
        self._range = 0 if fakes else _range_named(self.options.habits.text("range"))  # a demo has no older requests
        self.watch = StatsPoller(source.ledger, now_ms, on_figures, self.range, timings)
        self.model = ViewModel(snapshot, self.watch.finished, self.watch.missed)
        self.log = LogView(log)
        self._snapshot_ms = snapshot.at_ms
        self._frozen: _Frozen | None = None
        self._board = PriceBoard()
        self._bought: Groups | None = None  # by model, as last known: another screen's figures lack them
        self._board_of: tuple[LedgerStats, int] | None = None  # what the board is made of
        self._board_asked: tuple[LedgerStats, int] | None = None  # what it is to be made of
        self._board_due = asyncio.Event()
        self._on_change = on_figures
        self._busy_until_ms = 0
        self._link = source.link
        self.past_loaded = False  # the feed has the requests from before this start

    def close(self) -> None:
        """Unsubscribe from events."""
        self.source.unsubscribe(self.mailbox)

    # ── events ──────────────────────────────────────────────────────────────────────────────────────────────────

    def catch_up(self) -> bool:
        """Apply the events in the mailbox; return whether anything changed. Missed events cause a resynchronisation."""
        events, missed = self.mailbox.drain()
        now, link = self.now_ms(), self.source.link
        connected, self._link = link != self._link, link
        if connected and link is not None and link.outage is None:
            self.watch.missed(self._snapshot_ms)  # its queries were in vain
        if events:
            self.model.apply(events)
            self._busy_until_ms = now + SNAPSHOT_EVERY_MS
        due = self._due(now)
        if missed or due:
            self._resync(now, missed=missed > 0)
        return bool(events) or bool(missed) or due or connected

    def _due(self, now: int) -> bool:
        """Check whether a snapshot is due: soon after events, when a breaker's or budget's time is up, at intervals."""
        age = now - self._snapshot_ms
        soon = age >= SNAPSHOT_EVERY_MS and self._snapshot_ms < self._busy_until_ms
        return soon or age >= LONGEST_UNSEEN_MS or self.model.changes_between(self._snapshot_ms, now)

    async def load_past(self) -> None:
        """Fill the feed with the ledger's newest requests from before this start, trying until the ledger answers."""
        before = Filter(until_ms=self.model.view(self.now_ms()).started_at_ms - 1)
        while not self.past_loaded:
            try:
                entries = await self.source.ledger.slice(before, before=None, limit=KEPT)
            except LedgerUnavailable:
                await asyncio.sleep(RECALL_AGAIN_S)
            else:
                self.model.remember(sorted(map(record_of, entries), key=ended_ms, reverse=True))
                self.past_loaded = True

    def _resync(self, now: int, *, missed: bool) -> None:
        if missed:
            self.watch.missed(self._snapshot_ms)
        self._snapshot_ms = now
        self.model.resync(self.source.snapshot())

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def range(self) -> Range:
        """The chosen time range."""
        return RANGES[self._range]

    @property
    def keymap(self) -> Keymap:
        """The keys in force."""
        return self.options.keymap

    def next_range(self) -> Range:
        """Choose and return the next time range."""
        return self.choose_range(RANGES[(self._range + 1) % len(RANGES)])

    def choose_range(self, chosen: Range) -> Range:
        """Choose a time range, and return it."""
        self._range = RANGES.index(chosen)
        self.options.habits.keep("range", chosen.name)
        self.watch.look_at_range(self.range)
        return self.range

    def hide_columns(self, hidden: frozenset[str]) -> None:
        """Choose the columns that the ledger's table lacks."""
        self.hidden_columns = hidden
        self.options.habits.keep("hidden columns", sorted(hidden))

    def toggle_utc(self) -> bool:
        """Switch between UTC and local times; return whether UTC is shown."""
        self.zone = self._local if self.zone is UTC and self._local is not UTC else UTC
        self.options.habits.keep("utc", self.zone is UTC)
        return self.zone is UTC

    @property
    def zone_name(self) -> str:
        """The name of the times' zone: `UTC`, `CET`."""
        return zone_name(self.now_ms(), self.zone)

    def toggle_freeze(self) -> bool:
        """Freeze or thaw; return whether frozen now."""
        if self.model.frozen:
            self.model.thaw()
            self._frozen = None
        else:
            now = self.now_ms()
            self.model.freeze(now)
            board, burn = self.board(), self.burn()
            self._frozen = _Frozen(self.watch.chart(now), self.watch.figures, board, burn)
        return self.model.frozen

    def view(self) -> DashboardView:
        """Return the view, live or as frozen; where the connection is lost, as of then."""
        outage = None if self.source.link is None else self.source.link.outage
        return self.model.view(self.now_ms() if outage is None else outage.since_ms)

    def chart(self, now_ms: int) -> Chart | None:
        """Return spending over the chosen range, live or as frozen."""
        return self.watch.chart(now_ms) if self._frozen is None else self._frozen.chart

    @property
    def figures(self) -> LedgerStats:
        """The ledger's figures, live or as frozen."""
        return self.watch.figures if self._frozen is None else self._frozen.figures

    def burn(self) -> Burn | None:
        """Return what is being spent, live or as frozen; None until it is known."""
        if self._frozen is not None:
            return self._frozen.burn
        now, figures = self.now_ms(), self.watch.figures
        lately = self.watch.fine[MINUTES.name].recent(SPAN_MS, now)
        if lately is None or figures.day is None or figures.week is None:
            return None
        began_ms = figures.day_began_ms
        if figures.week.total <= self.model.totals.requests:  # there is nothing from before this start
            began_ms = max(began_ms, self.model.started_at_ms)
        since_ms = max(now - lately[1], min(began_ms, now - MINUTE_MS))
        return Burn(lately[0], now - since_ms, figures.day.cost_msats, max(now - began_ms, 0))

    def board(self) -> PriceBoard:
        """Return the price board, live or as frozen; if there is news for it, `keep_board` makes another."""
        if self._frozen is not None:
            return self._frozen.board
        figures, asked = self.figures, self._board_asked
        if asked is None or asked[0] is not figures or asked[1] != self._snapshot_ms:
            self._board_asked = figures, self._snapshot_ms
            self._board_due.set()
        return self._board

    @property
    def board_is_current(self) -> bool:
        """Whether the price board is made of the latest figures."""
        return self.board() is not self._board or self._board_of is self._board_asked

    async def keep_board(self) -> None:
        """Keep the price board current for as long as it is looked at; the owner cancels it."""
        while True:
            await self._board_due.wait()
            self._board_due.clear()
            asked, figures, providers = self._board_asked, self.figures, self.view().providers
            groups = self._bought = figures.groups.get("model") or self._bought
            models = models_of_interest(groups, providers)
            with suppress(LedgerUnavailable):
                offers = await self.source.offers(models)
                self._board = price_board(models, groups, figures.lost, offers, providers)
                self._board_of = asked
                self._on_change()

    def moving(self) -> bool:
        """Check whether the screen changes with time alone: something runs, just ended, or counts down."""
        recent = self.now_ms() - self._busy_until_ms < 12_000
        lost = self._link is not None and self._link.outage is not None
        return lost or recent or bool(self.model.feed.running) or self.model.counting_down(self.now_ms())

    @property
    def read_only(self) -> bool:
        """Whether providers can't be changed from here."""
        return self.options.read_only or self.source.link is not None

    # ── acting ──────────────────────────────────────────────────────────────────────────────────────────────────

    def toggle_rotation(self, provider: ProviderView) -> str:
        """Take a provider out of rotation or back; return a message."""
        back = not provider.status.in_rotation
        self.source.set_in_rotation(provider.key, back)
        return f"{provider.status.name} is {'back in' if back else 'out of'} rotation"

    def last_in_rotation(self, provider: ProviderView) -> bool:
        """Check whether no other provider is in rotation."""
        others = [each for each in self.view().providers if each.key != provider.key]
        return provider.status.in_rotation and not any(each.status.in_rotation for each in others)

    def close_breaker(self, provider: ProviderView) -> str:
        """Close a provider's breaker; return a message."""
        self.source.close_breaker(provider.key)
        name = provider.status.name
        if not provider.status.in_rotation:
            return f"{name}'s breaker is closed, but it is out of rotation: space puts it back in"
        return f"{name} is asked again"


def _range_named(name: str | None) -> int:
    """Return the place of the range of that name, an hour's for none."""
    return next((place for place, each in enumerate(RANGES) if each.name == name), RANGES.index(MINUTES))


class FirstStep(NamedTuple):
    """What to do where there have been no requests: a sentence, and the command, safe to paste into a shell."""

    says: str
    command: tuple[str, ...]


def first_step(view: DashboardView) -> FirstStep:
    """Return what to do first: to send a request, but to get a key while no provider has one."""
    nodes = [each.status.name for each in view.providers if each.status.inert]
    if nodes and len(nodes) == len(view.providers):
        pays_in = f"arbstr fund {shlex.quote(nodes[0])}"
        return FirstStep("No provider has a key yet. Get one from a Routstr node", (pays_in,))
    return FirstStep("No requests yet. Try one", _curl(view))


def _curl(view: DashboardView) -> tuple[str, ...]:
    model = next((model for each in view.providers for model in each.status.models), "gpt-4o-mini")
    return (
        f"curl {view.address}/v1/chat/completions \\",
        "  -H 'Content-Type: application/json' \\",
        f"""  -d {shlex.quote('{"model": ' + json.dumps(model) + ",")[:-1]}""",
        """       "messages": [{"role": "user", "content": "Say hello."}]}'""",
    )
