"""What the five screens have in common: the bars, the filter line, the keys, and painting piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from arbstr.dashboard_keys import Keymap
from arbstr.ledger.model import GroupBy
from tui.keymap import key, keys_of, shown_bindings, shown_key
from tui.model.completion import Names
from tui.model.dashboard import DashboardModel
from tui.model.filter_times import since
from tui.render.layout import EMPTY, Line
from tui.screens.filter_line import FilterLine
from tui.screens.notice_room import make_room
from tui.widgets.bars import KeyBar, KeyHint, TopBar
from tui.widgets.panel import Panel

LEAST_WIDTH, LEAST_HEIGHT = 60, 15
TABS = (
    key("next_screen", "app.next_screen(1)", "Next screen", group="Next screen, the one before"),
    key("previous_screen", "app.next_screen(-1)", "Previous screen", group="Next screen, the one before"),
)
LIST_KEYS = (
    key("down", "move(1)", "Next row", group="Next row, the one before"),
    key("up", "move(-1)", "Previous row", group="Next row, the one before"),
    key("page_down", "page(1)", "A page down", group="A page down, up"),
    key("page_up", "page(-1)", "A page up", group="A page down, up"),
    key("first", "ends(False)", "First row", group="First row, last row"),
    key("last", "ends(True)", "Last row", group="First row, last row"),
)
REQUEST_KEYS = (
    key("open", "open", "Open the selected request in full", "open"),
    key("copy", "copy", "Copy its id, then also its row, JSON or command", "copy"),
)
# In the bottom line the higher of these go first; keys that are a screen's own lie between them.
RANKS = {"help": 0, "quit": 0, "alerts": 1, "filter": 1, "freeze": 2, "range": 100, "zone": 101}


def show_standing(top: TopBar, dashboard: DashboardModel) -> None:
    """Show how things stand in the top bar."""
    top.show(
        dashboard.view(),
        dashboard.now_ms(),
        frozen=dashboard.model.frozen,
        unseen=dashboard.model.unseen,
        problem=dashboard.watch.figures.problem,
        zone=dashboard.zone,
        burn=dashboard.burn(),
        link=dashboard.source.link,
        read_only=dashboard.options.read_only,
    )


def show_keys(bar: KeyBar, screen: Screen[None], dashboard: DashboardModel, words: Mapping[str, str]) -> None:
    """Show the keys of a screen, and those that work everywhere, in its bottom line; `words` as of `words()` below."""
    frozen = "unfreeze" if dashboard.model.frozen else "freeze"
    alerts = len(dashboard.view().alerts)
    said = "" if not alerts else "1 alert" if alerts == 1 else f"{alerts} alerts"
    now = {"alerts": said, "freeze": frozen, "range": dashboard.range.name, "zone": dashboard.zone_name, **words}
    hints = []
    for place, (action, each) in enumerate(shown_bindings(type(screen), type(screen.app))):
        if word := now.get(each.id or "", each.description):
            rank = RANKS.get(each.id or "", 3 + place) if each.id else 0
            hints.append(KeyHint(shown_key(keys_of(each, dashboard.keymap)[0]), word, action, rank=rank))
    bar.show(screens(dashboard.keymap, screen.name), hints)


def screens(keymap: Keymap, current: str | None) -> Sequence[KeyHint]:
    """Return the screens for the bottom line."""
    return [
        KeyHint(shown_key(keymap[name][0]), label, f"app.go('{name}')", name == current)
        for name, label in DashboardScreen.NAMES.items()
        if current is not None
    ]


class DashboardScreen(Screen[None]):
    """One of the five screens. Subclasses return their widgets in `pieces` and paint them in `paint_body`."""

    NAMES: ClassVar[dict[str, str]] = {
        "live": "Live",
        "requests": "Requests",
        "providers": "Providers",
        "money": "Money",
        "log": "Log",
    }
    AUTO_FOCUS = ""  # keys go to the screen; the filter line is focused when it is asked for
    GROUPS: ClassVar[tuple[GroupBy, ...]] = ()
    LOSSES = False  # whether it shows what failed requests cost, by these groups
    FILTER_EXAMPLE = ""
    RANGED = True  # whether what it shows is of a time range
    FILTERS = ""  # whose filters are remembered together; the screen's own name if empty
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (LEAST_WIDTH, "-narrow"), (100, "-normal")]  # noqa: RUF012 - as Textual has it
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (LEAST_HEIGHT, "-short")]  # noqa: RUF012 - as Textual has it
    BINDINGS: ClassVar[list[BindingType]] = [
        *TABS,
        key("filter", "filter", "Filter; by name on Providers and Money", "filter"),
        Binding("escape", "back", tooltip="Back: out of a filter, a selection, a window", show=False),
        *LIST_KEYS,
    ]

    def __init__(self, dashboard: DashboardModel, name: str) -> None:
        super().__init__(name=name)
        self.dashboard = dashboard
        self._top = TopBar(id="top")
        self._bar = KeyBar(id="keys")
        self._edges: Sequence[Panel] = ()  # the panels between the bars, on which can be said that there are more
        self._says_more = False
        history = dashboard.filters.setdefault(self.FILTERS or name, [])
        self._line = FilterLine(self.FILTER_EXAMPLE, history, self.judge, self.names)

    # ── what subclasses are ─────────────────────────────────────────────────────────────────────────────────────

    def pieces(self) -> Sequence[Widget]:
        """Return the widgets between the bars."""
        raise NotImplementedError

    def paint_body(self) -> Iterator[None]:
        """Give each piece its values, yielding after each so that the loop can do other things."""
        raise NotImplementedError

    def words(self) -> Mapping[str, str]:
        """Return what the bottom line says of some keys now, by name, instead of their own word; empty hides a key."""
        return {}

    def narrow(self, typed: str) -> None:
        """Show only what passes the filter."""

    def judge(self, typed: str) -> Sequence[str]:
        """Return complaints about a filter that means nothing, naming what can be typed instead."""
        return ()

    def names(self) -> Names:
        """Return the names that Tab completes in the filter line."""
        return {}

    def look(self) -> None:
        """Say what the ledger is asked for while this screen is in front."""
        self.dashboard.watch.look_at(self.dashboard.range, self.GROUPS, losses=self.LOSSES)

    def size_pieces(self, width: int, height: int) -> None:
        """Set the pieces' heights; called when the terminal's size changes."""

    def out_of_sight(self) -> int:
        """Return how many panels the terminal has no room for, which the key for the next panel brings into sight."""
        return 0

    def action_move(self, by: int) -> None:
        """Move the selection."""

    def action_page(self, by: int) -> None:
        """Move by pages."""

    def action_ends(self, last: bool) -> None:
        """Go to the first or the last row."""

    def action_open(self) -> Awaitable[None] | None:
        """Open what is selected."""
        return None

    def action_copy(self) -> object:
        """Copy the selection."""

    def select(self, name: str) -> None:
        """Select what has that name, if the screen lists such things."""

    def step_back(self) -> bool:
        """Drop the selection, or the scroll position; return whether there was either."""
        return False

    @property
    def in_range(self) -> str:
        """The filter of the requests in the time range, as of when the ledger was asked."""
        figures = self.dashboard.figures
        as_of_ms = self.dashboard.now_ms() if figures.as_of_ms is None else figures.as_of_ms
        return since(as_of_ms - self.dashboard.range.length_ms)

    # ── what all of them do ─────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Compose the bars and the pieces between them."""
        yield self._top
        yield from self.pieces()
        yield self._line
        yield self._bar
        yield TooSmall(id="too-small")

    def on_mount(self) -> None:
        """Give way to notices, and find the panels."""
        make_room(self, self._bar)
        self._edges = [*self.query(Panel).exclude("#top, #keys, #too-small")]

    def paint(self) -> Iterator[None]:
        """Paint the bars and the body."""
        show_standing(self._top, self.dashboard)
        show_keys(self._bar, self, self.dashboard, {**self.words(), **({} if self.RANGED else {"range": ""})})
        yield
        yield from self.paint_body()
        self._say_more()

    def _say_more(self) -> None:
        """Say that there are more panels, and how to get there, on the lowest edge that has room."""
        hidden = self.out_of_sight()
        if not hidden and not self._says_more:
            return
        self._says_more = hidden > 0
        name = shown_key(self.dashboard.keymap["next_panel"][0])
        more: Line = ((name, "key"), (f" {hidden} more panel{'s' if hidden > 1 else ''}", "muted"))
        left = more if hidden else EMPTY
        for panel in reversed(self._edges):
            seen = panel.display and (panel.parent is self or getattr(panel.parent, "display", False))
            panel.say_more(left if seen else EMPTY)
            left = EMPTY if seen and panel.says_more else left

    def repaint(self) -> None:
        """Paint at once: a key was pressed."""
        if self.is_mounted:
            for _ in self.paint():
                pass

    def on_resize(self, event: events.Resize) -> None:
        """Lay out for the new size and paint."""
        if self.too_small and self._line.typing:
            self._line.cancel()
        self.size_pieces(event.size.width, event.size.height)
        self.call_after_refresh(self.repaint)

    def on_screen_resume(self) -> None:
        """Poll the ledger for this screen, now in front."""
        self.look()
        self.repaint()

    # ── the filter line ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def typed(self) -> str:
        """The filter in force, as typed."""
        return self._line.text

    def action_filter(self) -> None:
        """Open the filter line."""
        if self.FILTER_EXAMPLE:
            self._line.open()

    def filter_by(self, text: str) -> None:
        """Apply a filter as if it had been typed."""
        self._line.put(text)

    async def show_requests(self, filter_text: str) -> None:
        """Show the ledger's requests that pass a filter."""
        await self.app.switch_mode("requests")
        if isinstance(self.app.screen, DashboardScreen):
            self.app.screen.filter_by(filter_text)

    @on(FilterLine.Changed)
    def _filtered(self) -> None:
        self.narrow(self.typed)
        self.repaint()

    @on(Panel.Picked, "#top")
    async def _top_picked(self) -> None:
        await self.app.run_action("app.alerts")

    def action_back(self) -> None:
        """Go back one step: out of the filter line; out of filter and selection; to the first screen."""
        if self._line.typing:
            self._line.cancel()
        elif self.typed:
            self._line.put("")
            self.step_back()
        elif not self.step_back() and self.name != "live":
            self.app.switch_mode("live")
        self.repaint()

    # ── too small a terminal ────────────────────────────────────────────────────────────────────────────────────

    @property
    def too_small(self) -> bool:
        """Check whether only `TooSmall` is visible, so that no key may act unseen."""
        return self.app.size.width < LEAST_WIDTH or self.app.size.height < LEAST_HEIGHT

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Refuse the screen's actions where their effect would be invisible."""
        return not self.too_small


class TooSmall(Panel):
    """The message that a terminal that is too small shows in place of everything else."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a plain message."""
        return [
            ((f" arbstr needs {LEAST_WIDTH}x{LEAST_HEIGHT},", "text"),),
            ((f" this terminal is {self.app.size.width}x{self.app.size.height}.", "text"),),
            ((" The proxy goes on.  q quits", "muted"),),
            ((f" {self.app.sub_title}", "warn"),),
        ]
