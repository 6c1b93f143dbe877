"""The line in which a filter is typed, completed and found again, and below it what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static

from tui.format import shown
from tui.model.completion import Names, completions

LONGEST = 4000  # characters
HISTORY = 50
HELP = "Tab completes, ↑ earlier filters, F1 what can be typed, Enter keeps, Esc cancels"


class TypedLine(Input):
    """The input of the filter line. Tab never leaves it: the next letters would be commands."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", "Complete", show=False),
        Binding("shift+tab", "complete(-1)", "The completion before", show=False),
        Binding("up", "recall(1)", "An earlier filter", show=False),
        Binding("down", "recall(-1)", "A later filter", show=False),
    ]

    def __init__(self, example: str, history: list[str], names: Callable[[], Names]) -> None:
        super().__init__(placeholder=example, id="typed", compact=True, max_length=LONGEST)
        self._names = names
        self._offered: list[str] = []  # what was typed up to the cursor, and what it may become
        self._rest = ""
        self._place = 0
        self._history = history
        self._draft = ""
        self._back = 0  # how many filters back in the history

    @property
    def offered(self) -> Sequence[str]:
        """The completions that Tab cycles through now."""
        return self._offered[1:] if self._offered and self.value == self._offered[self._place] + self._rest else ()

    @property
    def place(self) -> int:
        """The index of the completion in the line; -1 for none."""
        return self._place - 1

    def begin(self) -> None:
        """Begin typing."""
        self._offered, self._back = [], 0

    def remember(self, text: str) -> None:
        """Add a filter to the history."""
        if text:
            self._history[:] = [*(each for each in self._history if each != text), text][-HISTORY:]

    def action_complete(self, by: int) -> None:
        """Complete the word before the cursor, or offer the next completion."""
        if not self.offered:
            head, self._rest = self.value[: self.cursor_position], self.value[self.cursor_position :]
            self._offered, self._place = [head, *completions(head, self._names())], 0
        self._place = (self._place + by) % len(self._offered)
        completed = self._offered[self._place]
        self.value = completed + self._rest
        self.cursor_position = len(completed)
        if len(self._offered) <= 2:  # nothing to choose from: the next Tab goes on from here
            self._offered = []

    def action_recall(self, by: int) -> None:
        """Recall an earlier or later filter; after the last, what had been typed."""
        if self._back == 0:
            self._draft = self.value
        past = [each for each in self._history if each != self._draft]
        self._back = min(max(self._back + by, 0), len(past))
        self.value = past[-self._back] if self._back else self._draft
        self.cursor_position = len(self.value)


class FilterLine(Vertical):
    """The filter line: visible while typing and while a filter applies, hidden otherwise.

    `text` is the filter in force. `judge` says what of a filter means nothing, `names` is what Tab completes from,
    `history` are filters that were kept, oldest first.
    """

    class Changed(Message):
        """Posted when another filter applies."""

    def __init__(
        self, example: str, history: list[str], judge: Callable[[str], Sequence[str]], names: Callable[[], Names]
    ) -> None:
        super().__init__(id="filter")
        self.text = ""
        self._before = ""  # what was in force when typing began
        self._judge = judge
        self._input = TypedLine(example, history, names)
        self._below = Static("", id="complaint", markup=False)
        self.display = False

    def compose(self) -> ComposeResult:
        """Compose the line and its message."""
        with Horizontal(id="line"):
            yield Static(" / ", id="slash", markup=False)
            yield self._input
        yield self._below

    @property
    def typing(self) -> bool:
        """Whether keys go into the line."""
        return self._input.has_focus

    def open(self) -> None:
        """Focus the line."""
        if not self.typing:
            self._before = self.text
            self._input.begin()
        self._below.display = True
        self._show(True)
        self.screen.set_focus(self._input)  # at once: the next key may be here already
        self._say()

    def keep(self) -> None:
        """Apply what was typed and leave the line; stay if it means nothing."""
        self._apply()
        if not self._judge(self.text):
            self._input.remember(self.text)
            self._leave()

    def cancel(self) -> None:
        """Leave the line and restore the filter that applied before."""
        self.put(self._before)

    def put(self, text: str) -> None:
        """Apply a filter that was not typed; an empty one clears it."""
        self._input.value = text
        self._apply()
        self._leave()

    def _leave(self) -> None:
        self.screen.set_focus(None)
        self._below.display = False
        self._show(bool(self.text))

    def _show(self, shown: bool) -> None:
        self.display = shown
        self.screen.set_class(shown, "-filtered")

    def _apply(self) -> None:
        """Apply what is in the line, not what a message holds: that may be older."""
        text = self._input.value.strip()
        if text != self.text:
            self.text = text
            self.post_message(self.Changed())
        self._say()

    def _say(self) -> None:
        problems, offered = self._judge(self.text), self._input.offered
        self._below.set_class(bool(problems), "problem")
        if offered:
            first = max(self._input.place - 1, 0)
            self._below.update(shown("  ".join(offered[first : first + 8]), 300))
        else:
            self._below.update(shown("; ".join(problems) or HELP, 300))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._apply()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.keep()
