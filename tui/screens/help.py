"""Help: every key, found by typing, and done by Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.keymap import KeyLine
from tui.render.layout import wrapped
from tui.screens.overlay import Dialog, leave

KEYS_WIDTH = 17
WIDTH = 80  # cells, as in the stylesheet
_EDGES = 6  # cells: the frame, the list's padding and scroll bar, a space before the keys


@dataclass(frozen=True, slots=True)
class Section:
    """Keys that work in the same place: everywhere, or on the screen of that name."""

    title: str
    lines: Sequence[KeyLine]
    screen: str = ""

    def found(self, typed: str) -> Sequence[KeyLine]:
        """Return the lines that contain every word, or have the one key that was typed."""
        if len(typed) == 1:
            return [line for line in self.lines if typed in line.keys.split()]
        words = typed.lower().split()
        return [line for line in self.lines if all(word in f"{line.keys} {line.does}".lower() for word in words)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen: an action, on the screen of that name or on the one in sight."""

    action: str
    screen: str = ""


class HelpScreen(Dialog[Chosen | None]):
    """A window with the keys, section by section, and a line to find them by. Ends with what Enter chose."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("tab", "section(1)", show=False),
        Binding("shift+tab", "section(-1)", show=False),
        *(Binding(key, f"list('{key}')", show=False) for key in ("down", "up", "pagedown", "pageup")),
    ]

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self._sections = sections
        self._input = Input(placeholder="type to find a key", id="find", compact=True)
        self._list = OptionList(id="found", compact=True, markup=False)
        self._choices: list[Chosen | None] = []  # of the options; None for titles

    def compose(self) -> ComposeResult:
        """Compose the line to type in, and the keys below it."""
        with Vertical(id="help") as window:
            window.border_title = "Help"
            window.border_subtitle = "↵ does it  Tab next part  Esc closes"
            yield self._input
            yield self._list

    def on_mount(self) -> None:
        """Show all."""
        self._list.can_focus = False
        self._input.focus()
        self._show("")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value)

    def _show(self, typed: str) -> None:
        options: list[Option] = []
        self._choices = []
        for section in self._sections:
            if lines := section.found(typed.strip()):
                options += [Option("", disabled=True)] if options else []
                options.append(Option(Content.styled(section.title, "bold underline"), disabled=True))
                options += [Option(_prompt(line, self._room)) for line in lines]
                self._choices += [None] * (len(options) - len(self._choices) - len(lines))
                self._choices += [Chosen(line.action, section.screen) for line in lines]
        self._list.set_options(options or [Option("no such key", disabled=True)])
        self._list.highlighted = 1 if options else None
        self._list.scroll_home(animate=False)

    @property
    def _room(self) -> int:
        """The cells for what a key does."""
        return min(self.app.size.width, WIDTH) - KEYS_WIDTH - _EDGES

    def action_list(self, key: str) -> None:
        """Move in the list."""
        moves: dict[str, Callable[[], None]] = {
            "down": self._list.action_cursor_down,
            "up": self._list.action_cursor_up,
            "pagedown": self._list.action_page_down,
            "pageup": self._list.action_page_up,
        }
        moves[key]()

    def action_section(self, by: int) -> None:
        """Go to the next section, or the one before, and show it from its title on."""
        starts = [place for place in range(1, len(self._choices)) if self._choices[place - 1] is None]
        starts = [place for place in starts if self._choices[place] is not None]
        if starts:
            here = max((index for index, at in enumerate(starts) if at <= (self._list.highlighted or 0)), default=0)
            place = starts[(here + by) % len(starts)]
            self._list.highlighted = place
            self._list.scroll_to(y=place - 1, animate=False)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._list.action_select()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        chosen = self._choices[event.option_index] if event.option_index < len(self._choices) else None
        leave(self, chosen if chosen is not None and chosen.action else None)

    def action_leave(self) -> None:
        """Close."""
        leave(self)


def _prompt(line: KeyLine, width: int) -> Content:
    first, *others = wrapped(line.does, width)
    below = "".join(f"\n{'':{KEYS_WIDTH + 1}}{each}" for each in others)
    return Content.assemble((f" {line.keys:<{KEYS_WIDTH}}", "bold"), first + below)
