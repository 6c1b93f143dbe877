"""What arbstr holds at Routstr nodes: read from them, shown."""

from __future__ import annotations

import json
from typing import Any

from arbstr.config.schema import Provider
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
