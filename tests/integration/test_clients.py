"""Clients with keys of their own: what each may do, what it sees, what it may spend."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from arbstr.config.clients import digest_of
from arbstr.redaction import Secret
from tests.integration.test_metrics import scraped, value
from tests.integration.test_reload import reload
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.provider import Move, completion, json_reply

OWNER = "owner-token-0123456789"
KEYS = {"alice": "sk-arbstr-alices-key-0123456789", "bob": "sk-arbstr-bobs-key-0123456789"}
FORBIDDEN = (403, "permission_error", "forbidden")
INVALID = (401, "authentication_error", "invalid_api_key")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS.get(key, key)}"}


def client(name: str, **limits: Any) -> dict[str, Any]:
    return {"name": name, "key_sha256": digest_of(KEYS[name]), **limits}


async def started(
    harness: ProxyHarness, *clients: dict[str, Any], owner: str | None = OWNER, **sections: Any
) -> Arbstr:
    """An arbstr with these clients, whose only provider charges a sat for each request."""
    if not harness.providers:
        charged = {**completion(), "cost": {"total_msats": 1000}}
        rates: dict[str, Any] = {"input_rate": 0, "output_rate": 0, "base_fee": 1}
        await harness.add_provider("alpha", json_reply(charged), models=("gpt-4o", "gpt-4o-mini", "claude-3"), **rates)
    server = {"auth_token": Secret(owner)} if owner else {}
    return await harness.start(clients=clients, server=server, **sections)


async def chat(arbstr: Arbstr, key: str, **fields: Any) -> Answer:
    headers = bearer(key) | fields.pop("headers", {})
    return await arbstr.chat(headers=headers, **fields)


# Who it is


async def test_with_any_client_a_key_is_needed(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"), owner=None)
    for path in ("/v1/models", "/v1/stats", "/v1/requests", "/providers", "/metrics", "/openapi.json"):
        assert (await arbstr.get(path)).refusal == INVALID
    assert (await arbstr.chat()).refusal == INVALID
    assert (await arbstr.get("/health")).status == (await arbstr.get("/")).status == 200
    assert (await chat(arbstr, "alice")).status == 200


@pytest.mark.parametrize("header", [{"X-Api-Key": KEYS["alice"]}, {"Authorization": f"bearer  {KEYS['alice']} "}])
async def test_a_key_comes_as_bearer_token_or_as_x_api_key(harness: ProxyHarness, header: dict[str, str]) -> None:
    arbstr = await started(harness, client("alice"))
    answer = await arbstr.chat(headers=header)
    assert answer.status == 200
    [row] = (await arbstr.get("/v1/requests", headers=bearer(OWNER))).json["data"]
    assert row["client"] == "alice"


async def test_a_key_beside_another_programs_token_counts(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"))
    assert (await chat(arbstr, "some-other-token", headers={"X-Api-Key": KEYS["alice"]})).status == 200


async def test_what_is_no_key_is_refused_alike_whatever_it_is(harness: ProxyHarness) -> None:
    empty = {"name": "empty", "key_sha256": digest_of("")}
    arbstr = await started(harness, client("alice"), empty)
    wrong: list[dict[str, str]] = [
        {},
        bearer(""),
        bearer("alice-but-wrong"),
        bearer(digest_of(KEYS["alice"])),
        {"X-Api-Key": ""},
        {"Authorization": KEYS["alice"]},
    ]
    answers = [await arbstr.chat(headers=headers) for headers in wrong]
    assert {answer.refusal for answer in answers} == {INVALID}
    assert len({answer.error["message"] for answer in answers}) == 1


async def test_a_key_is_nowhere_in_the_log_or_in_an_answer(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice", allowed_models=("claude-3",)))
    answers = [
        await chat(arbstr, "alice"),
        await chat(arbstr, f"{KEYS['alice']}x"),
        await chat(arbstr, "alice", model="claude-3"),
    ]
    for shown in (arbstr.log, *(answer.body.decode() for answer in answers)):
        assert KEYS["alice"] not in shown
        assert digest_of(KEYS["alice"]) not in shown


async def test_an_expired_key_is_refused_for_that_reason(harness: ProxyHarness) -> None:
    past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    arbstr = await started(harness, client("alice", expires=past), client("bob", expires=future))
    for _ in range(2):
        assert (await chat(arbstr, "bob")).status == 200
        refused = await chat(arbstr, "alice")
        assert refused.refusal == INVALID
        assert "'alice' was good until 2020-01-01T00:00:00" in refused.error["message"]


async def test_an_expired_key_beside_a_good_one_does_no_harm(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice", expires=datetime(2020, 1, 1, tzinfo=UTC)), client("bob"))
    assert (await chat(arbstr, "alice", headers={"X-Api-Key": KEYS["bob"]})).status == 200
    assert (await chat(arbstr, "bob", headers={"X-Api-Key": KEYS["alice"]})).status == 200


async def test_auth_token_is_the_client_without_a_name(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"))
    assert (await chat(arbstr, OWNER)).status == 200
    await chat(arbstr, "alice")
    rows = (await arbstr.get("/v1/requests", headers=bearer(OWNER))).json["data"]
    assert [row["client"] for row in rows] == ["alice", None]
    groups = (await arbstr.get("/v1/stats?group_by=client", headers=bearer(OWNER))).json["clients"]
    assert {name: group["counts"]["total"] for name, group in groups.items()} == {"alice": 1, "(none)": 1}
    samples = await scraped(arbstr, headers=bearer(OWNER))
    assert value(samples, "arbstr_requests_total", client="alice") == 1


# What it may ask for


async def test_a_model_that_is_not_allowed_is_refused_in_every_endpoint(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice", allowed_models=("Claude-*", "gpt-4o-mini")))
    for model in ("gpt-4o-mini", "GPT-4o-Mini", "claude-3"):
        assert (await chat(arbstr, "alice", model=model)).status == 200
    refused = await chat(arbstr, "alice", model="gpt-4o")
    assert refused.refusal == (400, "invalid_request_error", "model_not_allowed")
    assert "'alice'" in refused.error["message"]
    assert "Claude-*, gpt-4o-mini" in refused.error["message"]
    asked = b'{"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}'
    for path in ("/v1/cost", "/v1/messages/count_tokens", "/v1/messages", "/v1/responses"):
        data = asked if path != "/v1/responses" else b'{"model": "gpt-4o", "input": "hi"}'
        assert b"may not use" in (await arbstr.send(data, headers=bearer("alice"), path=path)).body
    assert (await chat(arbstr, OWNER, model="gpt-4o")).status == 200


async def test_models_are_listed_as_far_as_they_are_allowed(harness: ProxyHarness) -> None:
    rules = {"rules": [{"name": "small", "allowed_models": ["gpt-4o-mini"]}]}
    arbstr = await started(
        harness, client("alice", allowed_models=("gpt-4o*",)), client("bob", policy="small"), policies=rules
    )
    listed = (await arbstr.get("/v1/models", headers=bearer("alice"))).json["data"]
    assert [each["id"] for each in listed] == ["gpt-4o", "gpt-4o-mini"]
    listed = (await arbstr.get("/v1/models", headers=bearer("bob"))).json["data"]
    assert [each["id"] for each in listed] == ["gpt-4o-mini"]
    assert (await arbstr.get("/v1/models/gpt-4o", headers=bearer("alice"))).status == 200
    hidden = await arbstr.get("/v1/models/claude-3", headers=bearer("alice"))
    assert hidden.status == 404
    assert "claude-3." not in hidden.error["message"].partition("; listed")[2]
    assert len((await arbstr.get("/v1/models", headers=bearer(OWNER))).json["data"]) == 3


async def test_a_name_that_an_aliass_pattern_takes_is_a_model_for_those_who_may_use_it(harness: ProxyHarness) -> None:
    rules = {"rules": [{"name": "small", "allowed_models": ["gpt-4o-mini"]}]}
    known = (client("alice", allowed_models=("gpt-4o",)), client("bob", policy="small"))
    arbstr = await started(harness, *known, policies=rules, aliases={"big-*": "gpt-4o"})
    for name, status in (("alice", 200), ("bob", 404), (OWNER, 200)):
        assert (await arbstr.get("/v1/models/big-1", headers=bearer(name))).status == status


async def test_an_alias_and_what_it_stands_for_are_allowed_together(harness: ProxyHarness) -> None:
    aliases = {"fast": "gpt-4o-mini", "dear": "gpt-4o"}
    arbstr = await started(
        harness, client("alice", allowed_models=("fast",)), client("bob", allowed_models=("gpt-4o",)), aliases=aliases
    )
    assert [(await chat(arbstr, "alice", model=name)).status for name in ("fast", "gpt-4o-mini", "dear")] == [
        200,
        200,
        400,
    ]
    assert [(await chat(arbstr, "bob", model=name)).status for name in ("dear", "gpt-4o", "fast")] == [200, 200, 400]


async def test_a_fallback_model_that_is_not_allowed_does_not_serve(harness: ProxyHarness) -> None:
    rules = {"rules": [{"name": "code", "fallback_models": ["gpt-4o"]}]}
    arbstr = await started(
        harness, client("alice", policy="code", allowed_models=("gone",)), client("bob", policy="code"), policies=rules
    )
    assert (await chat(arbstr, "bob", model="gone")).status == 200
    assert (await chat(arbstr, "alice", model="gone")).refusal == (404, "invalid_request_error", "model_not_found")


async def test_a_clients_policy_wins_over_header_and_path(harness: ProxyHarness) -> None:
    rules = {"rules": [{"name": "code"}, {"name": "other", "keywords": ["hello"]}]}
    arbstr = await started(harness, client("alice", policy="code"), client("bob"), policies=rules)
    asked = await chat(arbstr, "alice", content="hello", headers={"X-Arbstr-Policy": "other"})
    assert asked.headers["X-Arbstr-Policy"] == "code"
    data = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
    by_path = await arbstr.send(data, headers=bearer("alice"), path="/policy/other/v1/chat/completions")
    assert by_path.headers["X-Arbstr-Policy"] == "code"
    assert (await chat(arbstr, "bob", headers={"X-Arbstr-Policy": "other"})).headers["X-Arbstr-Policy"] == "other"


# How often, how much


async def test_more_requests_a_second_than_its_limit_are_refused(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice", rate_limit_rps=0.001), client("bob"))
    assert (await chat(arbstr, "alice")).status == 200
    refused = await chat(arbstr, "alice")
    assert refused.refusal == (429, "rate_limit_error", "rate_limited")
    assert int(refused.headers["Retry-After"]) > 900
    assert "alice" in refused.error["message"]
    assert [(await chat(arbstr, key)).status for key in ("bob", "bob", OWNER)] == [200, 200, 200]
    rows = (await arbstr.get("/v1/requests?client=alice", headers=bearer(OWNER))).json["data"]
    assert [row["success"] for row in rows] == [False, True]


async def test_a_clients_budget_is_its_own(harness: ProxyHarness) -> None:
    arbstr = await started(
        harness, client("alice", max_sats_per_month=2), client("bob"), budget={"max_sats_per_month": 9}
    )
    assert [(await chat(arbstr, key)).status for key in ("bob", "bob", "bob", "alice", "alice")] == [200] * 5
    refused = await chat(arbstr, "alice")
    assert refused.refusal == (402, "budget_error", "budget_exceeded")
    for part in ("client 'alice'", "month is 2 sats: 2 spent", "may cost 1", "It resets at 2"):
        assert part in refused.error["message"]
    assert (await chat(arbstr, "bob")).status == (await chat(arbstr, OWNER)).status == 200
    samples = await scraped(arbstr, headers=bearer(OWNER))
    assert value(samples, "arbstr_budget_spent_sats", scope="client:alice", period="month") == 2
    assert value(samples, "arbstr_budget_limit_sats", scope="client:alice", period="month") == 2
    assert value(samples, "arbstr_budget_spent_sats", scope="global", period="month") == 7


async def test_requests_at_once_reserve_of_a_clients_budget(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider(
        "alpha", [Move.NEVER], on_client_gone="cancel", input_rate=0, output_rate=1, base_fee=0
    )
    arbstr = await started(harness, client("alice", max_sats_per_day=1))
    first = asyncio.create_task(chat(arbstr, "alice", max_tokens=100, n=5))
    await alpha.asked()
    refused = await chat(arbstr, "alice", max_tokens=501)
    assert refused.status == 402
    assert "0.5 reserved by requests in flight; this request may cost 0.501" in refused.error["message"]
    first.cancel()


async def test_a_clients_budget_is_remembered_over_a_restart(harness: ProxyHarness) -> None:
    limited = client("alice", max_sats_per_month=2.5)
    arbstr = await started(harness, limited, client("bob"))
    for key in ("alice", "alice", "bob", OWNER):
        await chat(arbstr, key)
    await arbstr.finished(4)
    again = await started(harness, limited, client("bob"))
    assert (await chat(again, "bob")).status == 200
    refused = await chat(again, "alice")
    assert refused.status == 402
    assert "2 spent" in refused.error["message"]


# What it sees


async def test_a_client_sees_its_own_rows_alone(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"), client("bob"))
    answers = {key: await chat(arbstr, key) for key in ("alice", "bob", OWNER)}
    ids = {key: answer.headers["X-Arbstr-Request-Id"] for key, answer in answers.items()}
    await arbstr.finished(3)

    async def get(path: str) -> Answer:
        return await arbstr.get(path, headers=bearer("alice"))

    page = (await get("/v1/requests")).json
    assert (page["total"], [row["request_id"] for row in page["data"]]) == (1, [ids["alice"]])
    for query in ("", "?group_by=client", "?group_by=model", "?group_by=session", "?client=ALICE"):
        stats = (await get(f"/v1/stats{query}")).json
        assert (stats["counts"]["total"], stats["costs"]["total_cost_sats"]) == (1, 1.0)
    assert list((await get("/v1/stats?group_by=client")).json["clients"]) == ["alice"]
    assert (await get(f"/v1/requests/{ids['alice']}")).status == 200


async def test_an_answer_of_another_client_is_none_to_go_on_from(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion()), dialects=("chat",))
    arbstr = await started(harness, client("alice"), client("bob"))

    async def ask(key: str, **fields: Any) -> Answer:
        body = {"model": "gpt-4o", "input": "And now?", **fields}
        return await arbstr.send(json.dumps(body).encode(), headers=bearer(key), path="/v1/responses")

    answer_id = (await ask("alice")).json["id"]
    statuses = [(await ask(key, previous_response_id=answer_id)).status for key in ("alice", "bob", OWNER)]
    assert (statuses, len(alpha.requests)) == ([200, 400, 400], 2)


async def test_what_is_anothers_is_to_a_client_as_if_it_were_not_there(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"), client("bob"))
    other = (await chat(arbstr, "bob", model="secret-model")).headers["X-Arbstr-Request-Id"]
    await arbstr.finished()
    found = await arbstr.get(f"/v1/requests/{other}", headers=bearer("alice"))
    absent = await arbstr.get(f"/v1/requests/{other[::-1]}", headers=bearer("alice"))
    assert found.status == absent.status == 404
    assert found.error["message"].replace(other, "") == absent.error["message"].replace(other[::-1], "")
    assert (await arbstr.get(f"/v1/requests/{other}", headers=bearer(OWNER))).status == 200
    for name in ("bob", "nobody"):
        for path in ("/v1/stats", "/v1/requests"):
            assert (await arbstr.get(f"{path}?client={name}", headers=bearer("alice"))).refusal == FORBIDDEN
    asked = [await arbstr.get("/v1/stats?model=secret-model", headers=bearer(key)) for key in ("alice", "bob", OWNER)]
    assert [answer.status for answer in asked] == [404, 200, 200]
    providers = (await arbstr.get("/v1/stats?group_by=provider", headers=bearer("alice"))).json["providers"]
    assert providers == {}


@pytest.mark.parametrize("path", ["/providers", "/%70roviders", "/policy/code/providers", "/metrics", "/v1/events"])
async def test_what_tells_of_all_needs_auth_token(harness: ProxyHarness, path: str) -> None:
    arbstr = await started(harness, client("alice"), policies={"rules": [{"name": "code"}]})
    assert (await arbstr.get(path, headers=bearer("alice"))).refusal == FORBIDDEN


async def test_a_client_may_ask_what_its_request_would_cost(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice"))
    data = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
    assert (await arbstr.send(data, headers=bearer("alice"), path="/v1/cost")).status == 200
    assert (await arbstr.send(data, path="/v1/cost")).refusal == INVALID
    assert (await arbstr.send(data, path="/v1/messages/count_tokens")).status == 401
    assert (await arbstr.send(data, path="/v1/moderations")).refusal == INVALID


async def test_alternating_clients_on_one_connection_are_distinguished(harness: ProxyHarness) -> None:
    arbstr = await started(
        harness, client("alice", allowed_models=("gpt-4o",)), client("bob", allowed_models=("claude-3",))
    )
    for _ in range(3):
        assert (await chat(arbstr, "alice")).status == 200
        assert (await chat(arbstr, "bob")).status == 400
        assert (await chat(arbstr, OWNER)).status == 200


# Changes while it runs


async def test_a_reload_changes_who_may_come_in_and_keeps_what_was_spent(harness: ProxyHarness) -> None:
    arbstr = await started(harness, client("alice", max_sats_per_month=2), client("bob"))
    assert [(await chat(arbstr, key)).status for key in ("alice", "alice", "bob")] == [200] * 3
    limited = client("alice", max_sats_per_month=3.5)
    await reload(harness, arbstr, clients=(limited,), server={"auth_token": Secret(OWNER)})
    assert [(await chat(arbstr, key)).status for key in ("alice", "alice", "bob")] == [200, 402, 401]
    samples = await scraped(arbstr, headers=bearer(OWNER))
    assert value(samples, "arbstr_budget_spent_sats", scope="client:alice", period="month") == 3
    await reload(harness, arbstr, server={"auth_token": Secret(OWNER)})
    assert (await chat(arbstr, "alice")).refusal == INVALID


async def test_a_reload_lets_nobody_ask_more_often(harness: ProxyHarness) -> None:
    slow = client("alice", rate_limit_rps=0.001)
    arbstr = await started(harness, slow)
    assert (await chat(arbstr, "alice")).status == 200
    await reload(harness, arbstr, clients=(slow, client("bob")), server={"auth_token": Secret(OWNER)})
    assert (await chat(arbstr, "alice")).status == 429
