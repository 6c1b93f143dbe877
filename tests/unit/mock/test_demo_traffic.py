"""The demo's made-up clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

import pytest
from aiohttp import web

from arbstr.config.schema import Config, Mock, Policies, Rule
from arbstr.mock import DemoTraffic, FakeFleet
from arbstr.mock.demo_traffic import DemoRequest, demo_requests, pauses
from arbstr.redaction import Secret

TEMPO = 100.0


@dataclass
class FrontDoor:
    """Stands where the proxy would: notes what arrives, and answers at once, or never."""

    answers: bool = True
    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json())
        if not self.answers:
            try:
                await asyncio.Event().wait()
            finally:
                self.left += 1
        return web.json_response({})


@asynccontextmanager
async def front_door(*, answers: bool = True) -> AsyncIterator[FrontDoor]:
    door = FrontDoor(answers)
    app = web.Application(client_max_size=0)
    app.add_routes([web.post("/v1/chat/completions", door.take)])
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield door
    finally:
        await runner.cleanup()


@asynccontextmanager
async def closed_door() -> AsyncIterator[FrontDoor]:
    door = FrontDoor()

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        door.left += 1

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield door


@asynccontextmanager
async def demo(door: AbstractAsyncContextManager[FrontDoor], token: Secret | None = None) -> AsyncIterator[FrontDoor]:
    """The door while the made-up clients come, in a great hurry."""
    async with (
        FakeFleet(Config()) as market,
        door as opened,
        DemoTraffic(opened.url, market, seed=1, token=token, tempo=TEMPO),
    ):
        yield opened


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for rings no bell
            await asyncio.sleep(0.005)


async def errands(count: int, *, seed: int = 1) -> list[DemoRequest]:
    async with FakeFleet(Config()) as market:
        return list(islice(demo_requests(market.config, Random(seed)), count))


# --- what they ask


async def test_requests_vary_in_model_policy_streaming_and_length() -> None:
    asked = await errands(400)
    assert len({errand.body["model"] for errand in asked}) >= 4
    assert {errand.policy for errand in asked} == {None, "code", "fast", "frugal"}
    assert 0.6 < sum("stream" in errand.body for errand in asked) / len(asked) < 0.8
    assert 0.01 < sum(errand.patience_s < 5 for errand in asked) / len(asked) < 0.12
    lengths = sorted(sum(len(message["content"]) for message in errand.body["messages"]) for errand in asked)
    assert lengths[20] < 1600 < lengths[200] < 8000 < lengths[-20]


async def test_a_rule_is_named_only_for_models_it_allows() -> None:
    async with FakeFleet(Config()) as market:
        rules = {rule.name: rule for rule in market.config.policies.rules}
    for errand in await errands(300):
        assert errand.policy is None or rules[errand.policy].allows(errand.body["model"])


async def test_some_requests_are_recognised_by_what_they_say() -> None:
    unnamed = [errand for errand in await errands(100) if errand.policy is None]
    words = [errand.body["messages"][-1]["content"].casefold() for errand in unnamed]
    assert 10 < sum("function" in text or "code" in text for text in words) < 80


async def test_the_same_seed_makes_the_same_requests() -> None:
    assert await errands(20, seed=7) == await errands(20, seed=7) != await errands(20, seed=8)


async def test_the_configured_seed_counts_where_no_other_is_given() -> None:
    first = []
    for _ in range(2):
        async with FakeFleet(Config(mock=Mock(seed=5))) as market, front_door() as door:
            async with DemoTraffic(door.url, market):
                await until(lambda: bool(door.bodies))
            first.append(door.bodies[0])
    assert first[0] == first[1]


def test_a_configuration_without_models_or_rules_is_asked_for_a_model_everybody_knows() -> None:
    errand = next(demo_requests(Config(), Random(1)))
    assert (errand.body["model"], errand.policy) == ("gpt-4o-mini", None)


def test_a_rule_whose_name_fits_in_no_header_is_not_named() -> None:
    config = Config(policies=Policies(rules=(Rule(name="günstig"),)))
    assert {errand.policy for errand in islice(demo_requests(config, Random(1)), 50)} == {None}


# --- when they ask


def test_requests_come_at_once_and_then_one_to_three_a_second_with_bursts() -> None:
    waits = list(islice(pauses(Random(1)), 2000))
    assert sum(waits[:5]) < 1.0
    assert 1.0 < len(waits) / sum(waits) < 3.0
    assert waits[100:].count(0.05) > 100


# --- over HTTP


async def test_requests_arrive_at_the_proxy_with_its_token() -> None:
    token = Secret("let-me-in-please")
    async with demo(front_door(), token=token) as door:
        await until(lambda: len(door.bodies) >= 30)
    assert all(headers["Authorization"] == "Bearer let-me-in-please" for headers in door.headers)
    assert any("X-Arbstr-Policy" in headers for headers in door.headers)
    assert all(body["messages"] for body in door.bodies)


async def test_without_a_token_none_is_sent() -> None:
    async with demo(front_door()) as door:
        await until(lambda: bool(door.headers))
    assert "Authorization" not in door.headers[0]


async def test_some_clients_leave_before_they_have_their_answer() -> None:
    async with demo(front_door(answers=False)) as door:
        await until(lambda: door.left > 0)


async def test_sellers_fail_for_a_while_and_are_well_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[str, str]] = []
    async with FakeFleet(Config()) as market, front_door() as door:
        monkeypatch.setattr(market, "fail", lambda name, status: happened.append(("fails", name)))
        monkeypatch.setattr(market, "recover", lambda name: happened.append(("recovers", name)))
        async with DemoTraffic(door.url, market, seed=1, tempo=1000):
            await until(lambda: len(happened) >= 5)
    assert [what for what, _ in happened] == ["fails", "recovers"] * (len(happened) // 2)
    assert all(one == other for (_, one), (_, other) in zip(happened[::2], happened[1::2], strict=True))
    assert {name for _, name in happened} <= set(market.names)


# --- the end


async def test_the_end_comes_at_once_and_quietly_with_requests_under_way(caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    async with FakeFleet(Config()) as market, front_door(answers=False) as door:
        async with DemoTraffic(door.url, market, seed=1):
            await until(lambda: len(door.bodies) >= 2)
            loop = asyncio.get_running_loop()
            started = loop.time()
        assert loop.time() - started < 1.0
        await until(lambda: door.left == len(door.bodies))
    assert asyncio.all_tasks() == before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_proxy_that_hangs_up_disturbs_nobody() -> None:
    async with demo(closed_door()) as door:
        await until(lambda: door.left >= 20)


async def test_an_end_right_after_the_beginning() -> None:
    async with FakeFleet(Config()) as market, DemoTraffic("http://127.0.0.1:9", market):
        pass
