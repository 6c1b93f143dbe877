"""`/metrics`: what Prometheus reads of a running arbstr, by Prometheus' own client library."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from arbstr.events import ChargeBooked
from tests.integration.test_balances import holding, node
from tests.integration.test_reconciliation import awaited, started
from tests.integration.test_reconciliation import node as paid_node
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.provider import Move, completion, error_reply, json_reply, sse_reply, stream_events, usage_chunk

TOKEN = "client-token-0123456789"
SCRAPER = "scraper-token-0123456789"

Sample = tuple[str, frozenset[tuple[str, str]]]

LABELS = {
    "arbstr_requests_total": {"model", "provider", "policy", "client", "status"},
    "arbstr_sats_total": set(),
    "arbstr_tokens_total": {"kind"},
    "arbstr_request_duration_seconds_bucket": {"le"},
    "arbstr_request_duration_seconds_count": set(),
    "arbstr_request_duration_seconds_sum": set(),
    "arbstr_first_byte_seconds_bucket": {"le"},
    "arbstr_first_byte_seconds_count": set(),
    "arbstr_first_byte_seconds_sum": set(),
    "arbstr_breaker_state": {"provider"},
    "arbstr_budget_spent_sats": {"scope", "period"},
    "arbstr_budget_limit_sats": {"scope", "period"},
    "arbstr_balance_sats": {"provider"},
    "arbstr_requests_in_flight": set(),
    "arbstr_ledger_queue_rows": set(),
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def parsed(answer: Answer) -> dict[Sample, float]:
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


async def scraped(arbstr: Arbstr, headers: dict[str, str] | None = None) -> dict[Sample, float]:
    return parsed(await arbstr.get("/metrics", headers=headers))


def value(samples: dict[Sample, float], name: str, **labels: str) -> float:
    """The sum of the samples that have these labels, among others."""
    return sum(number for (called, has), number in samples.items() if called == name and labels.items() <= has)


async def ledger(arbstr: Arbstr, count: int) -> dict[str, Any]:
    await arbstr.rows(count)
    stats: dict[str, Any] = (await arbstr.get("/v1/stats")).json
    return stats


async def test_sums_are_those_of_the_ledger(harness: ProxyHarness) -> None:
    stream = sse_reply(*stream_events("a"), usage_chunk(30, 7))
    await harness.add_provider("alpha", json_reply(completion()), stream, error_reply(400))
    rule = {"name": "code", "keywords": ["code"]}
    arbstr = await harness.start(policies={"rules": [rule]})
    for fields in ({"content": "code"}, {"stream": True}, {}, {"model": "nonsense"}):
        await arbstr.row(await arbstr.chat(**fields))
    stats, samples = await ledger(arbstr, 4), await scraped(arbstr)
    counted = {has: number for (name, has), number in samples.items() if name == "arbstr_requests_total"}
    assert sum(counted.values()) == stats["counts"]["total"] == 4
    assert value(samples, "arbstr_requests_total", status="200") == stats["counts"]["success"] == 2
    assert value(samples, "arbstr_sats_total") == pytest.approx(stats["costs"]["total_cost_sats"])
    assert value(samples, "arbstr_tokens_total", kind="input") == stats["costs"]["total_input_tokens"]
    assert value(samples, "arbstr_tokens_total", kind="output") == stats["costs"]["total_output_tokens"]
    both = {"provider": "alpha", "client": "(none)", "model": "gpt-4o"}
    assert counted[frozenset({**both, "policy": "code", "status": "200"}.items())] == 1
    assert counted[frozenset({**both, "policy": "(none)", "status": "400"}.items())] == 1
    assert value(samples, "arbstr_request_duration_seconds_count") == 4
    assert value(samples, "arbstr_request_duration_seconds_bucket", le="+Inf") == 4
    assert value(samples, "arbstr_first_byte_seconds_count") == 1


async def test_every_metric_has_its_name_and_labels(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(25_000))
    arbstr = await harness.start(budget={"max_sats_per_day": 500})
    await alpha.polled(2)
    await arbstr.row(await arbstr.chat(model="gpt-4o-mini"))
    found: dict[str, set[str]] = {}
    for name, labels in await scraped(arbstr):
        found.setdefault(name, set()).update(label for label, _ in labels)
    assert found == LABELS


async def test_it_is_text_as_prometheus_reads_it(harness: ProxyHarness) -> None:
    answer = await (await harness.start()).get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert all(re.match(r"# (HELP|TYPE) arbstr_|arbstr_\w+(\{.*\})? [\d.e+-]+$", line) for line in lines)
    assert (await (await harness.start()).get("/metrics", method="HEAD")).status == 200


async def test_money_and_health_are_reported_as_they_are_now(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", holding(25_000))
    await harness.add_provider("beta", error_reply(500), models=("other",))
    policies = {"rules": [{"name": "code", "max_sats_per_hour": 40, "keywords": ["code"]}]}
    arbstr = await harness.start(
        budget={"max_sats_per_day": 500}, policies=policies, breaker={"failure_threshold": 1}, retry={"max_retries": 0}
    )
    await alpha.polled(2)
    await arbstr.row(await arbstr.chat("code", model="gpt-4o-mini"))
    await arbstr.row(await arbstr.chat(model="other"))
    await arbstr.rows(2)
    samples = await scraped(arbstr)
    assert value(samples, "arbstr_balance_sats", provider="alpha") > 20
    assert value(samples, "arbstr_budget_limit_sats", scope="global", period="day") == 500
    assert value(samples, "arbstr_budget_limit_sats", scope="code", period="hour") == 40
    assert value(samples, "arbstr_budget_spent_sats", scope="code", period="hour") == 1
    assert value(samples, "arbstr_breaker_state", provider="alpha") == 0
    assert value(samples, "arbstr_breaker_state", provider="beta") == 2
    assert value(samples, "arbstr_ledger_queue_rows") == 0


async def test_requests_in_flight_are_those_that_run_now(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER], on_client_gone="cancel")
    arbstr = await harness.start()
    asking = await arbstr.start_chat()
    await alpha.asked()
    assert value(await scraped(arbstr), "arbstr_requests_in_flight") == 1
    asking.cancel()
    await arbstr.finished()
    assert value(await scraped(arbstr), "arbstr_requests_in_flight") == 0


async def test_any_number_of_unknown_models_makes_one_series(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    for number in range(50):
        await arbstr.chat(model=f'nonsense-{number}"\n}} 1')
    samples = await scraped(arbstr)
    assert value(samples, "arbstr_requests_total", model="(unknown)") == 50
    assert len([name for name, _ in samples if name == "arbstr_requests_total"]) == 1


async def test_it_needs_the_token_of_the_other_endpoints(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.get("/metrics")).refusal == (401, "authentication_error", "invalid_api_key")
    assert (await arbstr.get("/metrics", headers=bearer(TOKEN))).status == 200


async def test_a_scrapers_token_opens_nothing_else(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"auth_token": TOKEN, "metrics_token": SCRAPER})
    for path in ("/metrics", "/%6Detrics", "/metrics?x=1"):
        assert (await arbstr.get(path, headers=bearer(SCRAPER))).status == 200
    assert (await arbstr.get("/metrics", headers=bearer(TOKEN))).status == 200
    for path in ("/v1/stats", "/providers", "/v1/models", "/metrics/", "/metrics/../v1/stats", "/openapi.json"):
        assert (await arbstr.get(path, headers=bearer(SCRAPER))).status == 401
    assert (await arbstr.chat(headers=bearer(SCRAPER))).status == 401


async def test_with_a_scrapers_token_alone_only_metrics_ask_for_one(harness: ProxyHarness) -> None:
    rules = {"rules": [{"name": "code"}]}
    arbstr = await harness.start(server={"metrics_token": SCRAPER}, policies=rules)
    assert (await arbstr.get("/metrics")).status == 401
    assert (await arbstr.get("/metrics", headers=bearer("wrong"))).status == 401
    assert (await arbstr.get("/metrics", headers=bearer(SCRAPER))).status == 200
    assert (await arbstr.get("/v1/stats")).status == 200
    for path in ("/policy/code/metrics", "/policy/code/%6Detrics"):
        assert (await arbstr.get(path)).status == 404


async def test_it_is_listed_and_described(harness: ProxyHarness) -> None:
    arbstr = await harness.start()
    assert "GET /metrics" in (await arbstr.get("/")).json["endpoints"]
    described = (await arbstr.get("/openapi.json")).json["paths"]["/metrics"]["get"]
    assert described["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}


async def test_what_a_balance_tells_later_is_in_the_sum_too(harness: ProxyHarness) -> None:
    alpha = await paid_node(harness, json_reply(completion()))
    arbstr = await started(harness, alpha)
    events = arbstr.source.subscribe()
    assert (await arbstr.chat(model="gpt-4o-mini")).status == 200
    alpha.take(90)
    await awaited(events, ChargeBooked)
    stats = (await arbstr.get("/v1/stats")).json
    assert value(await scraped(arbstr), "arbstr_sats_total") == stats["costs"]["total_cost_sats"] == 0.09
