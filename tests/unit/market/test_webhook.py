"""The queue of alerts: bounded, tried again with growing pauses, given up in the end."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest

from arbstr.market import webhook
from arbstr.market.webhook import MOST_WAITING, TRIES, Turn, Webhook
from arbstr.redaction import Redactor, Secret

URL, KEY = Secret("https://hooks.example/services/t0ken-in-the-path"), Secret("sk-0123456789abcdef")


class Hook:
    """A webhook, and what it was sent; it answers with this status."""

    def __init__(self, status: int) -> None:
        self.bodies: list[bytes] = []
        self.pauses: list[float] = []
        self._posted = asyncio.Semaphore(0)
        self._status = status
        self.webhook = Webhook(URL, None, httpx.MockTransport(self._take), Redactor([URL, KEY]), sleep=self._sleep)

    async def _take(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        self._posted.release()
        assert "X-Arbstr-Signature" not in request.headers
        return httpx.Response(self._status, content=b"")

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def runs(self, posts: int) -> None:
        """Post until so many posts were made, and no more are."""
        task = asyncio.create_task(self.webhook.run())
        for _ in range(posts):
            await self._posted.acquire()
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Shared:
    """An alert that others hear of too: whose turn it is, time after time, and whether it was said to be posted."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = list(turns)
        self.was_posted = False

    async def ask(self, own_id: str) -> Turn:
        turn = self.turns.pop(0)
        return Turn(own_id) if turn.id == "own" else turn

    def posted(self) -> None:
        self.was_posted = True


async def test_of_a_crowd_the_latest_are_posted_in_order() -> None:
    hook = Hook(204)
    for number in range(MOST_WAITING + 20):
        hook.webhook.put({"number": number})
    await hook.runs(MOST_WAITING)
    assert [json.loads(body)["number"] for body in hook.bodies] == list(range(20, MOST_WAITING + 20))


async def test_what_another_instance_has_posted_is_not_posted() -> None:
    others, ours = Shared(Turn(None)), Shared(Turn("own"))
    hook = Hook(204)
    hook.webhook.put({"number": 1}, others)
    hook.webhook.put({"number": 2}, ours)
    await hook.runs(1)
    assert [json.loads(body)["number"] for body in hook.bodies] == [2]
    assert (others.was_posted, ours.was_posted) == (False, True)


async def test_what_another_instance_has_claimed_and_not_posted_is_posted_by_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "LEAST_WAIT_S", 0.0)
    shared = Shared(Turn(None, in_s=0.001), Turn(None, in_s=-1.0), Turn("theirs"))
    hook = Hook(204)
    hook.webhook.put({"number": 1}, shared)
    await hook.runs(1)
    assert [json.loads(body) for body in hook.bodies] == [{"id": "theirs", "number": 1}]
    assert shared.was_posted


async def test_each_alert_has_an_id_of_its_own_which_stays_when_it_is_tried_again() -> None:
    hook = Hook(503)
    for number in range(2):
        hook.webhook.put({"number": number})
    await hook.runs(2 * TRIES)
    ids = [json.loads(body)["id"] for body in hook.bodies]
    assert len(set(ids[:TRIES])) == len(set(ids[TRIES:])) == 1
    assert len(set(ids)) == 2


async def test_who_does_not_reach_the_webhook_claims_nothing_from_others() -> None:
    first, second = Shared(Turn("own")), Shared(Turn("own"))
    hook = Hook(503)
    for shared in (first, second):
        hook.webhook.put({"number": 1}, shared)
    await hook.runs(2 * TRIES)
    assert len(hook.bodies) == 2 * TRIES
    assert (len(first.turns), len(second.turns)) == (0, 1)
    assert not first.was_posted


async def test_an_alert_that_is_not_taken_is_given_up_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    hook = Hook(404)
    hook.webhook.put({"number": 1})
    with caplog.at_level(logging.WARNING):
        await hook.runs(TRIES)
    assert len(hook.bodies) == TRIES
    assert hook.pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert "did not take one in 6 tries: HTTP 404" in caplog.text
    assert "t0ken-in-the-path" not in caplog.text


async def test_no_secret_leaves_with_an_alert() -> None:
    hook = Hook(200)
    hook.webhook.put({"reason": f"the key {KEY.reveal()} is wrong"})
    await hook.runs(1)
    assert KEY.reveal().encode() not in hook.bodies[0]
    assert json.loads(hook.bodies[0])
