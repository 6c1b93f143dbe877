"""What a request used and cost: header, event and row say the same, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.harness import Answer, ProxyHarness, tokens_of
from tests.support.provider import (
    DONE,
    Reply,
    chunk,
    completion,
    event,
    json_reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

TOKENS = (777, 333)
RATES: dict[str, Any] = {"input_rate": 3.0301, "output_rate": 15.1505, "base_fee": 0.001}
COST_MSATS = 7401  # 7,400.53 by the rates


def cost_header(answer: Answer) -> str | None:
    return answer.headers.get("X-Arbstr-Cost-Sats")


async def test_header_and_row_say_the_same_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=TOKENS)), **RATES)
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert cost_header(answer) == "7.401"
    row = await arbstr.row(answer)
    assert row["cost"]["sats"] == COST_MSATS / 1000
    assert tokens_of(row) == TOKENS


async def test_a_streams_event_and_row_say_the_same_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a", tokens=TOKENS)), **RATES)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert cost_header(answer) is None
    assert answer.trailer["cost_sats"] == COST_MSATS / 1000
    row = await arbstr.row(answer)
    assert row["cost"]["sats"] == COST_MSATS / 1000
    assert tokens_of(row) == TOKENS


async def test_sums_are_of_the_rounded_costs(harness: ProxyHarness) -> None:
    await harness.add_provider(
        "alpha", json_reply(completion(tokens=(1, 0))), input_rate=0.5, output_rate=0, base_fee=0
    )
    arbstr = await harness.start()
    for _ in range(3):
        await arbstr.chat()
    await arbstr.finished(3)
    assert (await arbstr.get("/v1/stats")).json["costs"]["total_cost_sats"] == 0.003


async def test_cost_is_by_the_rates_of_the_provider_that_answered(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply({}, status=401), input_rate=1)
    await harness.add_provider("beta", json_reply(completion(tokens=(1000, 0))), input_rate=70, base_fee=0)
    arbstr = await harness.start()
    assert cost_header(await arbstr.chat()) == "70.000"


@pytest.mark.parametrize("charged_msats", [12_423, 30_001, 0])
async def test_a_request_cost_what_the_provider_says_it_charged(harness: ProxyHarness, charged_msats: int) -> None:
    """Header, row and sums say it; what the rates say stands beside it."""
    await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 500), cost_msats=charged_msats)))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    charged = charged_msats / 1000
    assert cost_header(answer) == f"{charged:.3f}"
    assert (await arbstr.row(answer))["cost"] == {"sats": charged, "provider_sats": charged, "list_sats": 26.0}
    assert (await arbstr.get("/v1/stats")).json["costs"]["total_cost_sats"] == charged
    assert arbstr.source.snapshot().totals.cost_msats == charged_msats


async def test_a_charge_in_the_header_is_what_a_request_cost(harness: ProxyHarness) -> None:
    reply = json_reply(completion(tokens=(1000, 500)), x_routstr_cost_msats="455")
    await harness.add_provider("alpha", reply)
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert cost_header(answer) == "0.455"
    assert (await arbstr.row(answer))["cost"] == {"sats": 0.455, "provider_sats": 0.455, "list_sats": 26.0}


async def test_a_charge_in_a_stream_is_what_the_request_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a", tokens=(1000, 500), cost_msats=455)))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] == 0.455
    assert (await arbstr.row(answer))["cost"] == {"sats": 0.455, "provider_sats": 0.455, "list_sats": 26.0}


async def test_a_charge_without_usage_is_the_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=None) | {"cost": {"total_msats": 9000}}))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert cost_header(answer) == "9.000"
    row = await arbstr.row(answer)
    assert row["tokens"] == {"input": None, "cached": None, "cache_write": None, "output": None}
    assert row["cost"] == {"sats": 9.0, "provider_sats": 9.0, "list_sats": None}


CACHED = {"cached_tokens": 600, "cache_write_tokens": 200}


async def test_what_is_cached_and_written_has_rates_of_its_own(harness: ProxyHarness) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": CACHED}
    await harness.add_provider(
        "alpha",
        json_reply(completion() | {"usage": usage}),
        sse_reply(chunk("Hello", finish_reason="stop"), event({"choices": [], "usage": usage}), DONE),
        base_fee=0,
        cached_input_rate=1,
        cache_write_rate=12.5,
    )
    arbstr = await harness.start()
    plain, stream = await arbstr.chat(), await arbstr.chat(stream=True)
    assert cost_header(plain) == "20.100"  # 200 x 10 + 600 x 1 + 200 x 12.5 + 500 x 30
    assert (stream.trailer["cost_sats"], stream.trailer["cached_tokens"]) == (20.1, 600)
    for answer in (plain, stream):
        tokens = {"input": 1000, "cached": 600, "cache_write": 200, "output": 500}
        assert (await arbstr.row(answer))["tokens"] == tokens


def with_usage(*usages: Any) -> Reply:
    """A stream that gives usage in several events, one of which has the finish_reason too."""
    events = [event({"choices": [], "usage": usage}) for usage in usages]
    return sse_reply(chunk("Hello"), *events[:-1], chunk(finish_reason="stop"), events[-1], DONE)


@pytest.mark.parametrize(
    "usages",
    [
        [{"prompt_tokens": 1000}, {"completion_tokens": 500}],
        [{"prompt_tokens": 1000, "completion_tokens": 0}, {"prompt_tokens": 0, "completion_tokens": 500}],
        [{"prompt_tokens": 1000, "completion_tokens": 500}, {}],
        [{"prompt_tokens": 1000, "completion_tokens": 500}, {"prompt_tokens": None, "completion_tokens": None}],
        [
            {"prompt_tokens": 1000, "completion_tokens": 100},
            {"total_tokens": 1500, "completion_tokens_details": {"reasoning_tokens": 400}},
        ],
    ],
    ids=str,
)
async def test_usage_in_several_events_is_one(harness: ProxyHarness, usages: list[Any]) -> None:
    await harness.add_provider("alpha", with_usage(*usages))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] == 26.0
    assert tokens_of(await arbstr.row(answer)) == (1000, 500)


async def test_a_later_charge_of_nothing_replaces_none(harness: ProxyHarness) -> None:
    free = event({"choices": [], "cost": {"total_msats": 0}})
    await harness.add_provider(
        "alpha", sse_reply(chunk("a", finish_reason="stop"), usage_chunk(1000, 500, cost_msats=455), free, DONE)
    )
    arbstr = await harness.start()
    assert (await arbstr.chat(stream=True)).trailer["cost_sats"] == 0.455


ABSURD = [
    ({"cost_msats": 10**12}, "charge"),
    ({"tokens": (12, 10**9)}, "tokens"),
    ({"tokens": (10**9, 9)}, "tokens"),
    ({"tokens": (10**9, 10**9), "cost_msats": 10**12}, "charge,tokens"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("claim", "marks"), ABSURD, ids=str)
async def test_an_absurd_claim_is_marked_and_spends_no_budget(
    harness: ProxyHarness, claim: dict[str, Any], marks: str, *, stream: bool
) -> None:
    reply = sse_reply(*stream_events("Hello", **claim)) if stream else json_reply(completion(**claim))
    honest = sse_reply(*stream_events("Hello")) if stream else json_reply(completion())
    await harness.add_provider("alpha", reply, honest)
    arbstr = await harness.start(budget={"max_sats_per_month": 1000})
    row = await arbstr.row(await arbstr.chat(stream=stream, max_tokens=16))
    assert row["implausible"] == marks.split(",")
    assert row["cost"]["provider_sats"] == (10**9 if "charge" in marks else None)
    assert tokens_of(row) == claim.get("tokens", (10, 5))
    assert row["cost"]["sats"] <= 200
    assert row["cost"]["list_sats"] <= 200
    later = await arbstr.chat(stream=stream, max_tokens=16)
    assert later.status == 200
    assert "implausible" not in await arbstr.row(later)
    spent = sum(max(row["cost"]["sats"], row["cost"]["list_sats"]) for row in await arbstr.rows())
    for each in (arbstr, await harness.start(budget={"max_sats_per_month": 1000})):
        assert [budget.spent_msats for budget in each.source.snapshot().budgets] == [round(spent * 1000)]


async def test_nobody_learns_from_an_absurd_claim(harness: ProxyHarness) -> None:
    """A provider that claims the absurd six times makes no limit refuse honest ones."""
    liar = [json_reply(completion(tokens=(10, 1_000_000), cost_msats=10**12))] * 6
    await harness.add_provider("liar", *liar, json_reply(completion()), output_rate=20)
    await harness.add_provider("honest")
    rules = {"rules": [{"name": "small", "max_sats_per_request": 20}], "overcharge_min_sats": 0}
    arbstr = await harness.start(policies=rules)
    for _ in range(6):
        await arbstr.chat()
    assert (await arbstr.chat(headers={"X-Arbstr-Policy": "small"})).status == 200
    assert (await arbstr.get("/providers")).json["providers"][0]["charged_ratio"] is None


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": "10", "completion_tokens": 5.5},
        {"prompt_tokens": -1},
        {"prompt_tokens": True},
    ],
    ids=repr,
)
async def test_unknown_usage_is_null_and_never_a_guess(harness: ProxyHarness, usage: Any) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=None) | {"usage": usage}))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.status == 200
    assert cost_header(answer) is None
    row = await arbstr.row(answer)
    assert row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_half_known_usage_has_no_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=None) | {"usage": {"prompt_tokens": 10}}))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert cost_header(answer) is None
    row = await arbstr.row(answer)
    assert tokens_of(row) == (10, None)
    assert row["cost"]["sats"] is None


async def test_a_stream_without_usage_has_nulls_in_event_and_row(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a", tokens=None)))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] is None
    assert answer.trailer["input_tokens"] is answer.trailer["output_tokens"] is None
    row = await arbstr.row(answer)
    assert row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_zero_usage_of_a_whole_stream_is_zero(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a", tokens=(0, 0))), base_fee=0)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] == 0
    assert tokens_of(await arbstr.row(answer)) == (0, 0)


async def test_zero_usage_of_a_stream_that_broke_off_is_unknown(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), usage_chunk(0, 0, cost_msats=0)))
    arbstr = await harness.start()
    row = await arbstr.row(await arbstr.chat(stream=True))
    assert not row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_usage_of_a_stream_that_broke_off_counts_where_it_is_known(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), usage_chunk(1000, 500)))
    arbstr = await harness.start()
    row = await arbstr.row(await arbstr.chat(stream=True))
    assert not row["success"]
    assert row["cost"]["sats"] == 26.0


async def test_the_last_usage_of_a_stream_counts(harness: ProxyHarness) -> None:
    """Some servers send a running sum with every chunk."""
    running = [
        event({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 10, "completion_tokens": n}})
        for n in (1, 2, 3)
    ]
    await harness.add_provider("alpha", sse_reply(*running, chunk(finish_reason="stop"), DONE))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["output_tokens"] == 3
    assert answer.body.count(b'"usage"') == 3  # they carry more than usage, so they pass


async def test_a_model_that_writes_about_usage_is_not_metered_by_it(harness: ProxyHarness) -> None:
    text = 'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}\n\ndata: [DONE]\n\n'
    await harness.add_provider("alpha", sse_reply(*stream_events(text, tokens=(12, 9))))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert (answer.trailer["input_tokens"], answer.trailer["output_tokens"]) == (12, 9)


async def test_latency_is_the_whole_answers(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    row = await arbstr.row(answer)
    assert answer.headers["X-Arbstr-Latency-Ms"] == str(row["timing"]["latency_ms"])
    assert row["timing"]["stream_duration_ms"] is None


async def test_latency_of_a_stream_is_to_its_first_byte_and_its_duration_apart(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert "X-Arbstr-Latency-Ms" not in answer.headers
    timing = (await arbstr.row(answer))["timing"]
    assert 0 <= timing["latency_ms"] <= timing["stream_duration_ms"]
    assert abs(answer.trailer["latency_ms"] - timing["stream_duration_ms"]) <= 1


async def test_a_budget_counts_what_was_charged_also_after_a_restart(harness: ProxyHarness) -> None:
    """By its rates the answer costs little more than a sat; the provider took 100."""
    await harness.add_provider("alpha", json_reply(completion(cost_msats=100_000)))
    sections = {"budget": {"max_sats_per_day": 90}, "policies": {"overcharge_min_sats": 1e9}}
    first = await harness.start(**sections)
    assert (await first.chat()).status == 200
    await first.rows(1)
    for arbstr in (first, await harness.start(**sections)):
        assert [budget.spent_msats for budget in arbstr.source.snapshot().budgets] == [100_000]
        assert (await arbstr.chat()).status == 402
