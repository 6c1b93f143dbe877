"""Another configuration while arbstr runs: new requests go by it, those under way end on the one they began with."""

from __future__ import annotations

import asyncio
from typing import Any

from arbstr.config.schema import Provider
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import Asked, Reply, chunk, completion, error_reply, json_reply, sse_reply, stream_events


def changed(harness: ProxyHarness, name: str, **fields: Any) -> None:
    """Change what the file says of a provider."""
    harness.providers = [
        Provider.model_validate({**one.model_dump(exclude_unset=True), **fields}) if one.name == name else one
        for one in harness.providers
    ]


async def reload(harness: ProxyHarness, arbstr: Arbstr, **sections: Any) -> None:
    harness.sections = sections
    assert (await arbstr.proxy.reloads.reload()).problems == ()


async def test_a_new_provider_serves_and_a_removed_one_no_longer_does(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "alpha"
    harness.providers.clear()
    await harness.add_provider("beta")
    await reload(harness, arbstr)
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    assert [one["name"] for one in (await arbstr.get("/providers")).json["providers"]] == ["beta"]
    assert [one.name for one in arbstr.source.snapshot().providers] == ["beta"]
    assert len(alpha.requests) == 1


async def test_a_stream_ends_at_a_provider_that_was_removed_meanwhile(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        harness.providers.clear()
        await harness.add_provider("beta")
        await reload(harness, arbstr)
        assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
        go_on.set()
        answer = await stream.rest()
    assert answer.trailer["provider"] == "alpha"
    row = await arbstr.row(answer)
    assert (row["success"], row["provider"], row["cost"]["sats"]) == (True, "alpha", answer.trailer["cost_sats"])


async def test_a_request_that_waits_for_its_retry_falls_back_by_the_configuration_it_began_with(
    harness: ProxyHarness,
) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *error_reply(500)])
    await harness.add_provider("beta", input_rate=20)
    arbstr = await harness.start(retry={"max_retries": 0})
    task = await arbstr.start_chat()
    await alpha.asked()
    harness.providers.clear()
    await harness.add_provider("gamma")
    await reload(harness, arbstr)
    go_on.set()
    answer = await task
    assert answer.headers["X-Arbstr-Provider"] == "beta"
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"


async def test_a_provider_s_new_key_and_rates_are_used_by_clients_that_stay_connected(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    first = await arbstr.chat()
    second = await arbstr.chat()
    changed(harness, "alpha", api_key="sk-another-0123456789", input_rate=1000)
    await reload(harness, arbstr)
    third = await arbstr.chat()
    keys = [one.headers["authorization"] for one in alpha.requests]
    assert keys == [f"Bearer {key_of('alpha')}"] * 2 + ["Bearer sk-another-0123456789"]
    assert first.headers["X-Arbstr-Cost-Sats"] == second.headers["X-Arbstr-Cost-Sats"]
    assert float(third.headers["X-Arbstr-Cost-Sats"]) > 9
    assert "sk-another" not in arbstr.log
    assert "sk-another-0123456789" not in (await arbstr.get("/providers")).body.decode()


async def test_a_key_that_has_left_is_masked_until_its_last_request_ends(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    old = {"error": {"message": f"the key {key_of('alpha')} is no good"}}
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(old, status=400)], json_reply(old, status=400))
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    changed(harness, "alpha", api_key="sk-another-0123456789")
    for _ in range(3):
        await reload(harness, arbstr)
    assert key_of("alpha") not in (await arbstr.chat()).body.decode()
    go_on.set()
    assert key_of("alpha") not in (await task).body.decode()
    async with asyncio.timeout(PATIENCE_S):  # then it is nobody's any more, and looking for it would only cost time
        while key_of("alpha") not in (await arbstr.chat()).body.decode():
            await reload(harness, arbstr)


async def test_tokens_count_from_the_next_request_on(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": "first"})
    by_first, by_second = {"Authorization": "Bearer first"}, {"Authorization": "Bearer second"}
    assert [(await arbstr.chat(headers=by_first)).status for _ in range(3)] == [200] * 3
    await reload(harness, arbstr, server={"auth_token": "second"})
    assert (await arbstr.chat(headers=by_first)).status == 401
    assert (await arbstr.chat(headers=by_second)).status == 200


async def test_rules_and_aliases_are_the_new_ones(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies={"rules": ({"name": "old"},)})
    assert (await arbstr.chat(headers={"X-Arbstr-Policy": "old"})).status == 200
    assert (await arbstr.chat(model="other")).status == 404
    await reload(harness, arbstr, policies={"rules": ({"name": "new"},)}, aliases={"other": "gpt-4o"})
    assert (await arbstr.chat(headers={"X-Arbstr-Policy": "old"})).error["code"] == "unknown_policy"
    answer = await arbstr.chat(model="other", headers={"X-Arbstr-Policy": "new"})
    assert (answer.status, (await arbstr.row(answer))["policy"]) == (200, "new")
    assert "other" in [one["id"] for one in (await arbstr.get("/v1/models")).json["data"]]


async def test_what_was_learned_of_a_provider_stays(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(503))
    await harness.add_provider("beta", input_rate=20)
    breaker = {"failure_threshold": 1}
    arbstr = await harness.start(breaker=breaker)
    await arbstr.chat()
    changed(harness, "beta", output_rate=40)
    await reload(harness, arbstr, breaker=breaker)
    health = (await arbstr.get("/health")).json["providers"]
    assert (health["alpha"]["state"], health["beta"]["state"]) == ("open", "closed")
    asked = len(alpha.requests)
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    assert len(alpha.requests) == asked


async def test_an_outcome_under_the_old_configuration_counts_under_the_new_one(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *error_reply(503)])
    breaker = {"failure_threshold": 1}
    arbstr = await harness.start(breaker=breaker, retry={"max_retries": 0})
    task = await arbstr.start_chat()
    await alpha.asked()
    await reload(harness, arbstr, breaker=breaker)
    go_on.set()
    assert (await task).status == 502
    assert (await arbstr.get("/health")).json["providers"]["alpha"]["state"] == "open"


async def test_a_provider_that_has_moved_is_another_one(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(503))
    breaker = {"failure_threshold": 1}
    arbstr = await harness.start(breaker=breaker, retry={"max_retries": 0})
    assert (await arbstr.chat()).status == 502
    harness.providers.clear()
    await harness.add_provider("alpha")
    await reload(harness, arbstr, breaker=breaker)
    assert (await arbstr.get("/health")).json["providers"]["alpha"]["state"] == "closed"
    assert (await arbstr.chat()).status == 200


async def test_what_a_budget_has_spent_counts_under_its_new_limit(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 1000))))
    arbstr = await harness.start(budget={"max_sats_per_month": 1000})
    await arbstr.chat(max_tokens=10)
    (budget,) = arbstr.source.snapshot().budgets
    await reload(harness, arbstr, budget={"max_sats_per_month": 41})
    (lower,) = arbstr.source.snapshot().budgets
    assert (lower.spent_msats, lower.limit_msats) == (budget.spent_msats, 41_000)
    assert (await arbstr.chat(max_tokens=10)).error["code"] == "budget_exceeded"


async def test_a_budget_that_is_new_knows_what_was_spent_before_and_what_is_under_way(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 1000))))
    arbstr = await harness.start()
    await arbstr.row(await arbstr.chat())
    alpha.script[:] = [[go_on, *json_reply(completion(tokens=(1000, 1000)))]]
    task = await arbstr.start_chat()
    await alpha.asked(2)
    await reload(harness, arbstr, budget={"max_sats_per_month": 1000})
    assert [one.spent_msats for one in arbstr.source.snapshot().budgets] == [41_000]
    go_on.set()
    await arbstr.row(await task)
    assert [one.spent_msats for one in arbstr.source.snapshot().budgets] == [82_000]


async def test_requests_in_flight_count_on_under_new_limits(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())], json_reply(completion()))
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    await reload(harness, arbstr, server={"max_in_flight": 1})
    assert (await arbstr.chat()).error["code"] == "overloaded"
    go_on.set()
    assert (await task).status == 200
    assert (await arbstr.chat()).status == 200


async def test_lists_that_were_read_are_not_read_again(harness: ProxyHarness) -> None:
    listing = json_reply({"data": [{"id": "gpt-4o"}]})
    alpha = await harness.add_provider("alpha", listing=listing, models=())
    arbstr = await harness.start()
    await arbstr.get("/v1/models")
    for _ in range(3):
        await reload(harness, arbstr)
    beta = await harness.add_provider("beta", listing=listing, models=())
    await reload(harness, arbstr)
    while not beta.lookups:  # it is read in the background
        await arbstr.get("/v1/models")
    names = [one["id"] for one in (await arbstr.get("/v1/models")).json["data"]]
    assert (names, len(alpha.lookups), len(beta.lookups)) == (["gpt-4o"], 1, 1)


def either(asked: Asked) -> Reply:
    """A stream to who asks for one, else a whole answer."""
    return sse_reply(*stream_events("Hello")) if asked.json.get("stream") else json_reply(completion())


async def test_many_reloads_lose_no_request(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", either)
    await harness.add_provider("beta", either, input_rate=20)
    both = list(harness.providers)
    arbstr = await harness.start()
    ended = asyncio.Event()

    async def client(streams: bool) -> list[int]:
        statuses = []
        while not ended.is_set():
            answer = await arbstr.chat(stream=streams)
            assert not streams or answer.trailer["cost_sats"] > 0
            statuses.append(answer.status)
        return statuses

    clients = [asyncio.create_task(client(number % 2 == 0)) for number in range(8)]
    for number in range(16):
        harness.providers = [both[number % 2]]
        await reload(harness, arbstr)
        await arbstr.catch_up()
    ended.set()
    statuses = [status for each in await asyncio.gather(*clients) for status in each]
    assert set(statuses) == {200}
    records = await arbstr.finished(len(statuses))
    assert len({record.request_id for record in records}) == len(statuses)
    assert {record.provider for record in records} == {"alpha", "beta"}
