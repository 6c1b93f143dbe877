"""The source of this process and the one that watches it from elsewhere give the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from arbstr.errors import ArbstrError, LedgerUnavailable
from arbstr.events import Event, RequestFinished
from arbstr.ledger.model import Filter, LedgerQueries
from arbstr.monitoring.remote_ledger import RemoteLedger
from arbstr.monitoring.remote_link import LinkLost, NotWatchable, RemoteLink
from arbstr.monitoring.remote_source import RemoteSource, remote_source
from arbstr.monitoring.source import Snapshot, Source
from arbstr.redaction import Secret
from tests.support.harness import Arbstr, ProxyHarness
from tests.support.patience import PATIENCE_S
from tests.support.provider import chunk, completion, error_reply, json_reply, sse_reply, stream_events

TOKEN = "the-operator's-token-0123456789"


async def busy(harness: ProxyHarness, **sections: Any) -> Arbstr:
    """An arbstr with rows of every kind, a budget, a policy, and learned figures."""
    await harness.add_provider("alpha", error_reply(500), json_reply(completion()), sse_reply(*stream_events("a")))
    await harness.add_provider("beta", json_reply(completion(cost_msats=90)), models=(), input_rate=20)
    rule = {"name": "code", "keywords": ["code"], "max_sats_per_day": 900}
    given = {"retry": {"backoff": 0, "max_retries": 0}, "policies": {"rules": [rule]}} | sections
    arbstr = await harness.start(budget={"max_sats_per_day": 1000}, **given)
    headers = {"Authorization": f"Bearer {TOKEN}"} if sections else None
    for fields in ({}, {"content": "code"}, {"stream": True}, {"model": "nonsense"}):
        await arbstr.chat(headers=headers, **fields)
    await arbstr.finished(4)
    return arbstr


async def until(true: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true")


@asynccontextmanager
async def both(arbstr: Arbstr) -> AsyncIterator[tuple[Source, RemoteSource]]:
    async with remote_source(arbstr.url, None) as remote:
        yield arbstr.source, remote


def settled(snapshot: Snapshot) -> Snapshot:
    """A snapshot without what depends on the moment."""
    providers = tuple(replace(each, list_age_s=None) for each in snapshot.providers)
    return replace(snapshot, at_ms=0, providers=providers)


async def test_snapshots_are_the_same_at_the_beginning_and_after_more_has_happened(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    async with both(arbstr) as (local, remote):
        assert settled(remote.snapshot()) == settled(local.snapshot())
        for content in ("one", "code two"):
            await arbstr.chat(content)
        await until(lambda: settled(remote.snapshot()) == settled(local.snapshot()))


async def test_requests_that_run_are_the_same(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), chunk("b"), go_on, *stream_events("c")))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"b"')
        async with both(arbstr) as (local, remote):
            assert remote.snapshot().running == local.snapshot().running != ()
            async with arbstr.stream() as another:
                await another.until(b'"b"')
                await until(lambda: len(remote.snapshot().running) == 2)
                named = [(each.request_id, each.model, each.provider) for each in local.snapshot().running]
                assert [(each.request_id, each.model, each.provider) for each in remote.snapshot().running] == named
                go_on.set()
                await another.rest()
            await until(lambda: not remote.snapshot().running)


async def test_subscribers_hear_the_same_events(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    async with both(arbstr) as (local, remote):
        here, there = local.subscribe(), remote.subscribe()
        await arbstr.chat()
        expected: list[Event] = []
        while not any(isinstance(event, RequestFinished) for event in expected):
            expected.append(await here.next())
        async with asyncio.timeout(PATIENCE_S):
            assert [await there.next() for _ in expected] == expected


Query = Callable[[LedgerQueries], Any]
WHERE = Filter(success=True, models=("gpt-4o", None), without_texts=("zzz",), max_cost_msats=10**9, open_end=True)
QUERIES: dict[str, Query] = {
    "stats": lambda ledger: ledger.stats(Filter()),
    "stats by model": lambda ledger: ledger.stats(WHERE, "model"),
    "stats by hour": lambda ledger: ledger.stats(Filter(since_ms=0, until_ms=3_600_000 * 3), "hour"),
    "page": lambda ledger: ledger.page(Filter(), "cost_sats", "asc", 1, 3),
    "slice": lambda ledger: ledger.slice(WHERE, before=None, limit=2),
    "count": lambda ledger: ledger.count(WHERE),
    "no request": lambda ledger: ledger.request("nobody's"),
    "known": lambda ledger: ledger.known("model", "GPT-4o"),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_the_ledger_answers_the_same(harness: ProxyHarness, name: str) -> None:
    arbstr = await busy(harness)
    await arbstr.rows(4)
    async with both(arbstr) as (local, remote):
        assert await QUERIES[name](remote.ledger) == await QUERIES[name](local.ledger)


async def test_requests_in_full_the_rest_of_a_list_and_exports_are_the_same(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    rows = await arbstr.rows(4)
    async with both(arbstr) as (local, remote):
        for row in rows:
            assert await remote.ledger.request(row["request_id"]) == await local.ledger.request(row["request_id"])
        first = await remote.ledger.slice(Filter(), before=None, limit=1)
        rest = await remote.ledger.slice(Filter(), before=first[0], limit=10)
        assert [*first, *rest] == await local.ledger.slice(Filter(), before=None, limit=10)
        here = [entry async for entry in local.ledger.entries(Filter(), "latency_ms", "desc", None)]
        assert [entry async for entry in remote.ledger.entries(Filter(), "latency_ms", "desc", None)] == here
        assert len(here) == 4


async def test_offers_are_the_same(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    async with both(arbstr) as (local, remote):
        assert await remote.offers(("gpt-4o", "nobody's")) == await local.offers(("gpt-4o", "nobody's"))


def test_every_query_of_the_ledger_can_be_asked_from_elsewhere() -> None:
    asked = {name for name in vars(LedgerQueries) if not name.startswith("_")}
    assert asked <= set(vars(RemoteLedger))


async def test_log_lines_come_over(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    async with both(arbstr) as (_, remote):
        answer = await arbstr.chat()
        request_id = answer.headers["X-Arbstr-Request-Id"]
        await until(lambda: any(request_id in line.text for line in remote.log.since()))


async def test_it_only_watches(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    async with both(arbstr) as (local, remote):
        assert local.link is None
        assert remote.link.url == arbstr.url
        with pytest.raises(ArbstrError, match="only watches"):
            remote.set_in_rotation("alpha", in_rotation=False)
        with pytest.raises(ArbstrError, match="only watches"):
            remote.close_breaker("alpha")
        assert local.snapshot().providers[0].in_rotation


async def test_a_token_opens_it_and_its_lack_or_error_is_one_sentence(harness: ProxyHarness) -> None:
    arbstr = await busy(harness, server={"auth_token": TOKEN})
    with pytest.raises(NotWatchable, match="needs a token: set ARBSTR_TOKEN") as lack:
        async with remote_source(arbstr.url, None):
            pass
    assert lack.value.wants_token
    with pytest.raises(NotWatchable, match="refuses the token") as wrong:
        async with remote_source(arbstr.url, Secret("a-wrong-token-0123456789")):
            pass
    assert "a-wrong" not in str(wrong.value)
    async with remote_source(arbstr.url, Secret(TOKEN)) as remote:
        assert await remote.ledger.count(Filter()) == 4
        assert TOKEN not in repr(remote.snapshot())


async def test_what_is_no_arbstr_is_said_in_one_sentence(harness: ProxyHarness) -> None:
    other = await harness.add_provider("alpha", json_reply({"hello": "world"}))
    with pytest.raises(NotWatchable, match="is no arbstr"):
        async with remote_source(other.url.removesuffix("/v1"), None):
            pass
    with pytest.raises(LinkLost, match=r"no arbstr answers at http://127\.0\.0\.1:9: connection refused"):
        async with remote_source("http://127.0.0.1:9", None):
            pass


async def test_an_outage_is_said_and_ends_with_what_was_missed(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    link = RemoteLink(arbstr.url, None)
    remote = RemoteSource(link, random=lambda: 0.0, first_wait_s=0.01)
    following = asyncio.create_task(remote.follow())
    await remote.begun.wait()
    feed = arbstr.proxy._lasting.feed
    mailbox = remote.subscribe()
    feed.end_watchers()
    await until(lambda: remote.link.outage is not None)
    assert remote.link.outage is not None
    assert "it ended the connection" in remote.link.outage.reason
    await arbstr.chat()
    await until(lambda: remote.link.outage is None and remote.snapshot().totals.requests == 5)
    assert mailbox.missed == 0, "the events were resumed"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await link.close()


async def test_without_a_connection_the_ledger_cannot_be_read(harness: ProxyHarness) -> None:
    link = RemoteLink("http://127.0.0.1:9", None)
    ledger = RemoteLedger(link)
    with pytest.raises(LedgerUnavailable):
        await ledger.count(Filter())
    with pytest.raises(LedgerUnavailable):
        _ = [entry async for entry in ledger.entries(Filter(), "timestamp", "desc", None)]
    await link.close()
