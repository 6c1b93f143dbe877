"""What providers took lately for no request that is known."""

from __future__ import annotations

from arbstr.events import UnexplainedCharge
from tui.format import shown

SHOWN_MS = 600_000


class Unexplained:
    """Sums unexplained charges by provider, for ten minutes after the last."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[int, int]] = {}  # msats, and when

    def add(self, event: UnexplainedCharge) -> None:
        """Count a charge; a negative one takes back what is explained now."""
        msats, at_ms = self._taken.get(event.provider, (0, event.at_ms))
        before = msats if event.at_ms - at_ms < SHOWN_MS else 0
        self._taken[event.provider] = max(0, before + event.msats), event.at_ms

    def at(self, now_ms: int) -> tuple[tuple[str, int], ...]:
        """Return who took what, in msats."""
        lately = ((name, msats) for name, (msats, at_ms) in self._taken.items() if now_ms - at_ms < SHOWN_MS)
        return tuple((shown(name, 40), msats) for name, msats in lately if msats)
