"""Progress of the adoption of an earlier arbstr's rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

WORTH_SAYING = 10_000  # rows; fewer are adopted before the message could be read
_SAID_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` rows are adopted; no rows at all if there are none to adopt."""

    done: int = 0
    total: int = 0


class ProgressReport:
    """Logs the adoption's start, progress and end; calls `on_progress` with rows done and in all at each step."""

    def __init__(
        self, on_progress: Callable[[int, int], None], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_progress = on_progress
        self._monotonic = monotonic
        self._total = 0
        self._began = self._said = 0.0

    def update(self, progress: Progress) -> None:
        """Report new progress."""
        if progress.total > WORTH_SAYING:
            self._go_on(progress)
        elif self._total and not progress.total:
            self._end()

    def _go_on(self, progress: Progress) -> None:
        now = self._monotonic()
        if not self._total:
            self._began = self._said = now
            logger.info("adopting %s rows of an earlier arbstr; queries include them meanwhile", f"{progress.total:,}")
        elif now - self._said >= _SAID_EVERY_S:
            self._said = now
            percent = progress.done * 100 // progress.total
            logger.info("adopting rows of an earlier arbstr: %d %% of %s", percent, f"{progress.total:,}")
        self._total = progress.total
        self._on_progress(progress.done, progress.total)

    def _end(self) -> None:
        took_s = self._monotonic() - self._began
        logger.info("%s rows of an earlier arbstr are adopted, in %.1f s", f"{self._total:,}", took_s)
        self._on_progress(self._total, self._total)
        self._total = 0
