"""Looks after money under way while arbstr runs: takes up what was interrupted, and notices what commands move."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from arbstr.errors import ArbstrError
from arbstr.market.money_journal import JournalBusy, has_moves, journal_path, opened

if TYPE_CHECKING:
    from arbstr.market.recovery import Resumed

logger = logging.getLogger(__name__)

LOOK_S = 2.0
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 600.0


class MoneyWatch:
    """Watches the journal of a configuration file; `on_moved` is called when money has moved, by this or a command."""

    def __init__(
        self,
        config: Path,
        environ: Mapping[str, str],
        transport: httpx.AsyncBaseTransport,
        *,
        on_moved: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._journal = journal_path(config)
        self._environ = environ
        self._transport = transport
        self._on_moved = on_moved
        self._clock = clock
        self._sleep = sleep
        self._stamp = self._changed_ns()
        self._due_s = clock()
        self._pause_s = _FIRST_PAUSE_S
        self._said: dict[str, str] = {}

    async def run(self) -> None:
        """Look at once, then again and again."""
        while True:
            if has_moves(self._journal) and self._clock() >= self._due_s:
                await self._resume()
                self._due_s = self._clock() + self._pause_s
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._notice()
            await self._sleep(LOOK_S)

    def _notice(self) -> None:
        stamp = self._changed_ns()
        if stamp != self._stamp:
            self._stamp = stamp
            self._pause_s = _FIRST_PAUSE_S
            self._on_moved()

    def _changed_ns(self) -> int:
        try:
            return self._journal.stat().st_mtime_ns
        except OSError:
            return 0

    async def _resume(self) -> None:
        """Settle what is under way, unless a command is at it."""
        from arbstr.market.recovery import into_file, resume  # noqa: PLC0415 - money is seldom under way

        try:
            with opened(self._journal, patience_s=0) as journal:
                async for resumed in resume(journal, self._config, self._environ, self._transport, into_file):
                    self._report(resumed)
        except JournalBusy:
            return
        except ArbstrError as error:
            self._say("", logging.WARNING, str(error))

    def _report(self, resumed: Resumed) -> None:
        from arbstr.market.settlement import NothingMoved, Waiting  # noqa: PLC0415 - as above

        failed = not (resumed.problem is None or isinstance(resumed.problem, NothingMoved | Waiting))
        hint = "; `arbstr recover` says more" if failed and "recover" not in resumed.text else ""
        self._say(resumed.move.id, logging.WARNING if failed else logging.INFO, f"{resumed.text}{hint}")

    def _say(self, about: str, level: int, text: str) -> None:
        """Log what has not been said already."""
        if self._said.get(about) != text:
            self._said[about] = text
            logger.log(level, "money under way: %s", text)
