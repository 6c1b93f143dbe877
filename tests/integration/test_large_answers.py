"""Large answers: whatever it takes to judge one, the loop goes on for others."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.support.harness import ProxyHarness
from tests.support.provider import completion, reply

NUMBERS = "%2D"  # a character written by its number, as a key may be: each has to be looked at


@pytest.mark.parametrize(
    ("status", "document"),
    [(200, completion(NUMBERS * 2_000_000)), (400, {"error": {"message": NUMBERS * 300_000}})],
    ids=["an answer", "a refusal"],
)
async def test_an_answer_that_takes_long_to_mask_holds_up_nobody(
    harness: ProxyHarness, status: int, document: dict[str, object]
) -> None:
    await harness.add_provider("alpha", reply(json.dumps(document).encode(), status=status))
    arbstr = await harness.start()
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    assert (await arbstr.chat()).status == status
    watching.cancel()
    assert longest_s < 0.1
