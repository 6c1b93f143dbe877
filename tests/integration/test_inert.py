"""A Routstr node without a key is inert: configured and shown, but never asked for anything, until it is funded."""

from __future__ import annotations

import pytest

from tests.support.harness import ProxyHarness
from tests.support.provider import MODEL, json_reply

LIST = {"data": [{"id": name, "sats_pricing": {"prompt": 1e-6, "completion": 1e-6}} for name in (MODEL, "its-own")]}


@pytest.mark.parametrize("models", [(), (MODEL, "its-own")], ids=["by its list", "as configured"])
async def test_a_node_without_a_key_gets_no_request_and_offers_nothing(
    harness: ProxyHarness, models: tuple[str, ...]
) -> None:
    node = await harness.add_provider("node", listing=json_reply(LIST), kind="routstr", api_key=None, models=models)
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.headers["X-Arbstr-Provider"] == "alpha"
    listed = (await arbstr.get("/v1/models")).json["data"]
    assert [(model["id"], model["arbstr"]["providers"]) for model in listed] == [(MODEL, ["alpha"])]
    assert (await arbstr.chat(model="its-own")).refusal[2] == "model_not_found"
    assert (await arbstr.get("/health")).json["status"] == "ok"
    assert [one["name"] for one in (await arbstr.get("/providers")).json["providers"]] == ["node", "alpha"]
    assert [(status.name, status.inert) for status in arbstr.source.snapshot().providers] == [
        ("node", True),
        ("alpha", False),
    ]
    assert node.connections == 0


async def test_a_node_without_a_key_is_no_fallback_either(harness: ProxyHarness) -> None:
    node = await harness.add_provider("node", kind="routstr", api_key=None)
    await harness.add_provider("alpha", [b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"])
    arbstr = await harness.start(retry={"max_retries": 0})
    assert (await arbstr.chat()).status == 502
    assert node.connections == 0


async def test_with_no_key_at_all_arbstr_says_how_to_get_one(harness: ProxyHarness) -> None:
    node = await harness.add_provider("node", kind="routstr", api_key=None)
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.refusal == (503, "upstream_error", "no_healthy_provider")
    assert "'arbstr fund PROVIDER'" in answer.error["message"]
    assert (await arbstr.get("/health")).json["status"] == "unhealthy"
    assert (await arbstr.get("/v1/models")).json["data"] == []
    assert node.connections == 0


async def test_a_provider_of_another_kind_needs_no_key(harness: ProxyHarness) -> None:
    await harness.add_provider("local", api_key=None)
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "local"
