"""The demo's made-up clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession, web

from arbstr.config.schema import Config, Mock, Policies, Rule
from arbstr.mock import DemoTraffic, FakeFleet
from arbstr.mock.demo_traffic import DemoRequest, demo_requests, pauses
from arbstr.redaction import Secret
from tests.support.patience import PATIENCE_S

TEMPO = 100.0


@dataclass
class FakeArbstr:
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
async def fake_arbstr(*, answers: bool = True) -> AsyncIterator[FakeArbstr]:
    arbstr = FakeArbstr(answers)
    app = web.Application(client_max_size=0)
    app.add_routes([web.post("/v1/chat/completions", arbstr.take)])
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    arbstr.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield arbstr
    finally:
        await runner.cleanup()


@asynccontextmanager
async def resetting_arbstr() -> AsyncIterator[FakeArbstr]:
    arbstr = FakeArbstr()

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        arbstr.left += 1

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        arbstr.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield arbstr


@asynccontextmanager
async def demo(
    arbstr: AbstractAsyncContextManager[FakeArbstr], token: Secret | None = None
) -> AsyncIterator[FakeArbstr]:
    """A fake arbstr while the demo traffic comes, at a high tempo."""
    async with (
        FakeFleet(Config()) as fleet,
        arbstr as opened,
        DemoTraffic(opened.url, fleet, seed=1, token=token, tempo=TEMPO),
    ):
        yield opened


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for rings no bell
            await asyncio.sleep(0.005)


async def generated(count: int, *, seed: int = 1) -> list[DemoRequest]:
    async with FakeFleet(Config()) as fleet:
        return list(islice(demo_requests(fleet.config, Random(seed)), count))


# --- what they ask


async def test_requests_vary_in_model_policy_streaming_and_length() -> None:
    asked = await generated(400)
    assert len({request.body["model"] for request in asked}) >= 4
    assert {request.policy for request in asked} == {None, "code", "fast", "frugal"}
    assert 0.6 < sum("stream" in request.body for request in asked) / len(asked) < 0.8
    assert 0.01 < sum(request.patience_s < 5 for request in asked) / len(asked) < 0.12
    lengths = sorted(sum(len(message["content"]) for message in request.body["messages"]) for request in asked)
    assert lengths[20] < 1600 < lengths[200] < 8000 < lengths[-20]


async def test_a_rule_is_named_only_for_models_it_allows() -> None:
    async with FakeFleet(Config()) as fleet:
        rules = {rule.name: rule for rule in fleet.config.policies.rules}
    for request in await generated(300):
        assert request.policy is None or rules[request.policy].allows(request.body["model"])


async def test_some_requests_are_recognised_by_what_they_say() -> None:
    unnamed = [request for request in await generated(100) if request.policy is None]
    words = [request.body["messages"][-1]["content"].casefold() for request in unnamed]
    assert 10 < sum("function" in text or "code" in text for text in words) < 80


async def test_conversations_go_on_with_all_that_was_said_before_and_fill_the_providers_caches() -> None:
    asked = await generated(200)
    before: dict[str, DemoRequest] = {}
    going_on = 0
    for request in asked:
        opening = str(request.body["messages"][:-2])
        if opening in before:
            earlier = before[opening]
            going_on += 1
            assert (earlier.body["model"], earlier.policy) == (request.body["model"], request.policy)
            assert [message["role"] for message in request.body["messages"][-2:]] == ["assistant", "user"]
        before[str(request.body["messages"])] = request
    assert 70 < going_on < 130
    async with FakeFleet(Config()) as fleet:
        used = [
            one
            for first in range(0, 40, 10)  # answers take their time, and some are waited for together
            for one in await asyncio.gather(*[usage_at(fleet, request) for request in asked[first : first + 10]])
        ]
    assert sum(each["prompt_tokens_details"]["cached_tokens"] for each in used) > 10_000


async def usage_at(fleet: FakeFleet, request: DemoRequest) -> dict[str, Any]:
    """What a provider of the fleet says of the tokens of a request."""
    provider = fleet.config.providers[0]
    body = {**request.body, "model": "gpt-4o", "stream": False, "max_tokens": 1}
    headers = {"Authorization": f"Bearer {provider.api_key.reveal()}"} if provider.api_key else {}
    url = f"{provider.url}/chat/completions"
    async with ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        usage: dict[str, Any] = (await response.json())["usage"]
        return usage


async def test_the_same_seed_makes_the_same_requests() -> None:
    assert await generated(20, seed=7) == await generated(20, seed=7) != await generated(20, seed=8)


async def test_the_configured_seed_counts_where_no_other_is_given() -> None:
    first = []
    for _ in range(2):
        async with FakeFleet(Config(mock=Mock(seed=5))) as fleet, fake_arbstr() as arbstr:
            async with DemoTraffic(arbstr.url, fleet):
                await until(lambda: bool(arbstr.bodies))
            first.append(arbstr.bodies[0])
    assert first[0] == first[1]


def test_a_configuration_without_models_or_rules_is_asked_for_a_model_everybody_knows() -> None:
    request = next(demo_requests(Config(), Random(1)))
    assert (request.body["model"], request.policy) == ("gpt-4o-mini", None)


def test_a_rule_whose_name_fits_in_no_header_is_not_named() -> None:
    config = Config(policies=Policies(rules=(Rule(name="günstig"),)))
    assert {request.policy for request in islice(demo_requests(config, Random(1)), 50)} == {None}


# --- when they ask


def test_requests_come_at_once_and_then_one_to_three_a_second_with_bursts() -> None:
    waits = list(islice(pauses(Random(1)), 2000))
    assert sum(waits[:5]) < 1.0
    assert 1.0 < len(waits) / sum(waits) < 3.0
    assert waits[100:].count(0.05) > 100


# --- over HTTP


async def test_requests_arrive_at_the_proxy_with_its_token() -> None:
    token = Secret("let-me-in-please")
    async with demo(fake_arbstr(), token=token) as arbstr:
        await until(lambda: len(arbstr.bodies) >= 30)
    assert all(headers["Authorization"] == "Bearer let-me-in-please" for headers in arbstr.headers)
    assert any("X-Arbstr-Policy" in headers for headers in arbstr.headers)
    assert all(body["messages"] for body in arbstr.bodies)


async def test_without_a_token_none_is_sent() -> None:
    async with demo(fake_arbstr()) as arbstr:
        await until(lambda: bool(arbstr.headers))
    assert "Authorization" not in arbstr.headers[0]


async def test_some_clients_leave_before_they_have_their_answer() -> None:
    async with demo(fake_arbstr(answers=False)) as arbstr:
        await until(lambda: arbstr.left > 0)


async def test_providers_fail_for_a_while_and_are_well_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[str, str]] = []
    async with FakeFleet(Config()) as fleet, fake_arbstr() as arbstr:
        monkeypatch.setattr(fleet, "fail", lambda name, status: happened.append(("fails", name)))
        monkeypatch.setattr(fleet, "recover", lambda name: happened.append(("recovers", name)))
        async with DemoTraffic(arbstr.url, fleet, seed=1, tempo=1000):
            await until(lambda: len(happened) >= 5)
    assert [what for what, _ in happened] == ["fails", "recovers"] * (len(happened) // 2)
    assert all(one == other for (_, one), (_, other) in zip(happened[::2], happened[1::2], strict=True))
    assert {name for _, name in happened} <= set(fleet.names)


# --- the end


async def test_the_end_comes_at_once_and_quietly_with_requests_under_way(caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    async with FakeFleet(Config()) as fleet, fake_arbstr(answers=False) as arbstr:
        async with DemoTraffic(arbstr.url, fleet, seed=1):
            await until(lambda: len(arbstr.bodies) >= 2)
            loop = asyncio.get_running_loop()
            started = loop.time()
        assert loop.time() - started < 1.0
        await until(lambda: arbstr.left == len(arbstr.bodies))
    assert asyncio.all_tasks() == before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_proxy_that_hangs_up_disturbs_nobody() -> None:
    async with demo(resetting_arbstr()) as arbstr:
        await until(lambda: arbstr.left >= 20)


async def test_an_end_right_after_the_beginning() -> None:
    async with FakeFleet(Config()) as fleet, DemoTraffic("http://127.0.0.1:9", fleet):
        pass


# --- what happens to a node


async def test_a_nodes_prices_move_and_a_low_balance_is_topped_up() -> None:
    async with FakeFleet(Config(), demo=True) as fleet, fake_arbstr() as arbstr:
        (node,) = fleet.nodes
        account = node.account
        assert account is not None
        async with DemoTraffic(arbstr.url, fleet, seed=1, tempo=1000):
            await until(lambda: node.price_factor != 1)
            account.charge(account.msats)
            await until(lambda: account.msats > 0)


async def test_a_node_lists_wrong_prices_for_a_moment_and_takes_what_no_request_explains() -> None:
    async with FakeFleet(Config(), demo=True) as fleet, fake_arbstr() as arbstr, ClientSession() as client:
        (node,) = fleet.nodes
        account = node.account
        assert account is not None

        async def listed() -> float:
            url = next(each.url for each in fleet.config.providers if each.kind == "routstr")
            async with client.get(f"{url}/models") as response:
                return float((await response.json())["data"][0]["sats_pricing"]["prompt"])

        right = await listed()
        node.misprint_factor = Decimal(30)
        assert await listed() == pytest.approx(30 * right)
        async with DemoTraffic(arbstr.url, fleet, seed=1, tempo=1000):
            await until(lambda: account.info()["total_requests"] == 1)
            assert node.misprint_factor == 1
