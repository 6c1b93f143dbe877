"""The line on top, which says how things stand, and the one at the bottom, which says what one can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from textual import events
from textual.message import Message

from tui.format import shown, uptime
from tui.lines import EMPTY, Line, Span, fit_line, spread, width_of
from tui.state import View
from tui.widgets.panel import Panel
from tui.widgets.providers import serving


class TopBar(Panel):
    """Name, address, how many providers serve, troubles, uptime, and whether the screen is live or frozen."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._line: tuple[Line, Line] = (EMPTY, EMPTY)

    def show(self, view: View, now_ms: int, *, frozen: bool, unseen: int, problem: str | None) -> None:
        """Show other values; `problem` is what the ledger's readers ran into."""
        left: Line = ((" arbstr", "title"), (f"  {view.address.removeprefix('http://')}  ", "muted"), *_providers(view))
        trouble = view.ledger_problem or problem
        if trouble is not None:
            left = (*left, ("  ", "text"), (f" ledger: {shown(trouble, 60)} ", "badge"))
        state: Line = (("▶ live ", "good"),)
        if frozen:
            state = ((f" ‖ frozen  +{unseen:,} new ", "badge"), (" ", "text"))
        self._line = (left, ((f"up {uptime(now_ms - view.started_at_ms)}  ", "muted"), *state))
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """One line; what is frozen is said before what is long."""
        left, right = self._line
        if width_of(left) + width_of(right) >= width:
            right = right[1:]
            left = fit_line(left, max(width - width_of(right) - 1, 0))
        return [spread(left, right, width)]


def _providers(view: View) -> Line:
    total, fit_ = len(view.providers), serving(view.providers)
    mark: Span = ("●", "good") if fit_ == total and total else ("◐", "warn") if fit_ else ("✕", "bad")
    words = f" {total} providers serving" if fit_ == total else f" {fit_} of {total} providers serving"
    if total == 1 and fit_:
        words = " 1 provider serving"
    fakes = total and all(each.key.startswith("mock-") for each in view.providers)
    return (mark, (words, "text"), ("  fake providers" if fakes else "", "warn"))


@dataclass(frozen=True, slots=True)
class KeyHint:
    """A key, what it does in a word, and the action behind it for the mouse."""

    key: str
    label: str
    action: str
    current: bool = False


class KeyBar(Panel):
    """Screens on the left, keys on the right; a click is as good as the key."""

    class Chosen(Message):
        """A hint was clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._screens: Sequence[KeyHint] = ()
        self._keys: Sequence[KeyHint] = ()

    def show(self, screens: Sequence[KeyHint], keys: Sequence[KeyHint]) -> None:
        """Show other hints. The last two keys are always shown; when room is short others go, the last ones first."""
        self._screens, self._keys = screens, keys
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """One line: all of it, or without two keys, or with names of screens left out, or with fewer keys."""
        screens, keys = _hints(self._screens), list(self._keys)
        if _fits(screens, keys, width):
            return [spread(screens, _hints(keys), width)]
        fewer = [*keys[:-4], *keys[-2:]]
        if _fits(screens, fewer, width):
            return [spread(screens, _hints(fewer), width)]
        short = _hints([hint if hint.current else replace(hint, label="") for hint in self._screens])
        while not _fits(short, keys, width) and len(keys) > 2:
            del keys[-3]
        return [spread(short, _hints(keys), width)]

    def on_click(self, event: events.Click) -> None:
        """Do what was clicked."""
        event.stop()
        x = 0
        actions = {hint.key: hint.action for hint in (*self._screens, *self._keys)}
        spans = self._lines[0] if self._lines else EMPTY
        for (key, role), (label, _) in pairwise((*spans, ("", "text"))):
            if role == "key" and x <= event.x < x + len(key) + len(label):
                self.post_message(self.Chosen(actions[key.strip()]))
                return
            x += len(key)


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
