"""What a request may cost at most, and what may be spent in all: nothing that is sent or claimed gets around it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Arbstr, ProxyHarness, body
from tests.support.patience import SHORT_S
from tests.support.provider import (
    DONE,
    Move,
    Reply,
    Script,
    chunk,
    completion,
    error_reply,
    event,
    json_reply,
    sse_reply,
    stream_events,
)

LONG = "x" * 400_000  # 100,000 tokens; at the harness's rates a thousand sats
AT_MOST_20 = {"rules": [{"name": "small", "max_sats_per_request": 20}]}
SMALL = {"X-Arbstr-Policy": "small"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": LONG}}}},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": LONG}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": LONG}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}] * 3}]},
        {"n": 128},
        {"n": 2, "max_tokens": 400},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_everything_that_is_sent_counts_against_the_most_a_request_may_cost(
    harness: ProxyHarness, fields: dict[str, Any]
) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(policies=AT_MOST_20)
    answer = await arbstr.chat(headers=SMALL, **fields)
    message = await arbstr.refused(answer, 400, "invalid_request_error", "no_provider_within_policy")
    assert "max_sats_per_request = 20" in message
    assert alpha.requests == []


async def test_fields_that_are_no_prompt_do_not_count_against_the_most_a_request_may_cost(
    harness: ProxyHarness,
) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=AT_MOST_20)
    answer = await arbstr.chat(headers=SMALL, user=LONG, metadata={"trace": LONG}, max_tokens=600.0)
    assert answer.status == 200


@pytest.mark.parametrize("second", [b"model", rb"\u006dodel"])
async def test_a_model_that_is_named_twice_is_bought_nowhere(harness: ProxyHarness, second: bytes) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    twice = json.dumps(body()).encode()[:-1] + b',"%b":"dear"}' % second
    message = await arbstr.refused(await arbstr.send(twice), 400, "invalid_request_error", "invalid_json")
    assert "'model' more than once" in message
    assert alpha.requests == []


async def test_a_byte_order_mark_before_the_json_is_taken_off(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    data = json.dumps(body()).encode()
    assert (await arbstr.send(b"\xef\xbb\xbf" + data)).status == 200
    assert alpha.requests[0].body == data


# Budgets


def spent_sats(arbstr: Arbstr) -> list[float]:
    return [budget.spent_msats / 1000 for budget in arbstr.source.snapshot().budgets]


async def test_a_dearer_provider_is_asked_only_as_long_as_the_budget_holds_what_it_may_cost(
    harness: ProxyHarness,
) -> None:
    """The cheap one always fails; each answer of the dear one costs 288 sats."""
    await harness.add_provider("cheap", error_reply(503), input_rate=1, output_rate=1)
    dear = await harness.add_provider(
        "dear", json_reply(completion(tokens=(0, 256))), input_rate=1, output_rate=1125, base_fee=0
    )
    arbstr = await harness.start(budget={"max_sats_per_day": 600}, retry={"max_retries": 0})
    answers = [await arbstr.chat() for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 402, 402, 402]
    assert answers[-1].refusal == (402, "budget_error", "budget_exceeded")
    assert len(dear.requests) == 2
    assert spent_sats(arbstr) == [576]


async def test_a_cheaper_provider_further_down_is_still_asked(harness: ProxyHarness) -> None:
    await harness.add_provider("dear", output_rate=3000)
    cheap = await harness.add_provider("cheap", output_rate=1)
    arbstr = await harness.start(budget={"max_sats_per_day": 10}, policies={"default_strategy": "round_robin"})
    answers = [await arbstr.chat() for _ in range(4)]
    assert [answer.headers["X-Arbstr-Provider"] for answer in answers] == ["cheap"] * 4
    assert len(cheap.requests) == 4


async def test_parallel_requests_reserve_their_own_cap_however_short_answers_have_been(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion(tokens=(10, 10))))
    arbstr = await harness.start(budget={"max_sats_per_day": 700})
    for _ in range(20):
        assert (await arbstr.chat()).status == 200
    alpha.script = [json_reply(completion(tokens=(10, 20_000)))]
    answers = await asyncio.gather(*(arbstr.chat(max_tokens=20_000) for _ in range(30)))
    assert sorted(answer.status for answer in answers) == [200] + [402] * 29
    assert spent_sats(arbstr)[0] <= 700


async def test_without_a_cap_the_longest_lately_is_reserved_and_not_the_mean(harness: ProxyHarness) -> None:
    """One answer in ten is forty times as long as the others, and takes 60 sats."""
    alpha = await harness.add_provider("alpha")
    alpha.script = [json_reply(completion(tokens=(10, 2000 if n % 10 == 5 else 50))) for n in range(30)]
    arbstr = await harness.start(budget={"max_sats_per_day": 550})
    for _ in range(30):
        assert (await arbstr.chat()).status == 200
    spent, release = spent_sats(arbstr)[0], asyncio.Event()
    alpha.script = [[release, *json_reply(completion(tokens=(10, 2000)))]]
    asked = len(alpha.requests)
    tasks = [await arbstr.start_chat() for _ in range(30)]
    await alpha.asked(asked + 1)
    await asyncio.sleep(0.2)  # for those that are let in against the rule
    release.set()
    answers = await asyncio.gather(*tasks)
    assert spent + 60 < spent_sats(arbstr)[0] <= 550 + 30
    assert {answer.status for answer in answers} == {200, 402}


async def test_n_answers_may_cost_n_times_as_much(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(budget={"max_sats_per_day": 100})
    assert (await arbstr.chat(n=50, max_tokens=100)).status == 402
    assert alpha.requests == []
    assert (await arbstr.chat(n=30, max_tokens=100)).status == 200


async def test_a_ledger_that_is_locked_at_the_start_resets_no_budget(harness: ProxyHarness, tmp_path: Path) -> None:
    sections = {"budget": {"max_sats_per_month": 20}}
    await harness.add_provider("alpha", json_reply(completion(tokens=(10, 500))))
    first = await harness.start(**sections)
    assert (await first.chat()).status == 200
    await first.rows(1)
    await harness.close()

    with sqlite3.connect(tmp_path / "arbstr.db", isolation_level=None) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        harness.providers.clear()
        alpha = await harness.add_provider("alpha", json_reply(completion(tokens=(10, 500))))
        second = await harness.start(**sections)
        answer = await second.chat()
        assert answer.refusal == (402, "budget_error", "budget_exceeded")
        assert "past spending could not be read" in answer.error["message"]
        assert int(answer.headers["Retry-After"]) >= 1
        assert alpha.requests == []
        assert "budgets admit no requests until" in second.log
        other.execute("ROLLBACK")
    other.close()
    assert "16.1 spent" in (await second.chat()).error["message"]
    assert spent_sats(second) == [16.1]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_timeout_may_have_cost_is_spent_after_a_restart_too(harness: ProxyHarness, stream: bool) -> None:
    sections = {"budget": {"max_sats_per_day": 10}, "retry": {"max_retries": 0}}
    begun = sse_reply(chunk("Hel"), Move.CLOSE) if stream else [Move.NEVER]
    alpha = await harness.add_provider(
        "alpha", begun, base_fee=0, timeouts={"connect": 5, "first_byte": SHORT_S, "idle": 5}
    )
    first = await harness.start(**sections)
    await first.chat(max_tokens=300, stream=stream)
    await first.rows(1)
    (spent,) = spent_sats(first)
    assert 9 <= spent < 9.1
    assert (await first.chat(max_tokens=300)).status == 402
    second = await harness.start(**sections)
    assert spent_sats(second) == [spent]
    assert (await second.chat(max_tokens=300)).status == 402
    assert len(alpha.requests) == 1


NO_COUNT: dict[str, Script] = {
    "a stream": sse_reply(*stream_events("Hello", tokens=None)),
    "a stream of nulls": sse_reply(*stream_events("Hello", tokens=None, done=False), event({"usage": {}}), DONE),
    "an answer": json_reply(completion(tokens=None)),
    "half an answer's": json_reply({**completion(), "usage": {"prompt_tokens": 10}}),
}


@pytest.mark.parametrize("script", NO_COUNT.values(), ids=NO_COUNT)
async def test_what_is_not_counted_is_spent_as_expected_after_a_restart_too(
    harness: ProxyHarness, script: Script
) -> None:
    """Its node has charged for it, whatever it says."""
    sections = {"budget": {"max_sats_per_day": 10}}
    await harness.add_provider("alpha", script, base_fee=0)
    first = await harness.start(**sections)
    answer = await first.chat(max_tokens=300, stream="stream" in str(script))
    assert answer.status == 200
    assert (await first.row(answer))["cost"]["sats"] is None
    (spent,) = spent_sats(first)
    assert 9 <= spent < 9.1
    assert spent_sats(await harness.start(**sections)) == [spent]


@pytest.mark.parametrize("gone", ["cancel", "drain"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "within it"])
async def test_what_a_client_left_behind_is_spent_after_a_restart_too(
    harness: ProxyHarness, gone: str, begun: bool
) -> None:
    sections = {"budget": {"max_sats_per_day": 10}}
    left = asyncio.Event()
    script: Reply = sse_reply(chunk("Hel"), left, Move.CLOSE) if begun else [left, Move.CLOSE]
    alpha = await harness.add_provider("alpha", script, base_fee=0, on_client_gone=gone)
    first = await harness.start(**sections)
    if begun:
        async with first.stream(max_tokens=300) as stream:
            await stream.until(b"Hel")
    else:
        task = await first.start_chat(max_tokens=300)
        await alpha.asked()
        task.cancel()
    await first.catch_up()
    left.set()
    (row,) = await first.rows(1)
    assert row["error"]["status"] == 499
    (spent,) = spent_sats(first)
    assert 9 <= spent < 9.1
    assert spent_sats(await harness.start(**sections)) == [spent]


async def test_an_answer_costs_no_more_after_a_restart_than_before(harness: ProxyHarness) -> None:
    """Its first try may have been charged, its second was."""
    sections = {"budget": {"max_sats_per_day": 100}}
    await harness.add_provider("alpha", [Move.CLOSE], json_reply(completion(tokens=(10, 500))), base_fee=0)
    first = await harness.start(**sections)
    assert (await first.chat(max_tokens=300)).status == 200
    await first.rows(1)
    (spent,) = spent_sats(first)
    assert 15.1 + 9 <= spent < 15.1 + 9.1
    assert spent_sats(await harness.start(**sections)) == [spent]


# What providers claim


def claiming(tokens: int, *, stream: bool) -> Script:
    if stream:
        return sse_reply(*stream_events("Hello", tokens=(10, tokens)))
    return json_reply(completion(tokens=(10, tokens)))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("tokens", [20_000, 90_000, 1_000_000, 10**9])
async def test_what_one_provider_counts_makes_no_other_look_dear(
    harness: ProxyHarness, tokens: int, stream: bool
) -> None:
    """Also after a restart, and to a rule that holds what a request may cost."""
    await harness.add_provider("liar", claiming(tokens, stream=stream), input_rate=1, output_rate=1, base_fee=0)
    await harness.add_provider("honest", claiming(5, stream=stream))
    first = await harness.start()
    for _ in range(6):
        assert (await first.chat(stream=stream)).status == 200
    await first.rows(6)
    await harness.close()
    harness.providers.clear()
    await harness.add_provider("liar", claiming(tokens, stream=stream), input_rate=1, output_rate=1, base_fee=0)
    await harness.add_provider("honest", claiming(5, stream=stream))
    rules = {"rules": [{"name": "small", "max_sats_per_request": 20, "exclude_providers": ["liar"]}]}
    second = await harness.start(policies=rules)
    assert (await second.chat(headers=SMALL, stream=stream)).status == 200


async def test_a_provider_that_counts_too_many_tokens_looks_as_dear_as_it_is(harness: ProxyHarness) -> None:
    await harness.add_provider("liar", json_reply(completion(tokens=(10, 60_000))), input_rate=9, output_rate=9)
    await harness.add_provider("honest", json_reply(completion(tokens=(10, 5))))
    arbstr = await harness.start()
    asked = [(await arbstr.chat()).headers["X-Arbstr-Provider"] for _ in range(8)]
    assert asked == ["liar"] * 4 + ["honest"] * 4


async def test_hidden_thinking_is_counted_where_it_is_claimed(harness: ProxyHarness) -> None:
    """A model that thinks unseen: what it counts is reserved for it, and expected of it."""
    await harness.add_provider("alpha", json_reply(completion(tokens=(10, 3000))), base_fee=0)
    arbstr = await harness.start(budget={"max_sats_per_day": 1000}, policies=AT_MOST_20)
    for _ in range(6):
        assert (await arbstr.chat()).status == 200
    refused = await arbstr.chat(headers=SMALL)
    assert refused.refusal == (400, "invalid_request_error", "no_provider_within_policy")
    assert (await arbstr.chat(headers=SMALL, max_tokens=600)).status == 200


@pytest.mark.parametrize("claim", [{"cost_msats": 10**12}, {"tokens": (10, 10**9)}, {"tokens": (10**9, 10)}], ids=str)
async def test_one_absurd_claim_exhausts_no_budget(harness: ProxyHarness, claim: dict[str, Any]) -> None:
    """Sixteen tokens at most were asked for: a hundred times their price is the most that counts."""
    sections = {"budget": {"max_sats_per_month": 2000}}
    await harness.add_provider("alpha", json_reply(completion(**claim)), json_reply(completion()))
    first = await harness.start(**sections)
    assert (await first.chat(max_tokens=16)).status == 200
    assert (await first.chat(max_tokens=16)).status == 200
    await first.rows(2)
    (spent,) = spent_sats(first)
    assert spent < 500
    second = await harness.start(**sections)
    assert spent_sats(second) == [spent]
    assert (await second.chat(max_tokens=16)).status == 200


async def test_a_price_that_falls_at_a_node_is_noticed_within_twenty_requests(harness: ProxyHarness) -> None:
    """By its rates alpha takes 151 msats for an answer, beta 536; alpha took six times that for a while."""
    rates: dict[str, Any] = {"input_rate": 0.1, "output_rate": 30, "base_fee": 0}
    dear = json_reply(completion(tokens=(10, 5), cost_msats=151 * 6))
    alpha = await harness.add_provider("alpha", dear, **rates)
    await harness.add_provider(
        "beta", json_reply(completion(tokens=(10, 5), cost_msats=536)), **{**rates, "output_rate": 107}
    )
    arbstr = await harness.start(policies={"overcharge_min_sats": 1e9})
    for _ in range(25):
        assert (await arbstr.chat()).status == 200
    alpha.script = [json_reply(completion(tokens=(10, 5), cost_msats=151))]
    answers = [await arbstr.chat() for _ in range(20)]
    assert [answer.headers["X-Arbstr-Provider"] for answer in answers[-3:]] == ["alpha"] * 3
    rows = await arbstr.rows(45)
    assert sum(row["cost"]["sats"] for row in rows[:20]) < 20 * 0.536
