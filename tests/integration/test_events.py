"""`/v1/events` and its questions over real sockets: what a dashboard elsewhere gets of a running arbstr."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from arbstr.config.clients import digest_of
from arbstr.events import StreamProgress
from tests.support.harness import SEPARATOR, Answer, Arbstr, ProxyHarness, Stream, key_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import completion, json_reply

TOKEN = "the-operator's-token-0123456789"


@asynccontextmanager
async def watching(arbstr: Arbstr, **headers: str) -> AsyncIterator[Stream]:
    async with arbstr.session.get(f"{arbstr.url}/v1/events", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response)


async def ask(arbstr: Arbstr, question: Any, **headers: str) -> Answer:
    async with arbstr.session.post(f"{arbstr.url}/v1/events/query", json=question, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


def ids(seen: bytes) -> list[str]:
    return [line.removeprefix(b"id: ").decode() for line in seen.split(b"\n") if line.startswith(b"id: ")]


async def test_a_watcher_gets_a_snapshot_and_then_what_happens(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion()))
    arbstr = await harness.start()
    before = await arbstr.chat()
    await arbstr.row(before)
    async with watching(arbstr) as stream:
        snapshot = await stream.until(SEPARATOR)
        assert snapshot.split(b"\n")[1] == b"event: snapshot"
        data = json.loads(snapshot.split(b"\n")[2].removeprefix(b"data: "))
        assert [record["request_id"] for record in data["recent"]] == [before.headers["X-Arbstr-Request-Id"]]
        assert data["snapshot"]["totals"]["requests"] == 1
        after = await arbstr.chat()
        finished = await stream.until(b"event: request_finished\n")
        await stream.until(after.headers["X-Arbstr-Request-Id"].encode())
    assert b"event: request_received\n" in finished
    assert key_of("alpha").encode() not in stream.seen


async def test_several_watch_at_once_and_one_that_left_continues(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion()))
    arbstr = await harness.start()
    async with watching(arbstr) as one, watching(arbstr) as two:
        last = ids(await one.until(SEPARATOR))[-1]
        await two.until(SEPARATOR)
        one.leave()
        await arbstr.chat()
        await two.until(b"event: request_finished\n")
        async with watching(arbstr, **{"Last-Event-ID": last}) as again:
            seen = await again.until(b"event: request_finished\n")
    assert b"event: snapshot" not in seen
    assert b"event: request_received\n" in seen


async def test_a_watcher_that_leaves_is_forgotten(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    feed = arbstr.proxy._lasting.feed
    async with watching(arbstr) as stream:
        await stream.until(SEPARATOR)
        assert feed.watchers == 1
        stream.leave()
    async with asyncio.timeout(PATIENCE_S):
        while feed.watchers:
            await arbstr.catch_up()


async def test_events_that_only_dashboards_want_are_not_made_without_one(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    arbstr.stop_watching()
    bus = arbstr.proxy._lasting.bus
    assert not bus.is_heard(StreamProgress)
    async with watching(arbstr) as stream:
        await stream.until(SEPARATOR)
        assert bus.is_heard(StreamProgress)


async def test_a_shutdown_ends_the_watchers_at_once_though_requests_have_time(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    async with watching(arbstr) as stream:
        await stream.until(SEPARATOR)
        draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
        await stream.rest()
        assert not draining.done()
    refused = await arbstr.get("/v1/events")
    assert refused.refusal == (503, "upstream_error", "shutting_down")
    go_on.set()
    assert (await task).status == 200
    await draining


async def test_events_need_the_token_and_an_allowed_host_and_origin(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.get("/v1/events")).refusal == (401, "authentication_error", "invalid_api_key")
    assert (await ask(arbstr, {"ask": "count", "where": {}})).status == 401
    token = {"Authorization": f"Bearer {TOKEN}"}
    wrong = await arbstr.get("/v1/events", headers={**token, "Host": "evil.example"})
    assert wrong.refusal == (403, "permission_error", "forbidden_host")
    page = await arbstr.get("/v1/events", headers={**token, "Origin": "https://evil.example"})
    assert page.refusal == (403, "permission_error", "forbidden_origin")
    async with watching(arbstr, **token) as stream:
        await stream.until(SEPARATOR)
    assert TOKEN.encode() not in stream.seen
    assert (await ask(arbstr, {"ask": "count", "where": {}}, **token)).json == {"answer": 0}


async def test_a_clients_key_opens_no_events(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    client = {"name": "laptop", "key_sha256": digest_of("a-key-of-its-own")}
    arbstr = await harness.start(server={"auth_token": TOKEN}, clients=[client])
    key = {"Authorization": "Bearer a-key-of-its-own"}
    assert (await arbstr.get("/v1/events", headers=key)).refusal == (403, "permission_error", "forbidden")
    assert (await ask(arbstr, {"ask": "count", "where": {}}, **key)).status == 403


async def test_a_new_token_ends_those_who_watch_by_the_old_one(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    async with watching(arbstr, Authorization=f"Bearer {TOKEN}") as stream:
        await stream.until(SEPARATOR)
        harness.sections = {"server": {"auth_token": "another-token-0123456789"}}
        assert (await arbstr.proxy.reloads.reload()).problems == ()
        await stream.rest()


async def test_a_head_request_does_not_watch(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.get("/v1/events", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({}, "ask is one of stats, page,"),
        ({"ask": "__class__"}, "ask is one of"),
        ({"ask": "stats"}, "where: Field required"),
        ({"ask": "stats", "where": {"since_ms": "noon"}}, "where.since_ms"),
        ({"ask": "count", "where": {}, "more": 1}, "more: Extra inputs"),
        ({"ask": "page", "where": {}, "sort": "id", "order": "desc", "page": 1, "per_page": 1}, "sort: "),
        ({"ask": "slice", "where": {"since_ms": 2**63}, "before": None, "limit": 1}, "too large"),
    ],
)
async def test_a_question_that_nobody_can_answer_is_refused_by_name(
    harness: ProxyHarness, question: dict[str, Any], says: str
) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await ask(arbstr, question)
    assert answer.refusal == (400, "invalid_request_error", "invalid_parameter")
    assert says in answer.error["message"]


async def test_all_entries_come_in_batches_and_with_an_end(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion()))
    arbstr = await harness.start()
    for _ in range(3):
        await arbstr.row(await arbstr.chat())
    question: dict[str, Any] = {"ask": "entries", "where": {}, "sort": "timestamp", "order": "asc", "limit": None}
    answer = await ask(arbstr, question)
    batch, end = answer.body.removesuffix(SEPARATOR).split(SEPARATOR)
    assert [entry["id"] for entry in json.loads(batch.removeprefix(b"data: "))] == [1, 2, 3]
    assert end == b"event: end\ndata: {}"
