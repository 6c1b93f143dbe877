"""What arbstr holds at Routstr nodes: read from them, shown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from arbstr.config.schema import Provider
from arbstr.events import RequestReceived
from arbstr.redaction import Secret
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.provider import Asked, Part, ScriptedProvider, completion, json_reply
from tests.support.recordings import recording


def holding(msats: int, reserved: int = 0, spent: int = 0) -> list[Part]:
    return json_reply({"balance": msats, "reserved": reserved, "total_spent": spent, "total_requests": 0})


async def node(harness: ProxyHarness, name: str, account: list[Part]) -> ScriptedProvider:
    """A node that charges a sat for each request, and what it says of the key's money."""
    charged = {**completion(), "cost": {"total_msats": 1000}}
    provider = await harness.add_provider(name, json_reply(charged), listing=recording("models_list").reply())
    provider.account = account
    provider.info = recording("info").reply()
    harness.providers[-1] = Provider(
        name=name, url=provider.url, kind="routstr", api_key=Secret(key_of(name)), refresh=0.1
    )
    return provider


async def balances(arbstr: Arbstr) -> dict[str, Any]:
    return {one["name"]: one["balance"] for one in (await arbstr.get("/providers")).json["providers"]}


async def test_a_nodes_balance_is_shown_with_the_provider(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(25_000, reserved=700, spent=300))
    await harness.add_provider("plain")
    arbstr = await harness.start()
    await alpha.polled(2)
    shown = await balances(arbstr)
    read_at = shown["alpha"].pop("read_at")
    assert read_at.endswith("Z")
    assert shown == {
        "alpha": {
            "state": "known",
            "free_sats": 25.0,
            "reserved_sats": 0.7,
            "spent_sats": 0.3,
            "runway_hours": None,
            "node_version": "0.4.5+g8bd7d7e",
        },
        "plain": None,
    }
    assert [status.balance is None for status in arbstr.source.snapshot().providers] == [False, True]


async def test_a_balance_that_has_not_been_read_is_unknown(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", json_reply({}, status=500))
    alpha.info = json_reply({}, status=500)
    arbstr = await harness.start()
    await alpha.polled(2)
    assert (await balances(arbstr))["alpha"] == {
        "state": "unknown",
        "free_sats": None,
        "reserved_sats": None,
        "spent_sats": None,
        "runway_hours": None,
        "read_at": None,
        "node_version": None,
    }
    assert (await arbstr.chat(model="gpt-4o-mini")).status == 200


async def test_after_a_request_the_balance_is_read_again_with_the_key_alone(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(25_000))
    arbstr = await harness.start()
    await alpha.polled()
    await arbstr.get("/v1/models")
    assert (await arbstr.chat(model="gpt-4o-mini")).status == 200
    alpha.account = holding(24_000, spent=1000)
    await alpha.polled(sum(is_poll(asked) for asked in alpha.polls) + 2)
    assert (await balances(arbstr))["alpha"]["free_sats"] == 24
    keys = {(asked.path, asked.headers.get("authorization")) for asked in alpha.polls}
    assert keys == {("/v1/balance/info", f"Bearer {key_of('alpha')}"), ("/v1/info", None)}


async def test_how_long_a_balance_lasts_is_shown_once_something_is_spent(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(25_000))
    arbstr = await harness.start()
    await alpha.polled(2)
    alpha.account = holding(24_000, spent=1000)
    await alpha.polled(count_polls(alpha) + 2)
    assert (await balances(arbstr))["alpha"]["runway_hours"] == 4.0  # a sat within ten minutes is six an hour


async def test_a_node_that_redirects_its_balance_does_not_get_the_key_sent_elsewhere(harness: ProxyHarness) -> None:
    other = await harness.add_provider("other")
    moved = json_reply({}, status=302, location=f"{other.url}/balance/info")
    alpha = await node(harness, "alpha", moved)
    await harness.start()
    await alpha.polled(2)
    assert other.polls == []


async def test_a_key_that_the_node_does_not_know_is_shown_as_such(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", recording("err_info_bad_key").reply())
    arbstr = await harness.start()
    await alpha.polled(2)
    assert (await balances(arbstr))["alpha"]["state"] == "bad_key"
    assert key_of("alpha") not in json.dumps((await arbstr.get("/providers")).json)


def is_poll(asked: Asked) -> bool:
    return asked.path == "/v1/balance/info"


# --- admission

MINI = "gpt-4o-mini"
EMPTY = json_reply(
    {
        "error": {
            "message": "Insufficient balance: 9.830 sats (9830 msats) required for this model; 1 sats available.",
            "type": "insufficient_quota",
            "code": "insufficient_balance",
        }
    },
    status=402,
)


def cheap() -> list[Part]:
    """A recorded list at half the price."""
    document = json.loads(recording("models_list").body)
    for model in document["data"]:
        model["sats_pricing"] = {name: price / 2 for name, price in model["sats_pricing"].items()}
    return json_reply(document)


async def market(harness: ProxyHarness, *held_msats: int) -> tuple[Arbstr, list[ScriptedProvider]]:
    """Nodes that hold so much, the first of them at half the price of the others."""
    names = ("alpha", "beta", "gamma")
    nodes = [await node(harness, name, holding(msats)) for name, msats in zip(names, held_msats, strict=False)]
    nodes[0].listing = cheap()
    arbstr = await harness.start()
    for each in nodes:
        await each.polled(2)
    await arbstr.get("/v1/models")
    return arbstr, nodes


async def test_what_a_balance_does_not_hold_is_bought_elsewhere_before_a_402(harness: ProxyHarness) -> None:
    arbstr, (alpha, beta) = await market(harness, 4_000, 25_000)
    answer = await arbstr.chat(model=MINI)  # reserves 4.9 sats at alpha
    assert (answer.status, answer.headers["X-Arbstr-Provider"]) == (200, "beta")
    assert "X-Arbstr-Retries" not in answer.headers
    detail = (await arbstr.get(f"/v1/requests/{answer.headers['X-Arbstr-Request-Id']}")).json
    assert detail["routing"]["excluded"] == [
        {"provider": "alpha", "reason": "it would reserve 4.915 sats, and 4.000 are free"}
    ]
    answer = await arbstr.chat(model=MINI, max_tokens=1000)
    assert answer.headers["X-Arbstr-Provider"] == "alpha", "what fits is bought there"
    assert [len(alpha.requests), len(beta.requests)] == [1, 1]


async def test_a_policys_cap_makes_a_request_fit_that_has_none(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(4_000))
    arbstr = await harness.start(policies={"rules": [{"name": "short", "default_max_tokens": 1000}]})
    await alpha.polled(2)
    await arbstr.get("/v1/models")
    assert (await arbstr.chat(model=MINI)).status == 402
    assert (await arbstr.chat(model=MINI, headers={"X-Arbstr-Policy": "short"})).status == 200
    assert alpha.requests[0].json["max_tokens"] == 1000


async def test_when_no_balance_does_the_error_names_the_largest_cap_that_would_fit(harness: ProxyHarness) -> None:
    arbstr, (alpha, beta) = await market(harness, 1_000, 1_500)
    answer = await arbstr.chat(model=MINI, max_tokens=16_000)
    assert answer.refusal == (402, "upstream_error", "insufficient_balance")
    assert answer.error["param"] == "max_tokens"
    assert "'gpt-4o-mini'" in answer.error["message"]
    assert "alpha: it would reserve 4.849 sats, and 1.000 are free" in answer.error["message"]
    assert "beta: it would reserve 9.697 sats, and 1.500 are free" in answer.error["message"]
    largest = int(answer.error["message"].split("would fit is ")[1].split(",")[0])
    assert (await arbstr.chat(model=MINI, max_tokens=largest + 1)).status == 402
    assert (await arbstr.chat(model=MINI, max_tokens=largest)).status == 200
    assert [len(alpha.requests), len(beta.requests)] == [1, 0]
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 402)


async def test_when_no_cap_would_fit_the_error_says_so(harness: ProxyHarness) -> None:
    arbstr, (alpha,) = await market(harness, 0)
    answer = await arbstr.chat(model=MINI, max_tokens=1)
    assert answer.refusal == (402, "upstream_error", "insufficient_balance")
    assert "No max_tokens would fit" in answer.error["message"]
    assert answer.error["param"] is None
    assert alpha.requests == []


async def test_requests_under_way_hold_their_reservations(harness: ProxyHarness) -> None:
    arbstr, (alpha, beta) = await market(harness, 25_000, 10_000_000)
    go_on = asyncio.Event()
    alpha.script = [[go_on, *json_reply({**completion(), "cost": {"total_msats": 1000}})]]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(arbstr.chat(model=MINI)) for _ in range(8)]
        await beta.asked(3)  # five fit into 25 sats at 4.9 each
        go_on.set()
    assert {task.result().status for task in asked} == {200}
    assert [len(alpha.requests), len(beta.requests)] == [5, 3]


async def test_what_only_requests_under_way_keep_from_fitting_waits_for_them(harness: ProxyHarness) -> None:
    arbstr, (alpha,) = await market(harness, 25_000)
    go_on = asyncio.Event()
    alpha.script = [[go_on, *json_reply({**completion(), "cost": {"total_msats": 1000}})]]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(arbstr.chat(model=MINI)) for _ in range(8)]
        await alpha.asked(5)
        dear = await arbstr.chat(model="claude-sonnet-4")
        assert dear.refusal == (402, "upstream_error", "insufficient_balance"), "it would not fit in any case"
        assert len(alpha.requests) == 5
        go_on.set()
    assert {task.result().status for task in asked} == {200}
    assert len(alpha.requests) == 8


async def test_right_after_the_start_a_request_waits_until_the_balance_has_been_read(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await node(harness, "alpha", [go_on, *holding(1_000)])
    beta = await node(harness, "beta", holding(25_000))
    alpha.listing = cheap()
    arbstr = await harness.start()
    await arbstr.get("/v1/models")
    asked = await arbstr.start_chat(model=MINI)
    await arbstr.catch_up()
    assert not asked.done()
    go_on.set()
    assert (await asked).headers["X-Arbstr-Provider"] == "beta"
    assert [len(alpha.requests), len(beta.requests)] == [0, 1]


async def test_a_client_that_leaves_while_it_waits_costs_nothing(harness: ProxyHarness) -> None:
    arbstr, (alpha,) = await market(harness, 6_000)
    go_on = asyncio.Event()
    alpha.script = [[go_on, *json_reply(completion())]]
    first = asyncio.create_task(arbstr.chat(model=MINI))
    await alpha.asked()
    second = await arbstr.start_chat(model=MINI)
    while sum(isinstance(event, RequestReceived) for event in arbstr.events) < 2:
        await arbstr.catch_up()
    second.cancel()
    (left,) = await arbstr.finished()
    assert (left.success, left.error_status, left.provider, left.cost_msats) == (False, 499, None, None)
    go_on.set()
    assert (await first).status == 200
    assert len(alpha.requests) == 1


async def test_a_402_of_a_node_rests_its_money_until_a_reading_shows_more(harness: ProxyHarness) -> None:
    arbstr, (alpha, beta) = await market(harness, 6_000, 25_000)
    alpha.script = [EMPTY, json_reply(completion())]
    first = await arbstr.chat(model=MINI)
    assert first.headers["X-Arbstr-Retries"] == "1/alpha"
    for _ in range(3):
        await alpha.polled(count_polls(alpha) + 2)
        assert (await arbstr.chat(model=MINI)).headers["X-Arbstr-Provider"] == "beta"
    assert (await arbstr.get("/health")).json["providers"]["alpha"]["state"] == "closed"
    alpha.account = holding(50_000)
    await alpha.polled(count_polls(alpha) + 2)
    assert (await arbstr.chat(model=MINI)).headers["X-Arbstr-Provider"] == "alpha"
    assert [len(alpha.requests), len(beta.requests)] == [2, 4]


async def test_money_that_rests_is_not_asked_for_as_a_last_resort(harness: ProxyHarness) -> None:
    arbstr, (alpha,) = await market(harness, 6_000)
    alpha.script = [EMPTY]
    statuses = [(await arbstr.chat(model=MINI)).refusal for _ in range(3)]
    assert set(statuses) == {(402, "upstream_error", "insufficient_balance")}
    assert len(alpha.requests) == 1


@pytest.mark.parametrize("name", ["err_info_bad_key", "err_expired_key"])
async def test_a_key_that_the_node_does_not_take_is_used_as_a_last_resort_only(
    harness: ProxyHarness, name: str
) -> None:
    arbstr, (alpha, beta) = await market(harness, 25_000, 25_000)
    alpha.account = recording(name).reply()
    await alpha.polled(count_polls(alpha) + 2)
    answer = await arbstr.chat(model=MINI)
    assert answer.headers["X-Arbstr-Provider"] == "beta"
    assert "X-Arbstr-Retries" not in answer.headers
    beta.account = recording(name).reply()
    await beta.polled(count_polls(beta) + 2)
    assert (await arbstr.chat(model=MINI)).headers["X-Arbstr-Provider"] == "alpha"
    alpha.account = beta.account = holding(25_000)
    await alpha.polled(count_polls(alpha) + 2)
    assert (await arbstr.chat(model=MINI)).headers["X-Arbstr-Provider"] == "alpha"


async def test_a_cheaper_model_of_the_policy_is_bought_where_the_balance_does_for_it(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(10_000))
    rule = {"name": "frugal", "fallback_models": [MINI]}
    arbstr = await harness.start(policies={"rules": [rule]})
    await alpha.polled(2)
    await arbstr.get("/v1/models")
    answer = await arbstr.chat(model="claude-sonnet-4", headers={"X-Arbstr-Policy": "frugal"})
    assert answer.status == 200
    assert alpha.requests[-1].json["model"] == MINI


def count_polls(provider: ScriptedProvider) -> int:
    return sum(is_poll(asked) for asked in provider.polls)
