"""What a request used and cost: header, event and row say the same, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.provider import (
    DONE,
    chunk,
    completion,
    event,
    json_reply,
    sse_reply,
    stream_events,
    usage_chunk,
)
from tests.proxy.world import Answer, World, tokens_of

# Tokens in and out, rates in and out, fee; and the cost in millisats, rounded once, half up.
COSTS = [
    ((1000, 500), (10, 30, 1), 26_000),
    ((0, 0), (10, 30, 1), 1_000),
    ((1, 1), (0.4, 0.1, 0), 1),  # 0.5 msats: half goes up
    ((1, 0), (0.4, 0, 0), 0),
    ((3, 0), (0.5, 0, 0), 2),  # 1.5
    ((5, 0), (0.5, 0, 0), 3),  # 2.5: up, not to even
    ((1, 1), (0.3, 0.3, 0.0003), 1),  # 0.3 + 0.3 + 0.3: rounded after the sum, not before
    ((7, 0), (0.1, 0, 0), 1),  # 0.7
    ((123_456, 7_890), (2.5, 10, 0.001), 387_541),
]


def cost_header(answer: Answer) -> str | None:
    return answer.headers.get("X-Arbstr-Cost-Sats")


@pytest.mark.parametrize(("tokens", "rates", "msats"), COSTS)
async def test_header_and_row_say_the_same_cost(
    world: World, tokens: tuple[int, int], rates: tuple[float, float, float], msats: int
) -> None:
    rated = dict(zip(("input_rate", "output_rate", "base_fee"), rates, strict=True))
    await world.sells("alpha", json_reply(completion(tokens=tokens)), **rated)
    arbstr = await world.opens()
    answer = await arbstr.chat()
    assert cost_header(answer) == f"{msats // 1000}.{msats % 1000:03}"
    row = await arbstr.row(answer)
    assert row["cost"]["sats"] == msats / 1000
    assert tokens_of(row) == (tokens[0], tokens[1])


@pytest.mark.parametrize(("tokens", "rates", "msats"), COSTS)
async def test_a_streams_event_and_row_say_the_same_cost(
    world: World, tokens: tuple[int, int], rates: tuple[float, float, float], msats: int
) -> None:
    rated = dict(zip(("input_rate", "output_rate", "base_fee"), rates, strict=True))
    await world.sells("alpha", sse_reply(*stream_events("a", tokens=tokens)), **rated)
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert cost_header(answer) is None
    assert answer.trailer["cost_sats"] == msats / 1000
    row = await arbstr.row(answer)
    assert row["cost"]["sats"] == msats / 1000
    assert tokens_of(row) == (tokens[0], tokens[1])


async def test_sums_are_of_the_rounded_costs(world: World) -> None:
    await world.sells("alpha", json_reply(completion(tokens=(1, 0))), input_rate=0.5, output_rate=0, base_fee=0)
    arbstr = await world.opens()
    for _ in range(3):
        await arbstr.chat()
    await arbstr.finished(3)
    assert (await arbstr.get("/v1/stats")).json["costs"]["total_cost_sats"] == 0.003


async def test_cost_is_by_the_rates_of_whoever_answered(world: World) -> None:
    await world.sells("alpha", json_reply({}, status=401), input_rate=1)
    await world.sells("beta", json_reply(completion(tokens=(1000, 0))), input_rate=70, base_fee=0)
    arbstr = await world.opens()
    assert cost_header(await arbstr.chat()) == "70.000"


async def test_what_the_provider_says_it_charged_stands_beside_the_cost(world: World) -> None:
    await world.sells("alpha", json_reply(completion(tokens=(1000, 500), cost_msats=12_423)))
    arbstr = await world.opens()
    answer = await arbstr.chat()
    assert cost_header(answer) == "26.000"
    assert (await arbstr.row(answer))["cost"] == {"sats": 26.0, "provider_sats": 12.423, "list_sats": None}


async def test_a_charge_of_a_stream_too(world: World) -> None:
    await world.sells("alpha", sse_reply(*stream_events("a", tokens=(1000, 500), cost_msats=455)))
    arbstr = await world.opens()
    row = await arbstr.row(await arbstr.chat(stream=True))
    assert row["cost"] == {"sats": 26.0, "provider_sats": 0.455, "list_sats": None}


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
async def test_unknown_usage_is_null_and_never_a_guess(world: World, usage: Any) -> None:
    await world.sells("alpha", json_reply(completion(tokens=None) | {"usage": usage}))
    arbstr = await world.opens()
    answer = await arbstr.chat()
    assert answer.status == 200
    assert cost_header(answer) is None
    row = await arbstr.row(answer)
    assert row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_half_known_usage_has_no_cost(world: World) -> None:
    await world.sells("alpha", json_reply(completion(tokens=None) | {"usage": {"prompt_tokens": 10}}))
    arbstr = await world.opens()
    answer = await arbstr.chat()
    assert cost_header(answer) is None
    row = await arbstr.row(answer)
    assert tokens_of(row) == (10, None)
    assert row["cost"]["sats"] is None


async def test_a_stream_without_usage_has_nulls_in_event_and_row(world: World) -> None:
    await world.sells("alpha", sse_reply(*stream_events("a", tokens=None)))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] is None
    assert answer.trailer["input_tokens"] is answer.trailer["output_tokens"] is None
    row = await arbstr.row(answer)
    assert row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_zero_usage_of_a_whole_stream_is_zero(world: World) -> None:
    await world.sells("alpha", sse_reply(*stream_events("a", tokens=(0, 0))), base_fee=0)
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["cost_sats"] == 0
    assert tokens_of(await arbstr.row(answer)) == (0, 0)


async def test_zero_usage_of_a_stream_that_broke_off_is_unknown(world: World) -> None:
    await world.sells("alpha", sse_reply(chunk("Hel"), usage_chunk(0, 0, cost_msats=0)))
    arbstr = await world.opens()
    row = await arbstr.row(await arbstr.chat(stream=True))
    assert not row["success"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_usage_of_a_stream_that_broke_off_counts_where_it_is_known(world: World) -> None:
    await world.sells("alpha", sse_reply(chunk("Hel"), usage_chunk(1000, 500)))
    arbstr = await world.opens()
    row = await arbstr.row(await arbstr.chat(stream=True))
    assert not row["success"]
    assert row["cost"]["sats"] == 26.0


async def test_the_last_usage_of_a_stream_counts(world: World) -> None:
    """Some servers send a running sum with every chunk."""
    running = [
        event({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 10, "completion_tokens": n}})
        for n in (1, 2, 3)
    ]
    await world.sells("alpha", sse_reply(*running, chunk(finish_reason="stop"), DONE))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["output_tokens"] == 3
    assert answer.body.count(b'"usage"') == 3  # they carry more than usage, so they pass


async def test_a_model_that_writes_about_usage_is_not_metered_by_it(world: World) -> None:
    text = 'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}\n\ndata: [DONE]\n\n'
    await world.sells("alpha", sse_reply(*stream_events(text, tokens=(12, 9))))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert (answer.trailer["input_tokens"], answer.trailer["output_tokens"]) == (12, 9)


async def test_latency_is_the_whole_answers(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat()
    row = await arbstr.row(answer)
    assert answer.headers["X-Arbstr-Latency-Ms"] == str(row["timing"]["latency_ms"])
    assert row["timing"]["stream_duration_ms"] is None


async def test_latency_of_a_stream_is_to_its_first_byte_and_its_duration_apart(world: World) -> None:
    await world.sells("alpha", sse_reply(*stream_events("a")))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    assert "X-Arbstr-Latency-Ms" not in answer.headers
    timing = (await arbstr.row(answer))["timing"]
    assert 0 <= timing["latency_ms"] <= timing["stream_duration_ms"]
    assert abs(answer.trailer["latency_ms"] - timing["stream_duration_ms"]) <= 1


async def test_a_budget_counts_what_was_charged_also_after_a_restart(world: World) -> None:
    """By its rates the answer costs little more than a sat; the seller took 100."""
    await world.sells("alpha", json_reply(completion(cost_msats=100_000)))
    sections = {"budget": {"max_sats_per_day": 90}, "policies": {"overcharge_min_sats": 1e9}}
    first = await world.opens(**sections)
    assert (await first.chat()).status == 200
    await first.rows(1)
    for arbstr in (first, await world.opens(**sections)):
        assert [budget.spent_msats for budget in arbstr.source.snapshot().budgets] == [100_000]
        assert (await arbstr.chat()).status == 402
