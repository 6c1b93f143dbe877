"""Notices that the configuration file has changed, however it was: written, replaced, another link, another mode.

It is read each second, for its times may be the same: of a file system with coarse ones, or of a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

LOOK_S = 1.0
STILL_S = 0.3  # how long it must be as it is: it may be written in pieces


async def watch(
    look: Callable[[], str],
    known: Callable[[], str],
    changed: Callable[[], Awaitable[object]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `changed` whenever what `look` returns is no longer what is `known`, and still; the owner cancels it.

    What `changed` reads, and what others read, is `known` from then on. `look` runs on a thread: a network's disk may
    hang.
    """
    while True:
        await sleep(LOOK_S)
        seen = await asyncio.to_thread(look)
        if seen == known():
            continue
        await sleep(STILL_S)
        while (now := await asyncio.to_thread(look)) != seen:
            seen = now
            await sleep(STILL_S)
        if seen != known():
            await changed()
