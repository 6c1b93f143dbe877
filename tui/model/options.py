"""What a dashboard is started with."""

from __future__ import annotations

from dataclasses import dataclass, field

from arbstr.dashboard_keys import DEFAULT_KEYS, Keymap
from tui.model.habits import Habits


@dataclass(frozen=True, slots=True)
class Options:
    """How a dashboard is to look and act.

    `theme` goes before the one in `habits`, which hold what was chosen the last time. `read_only`: no key changes
    anything of the proxy. `asks_to_quit`: the key that quits asks while requests run.
    """

    theme: str | None = None
    keymap: Keymap = field(default_factory=lambda: DEFAULT_KEYS)
    habits: Habits = field(default_factory=Habits)
    read_only: bool = False
    asks_to_quit: bool = True
