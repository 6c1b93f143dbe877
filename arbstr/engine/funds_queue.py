"""Requests that wait for money: for what others hold of it, and right after the start for how much there is.

A provider reserves far more than most answers cost, and frees the rest within seconds; a 402 would end a client's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from arbstr.engine.node_funds import NodeFunds
from arbstr.errors import InsufficientBalance
from arbstr.types import Routing

WAIT_S = 30.0
UNREAD_S = 2.0  # after the first request: balances are read within moments, or not soon


class FundsQueue:
    """Those who wait, in the order of their arrival. `funds` are what can be spent, by provider."""

    def __init__(self, funds: Mapping[str, NodeFunds] = MappingProxyType({})) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.renew(funds)

    def renew(self, funds: Mapping[str, NodeFunds]) -> None:
        """Wait for these funds from now on; who waits for others still does."""
        self._funds = funds
        self._unread_until_s: float | None = None
        for each in funds.values():
            each.on_free = self._freed

    async def routed(self, route: Callable[[], Routing]) -> Routing:
        """Return what `route` returns; while only requests under way hold the money, wait, `WAIT_S` at most.

        Raises what `route` raises.
        """
        try:
            routing = route()
        except InsufficientBalance as error:
            refusal = error
        else:
            if not self._funds or not self._is_unread(routing):
                return routing
            await self._reading(routing)
            return await self._served(route)
        return await self._served(route, refusal)

    async def _served(self, route: Callable[[], Routing], refusal: InsufficientBalance | None = None) -> Routing:
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while refusal is None or refusal.until_freed:
                    if refusal is not None:
                        await self._change()
                    try:
                        return route()
                    except InsufficientBalance as error:
                        refusal = error
        assert refusal is not None
        raise refusal

    def _is_unread(self, routing: Routing) -> bool:
        """Return whether the first candidate's balance has not been read yet."""
        funds = self._funds.get(routing.candidates[0].provider)
        return funds is not None and not funds.is_read

    async def _reading(self, routing: Routing) -> None:
        """Wait until the first candidate's balance has been read, for as long as that may be soon."""
        now_s = asyncio.get_running_loop().time()
        self._unread_until_s = now_s + UNREAD_S if self._unread_until_s is None else self._unread_until_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._unread_until_s):
                while self._is_unread(routing):
                    await self._change()

    def _freed(self) -> None:
        """Let those who wait try again: money may have become free."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter
