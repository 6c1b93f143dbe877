"""What the five screens have in common: the bars, the filter line, the keys, and painting piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from arbstr.query import GroupBy
from tui.board import Board
from tui.lines import Line
from tui.widgets.bars import KeyBar, KeyHint, TopBar
from tui.widgets.panel import Panel

LEAST_WIDTH, LEAST_HEIGHT = 60, 15


class BoardScreen(Screen[None]):
    """One of the five. Subclasses say what they hold in `pieces` and paint it in `paint_body`."""

    NAMES: ClassVar[dict[str, str]] = {
        "live": "Live",
        "requests": "Requests",
        "providers": "Providers",
        "money": "Money",
        "log": "Log",
    }
    AUTO_FOCUS = ""  # keys go to the screen; the filter line is focused when it is asked for
    GROUPS: ClassVar[tuple[GroupBy, ...]] = ()
    FILTER_EXAMPLE = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (LEAST_WIDTH, "-narrow"), (100, "-normal")]  # noqa: RUF012 - as Textual has it
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (LEAST_HEIGHT, "-short")]  # noqa: RUF012 - as Textual has it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Next row", show=False),
        Binding("k,up", "move(-1)", "Previous row", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "Next page", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "Previous page", show=False),
        Binding("g,home", "ends(False)", "First row", show=False),
        Binding("G,end", "ends(True)", "Last row", show=False),
        Binding("enter", "open", "Open", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("slash", "filter", "Filter", show=False),
        Binding("escape", "back", "Back", show=False),
        Binding("tab", "app.next_screen(1)", "Next screen", show=False),
        Binding("shift+tab", "app.next_screen(-1)", "Previous screen", show=False),
    ]

    def __init__(self, board: Board, name: str) -> None:
        super().__init__(name=name)
        self.board = board
        self.typed = ""  # the filter, as typed
        self._top = TopBar(id="top")
        self._bar = KeyBar(id="keys")
        self._input = Input(placeholder=self.FILTER_EXAMPLE, id="typed", compact=True)
        self._complaint = Static("", id="complaint", markup=False)
        self._line = Horizontal(Static(" / ", id="slash", markup=False), self._input, self._complaint, id="filter")
        self._line.display = False

    # ── what subclasses are ─────────────────────────────────────────────────────────────────────────────────────

    def pieces(self) -> Sequence[Widget]:
        """The widgets between the bars."""
        raise NotImplementedError

    def paint_body(self) -> Iterator[None]:
        """Give every piece its values, with a yield after each so that the loop can do other things."""
        raise NotImplementedError

    def keys(self) -> Sequence[KeyHint]:
        """The hints that are this screen's own."""
        return ()

    def narrow(self, typed: str) -> Sequence[str]:
        """Filter by what was typed; says what was not understood."""
        return ()

    def size_pieces(self, width: int, height: int) -> None:
        """Give the pieces their heights; called when the terminal's size changes."""

    def action_move(self, by: int) -> None:
        """Move the selection."""

    def action_page(self, by: int) -> None:
        """Move by pages."""

    def action_ends(self, last: bool) -> None:
        """Go to the first or the last row."""

    def action_open(self) -> None:
        """Open what is selected."""

    def action_copy(self) -> None:
        """Copy what is selected."""

    def step_back(self) -> bool:
        """Leave whatever is to be left first: a selection, a filter; whether there was anything."""
        return False

    # ── what all of them do ─────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Bars around the pieces."""
        yield self._top
        yield from self.pieces()
        yield self._line
        yield self._bar
        yield TooSmall(id="too-small")

    def paint(self) -> Iterator[None]:
        """Paint the bars and the body."""
        board = self.board
        self._top.show(
            board.view(),
            board.now_ms(),
            frozen=board.model.frozen,
            unseen=board.model.unseen,
            problem=board.watch.figures.problem,
            zone=board.zone,
        )
        self._bar.show(self._screens(), self._keys())
        yield
        yield from self.paint_body()

    def repaint(self) -> None:
        """Paint all at once: someone has pressed a key and waits for it."""
        if self.is_mounted:
            for _ in self.paint():
                pass

    def _screens(self) -> list[KeyHint]:
        return [
            KeyHint(str(number), label, f"app.go('{name}')", name == self.name)
            for number, (name, label) in enumerate(self.NAMES.items(), 1)
        ]

    def _keys(self) -> list[KeyHint]:
        board = self.board
        general = [
            KeyHint("f", "thaw" if board.model.frozen else "freeze", "app.freeze"),
            KeyHint("t", board.range.name, "app.range"),
            KeyHint("?", "help", "app.help"),
            KeyHint("q", "quit", "app.quit"),
        ]
        own = [KeyHint("/", "filter", "screen.filter")] if self.FILTER_EXAMPLE else []
        return [*own, *self.keys(), *general]

    def on_resize(self, event: events.Resize) -> None:
        """Arrange for the new size and paint."""
        self.size_pieces(event.size.width, event.size.height)
        self.call_after_refresh(self.repaint)

    def on_screen_resume(self) -> None:
        """This screen is in front now: the ledger is asked for what it shows."""
        self.board.watch.look_at(self.board.range, self.GROUPS)
        self.repaint()

    # ── the filter line ─────────────────────────────────────────────────────────────────────────────────────────

    def action_filter(self) -> None:
        """Open the filter line."""
        if self.FILTER_EXAMPLE:
            self._line.display = True
            self.set_focus(self._input)  # at once: the next key may be here already

    @on(Input.Changed, "#typed")
    def _typed(self, event: Input.Changed) -> None:
        self.typed = event.value
        self._complaint.update("; ".join(self.narrow(event.value)))
        self.repaint()

    @on(Input.Submitted, "#typed")
    def _kept(self) -> None:
        self._leave_filter_line()

    def _leave_filter_line(self) -> None:
        self.set_focus(None)
        self._line.display = bool(self.typed)

    def action_back(self) -> None:
        """One step back: out of the filter line, the selection, the filter, at last to the first screen."""
        if self._input.has_focus:
            self._input.value = ""
            self._leave_filter_line()
        elif self.step_back():
            pass
        elif self.typed:
            self._input.value = ""
            self._line.display = False
        elif self.name != "live":
            self.app.switch_mode("live")
        self.repaint()


class TooSmall(Panel):
    """What a terminal that is too small shows in place of everything else."""

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """A plain message."""
        return [
            ((f" arbstr needs {LEAST_WIDTH}x{LEAST_HEIGHT},", "text"),),
            ((f" this terminal is {width}x{height}.", "text"),),
            ((" The proxy goes on.  q quits", "muted"),),
        ]
