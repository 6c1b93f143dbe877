"""Toasts that wait to be shown: of several at once the errors and the last one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from textual.notifications import Notification


class Toasts:
    """Gathers what is to be said, and knows whether an error is on the screen."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: list[Notification] = []
        self._error_until = float("-inf")

    @property
    def waiting(self) -> bool:
        """Check whether there is any to show."""
        return bool(self._waiting)

    @property
    def error_shown(self) -> bool:
        """Check whether an error is on the screen, which others must not replace."""
        return self._clock() < self._error_until

    def add(self, toast: Notification) -> None:
        """Add one to show; of those that wait already the errors stay."""
        self._waiting = [*(each for each in self._waiting if each.severity == "error"), toast]

    def take(self) -> Sequence[Notification]:
        """Return those that wait: they are on the screen from now on."""
        taken, self._waiting = self._waiting, []
        for each in taken:
            if each.severity == "error":
                self._error_until = self._clock() + each.timeout
        return taken
