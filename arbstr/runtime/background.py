"""Work in the background, for as long as an exit stack is open."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any


def run_in_background(stack: AsyncExitStack, background: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in the background, and cancel it when the stack unwinds."""
    task = asyncio.create_task(background)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
