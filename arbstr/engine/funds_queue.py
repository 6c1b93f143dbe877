"""Requests that nobody can serve now only because others hold the money: they wait until some of it is free.

A provider reserves far more than most answers cost, and frees the rest within seconds; a 402 would end a client's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from arbstr.errors import InsufficientBalance
from arbstr.types import Routing

WAIT_S = 30.0


class FundsQueue:
    """Those who wait, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def freed(self) -> None:
        """Let those who wait try again: money may have become free."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def routed(self, route: Callable[[], Routing]) -> Routing:
        """Return what `route` returns; while only requests under way hold the money, wait, `WAIT_S` at most.

        Raises what `route` raises.
        """
        try:
            return route()
        except InsufficientBalance as error:
            refusal = error
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while refusal.until_freed:
                    await self._change()
                    try:
                        return route()
                    except InsufficientBalance as error:
                        refusal = error
        raise refusal

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter
