"""What a node takes without saying so is in the ledger, in every figure, once its balance tells."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arbstr.bus import Subscription
from arbstr.config.schema import Provider, Timeouts
from arbstr.events import ChargeBooked, Event, UnexplainedCharge
from arbstr.market import bookkeeping, reconciliation
from arbstr.redaction import Secret
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.patience import SHORT_S
from tests.support.provider import (
    Asked,
    Move,
    Part,
    ScriptedProvider,
    chunk,
    completion,
    json_reply,
    sse_reply,
    stream_events,
)
from tests.support.recordings import recording

MINI = "gpt-4o-mini"


class Node:
    """A scripted node, and the money of arbstr's key there, in msats."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self.provider = provider
        self.free, self.reserved, self.spent = 1_000_000, 0, 5000
        provider.account = self._account
        provider.info = recording("info").reply()

    def take(self, msats: int) -> None:
        self.free -= msats
        self.spent += msats

    def _account(self, asked: Asked) -> list[Part]:
        return json_reply({"balance": self.free, "reserved": self.reserved, "total_spent": self.spent})


async def node(harness: ProxyHarness, *script: Any, **fields: Any) -> Node:
    provider = await harness.add_provider("alpha", *script, listing=recording("models_list").reply())
    given = {"kind": "routstr", "api_key": Secret(key_of("alpha")), "refresh": 0.1} | fields
    harness.providers[-1] = Provider(name="alpha", url=provider.url, **given)
    return Node(provider)


async def started(harness: ProxyHarness, alpha: Node, **sections: Any) -> Arbstr:
    arbstr = await harness.start(**sections)
    await alpha.provider.polled(2)
    await arbstr.get("/v1/models")
    return arbstr


async def awaited(events: Subscription, kind: type[ChargeBooked | UnexplainedCharge]) -> Event:
    """Wait until a balance has shown something."""
    while not isinstance(event := await events.next(), kind):
        pass
    return event


async def costs(arbstr: Arbstr) -> dict[str, Any]:
    return dict((await arbstr.get("/v1/stats")).json["costs"])


async def rows(arbstr: Arbstr) -> list[dict[str, Any]]:
    return list((await arbstr.get("/v1/requests")).json["data"])


async def test_what_a_late_answer_took_is_booked_everywhere(harness: ProxyHarness) -> None:
    late = Timeouts(first_byte=SHORT_S)
    alpha = await node(harness, [Move.NEVER], timeouts=late)
    arbstr = await started(harness, alpha, budget={"max_sats_per_day": 100})
    events = arbstr.source.subscribe()
    alpha.reserved = 600
    assert (await arbstr.chat(model=MINI, max_tokens=1000)).status == 504
    (row,) = await rows(arbstr)
    assert row["cost"]["sats"] is None
    assert row["cost"]["doubtful_sats"] > 0
    alpha.reserved = 0
    alpha.take(455)
    await awaited(events, ChargeBooked)
    assert (await costs(arbstr))["total_cost_sats"] == 0.455
    (row,) = await rows(arbstr)
    assert (row["cost"]["sats"], "doubtful_sats" in row["cost"], row["charged_for_nothing"]) == (0.455, False, True)
    snapshot = arbstr.source.snapshot()
    assert (snapshot.totals.cost_msats, snapshot.recent[0].cost_msats) == (455, 455)
    assert [budget.spent_msats for budget in snapshot.budgets] == [455]


async def test_charges_that_are_not_stated_are_what_the_balance_says_and_learned(harness: ProxyHarness) -> None:
    alpha = await node(harness, json_reply(completion()))
    arbstr = await started(harness, alpha)
    events = arbstr.source.subscribe()
    for number in range(1, 5):
        assert (await arbstr.chat(model=MINI)).status == 200
        alpha.take(90)
        await awaited(events, ChargeBooked)
        assert [row["cost"]["sats"] for row in await rows(arbstr)] == [0.09] * number
    (shown,) = (await arbstr.get("/providers")).json["providers"]
    assert shown["charged_ratios"] == {MINI: shown["charged_ratio"]}
    assert shown["charged_ratio"] > 2


async def test_money_paid_in_is_nothing_that_was_spent(harness: ProxyHarness) -> None:
    charged = {**completion(), "cost": {"total_msats": 1000}}
    alpha = await node(harness, json_reply(charged))
    arbstr = await started(harness, alpha)
    alpha.free += 500_000
    assert (await arbstr.chat(model=MINI)).status == 200
    alpha.take(1000)
    await alpha.provider.polled(len(alpha.provider.polls) + 3)
    assert await costs(arbstr) == {"total_cost_sats": 1.0, "total_input_tokens": 10, "total_output_tokens": 5}


async def test_what_no_request_took_is_unexplained(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "UNEXPLAINED_AFTER_S", 0.2)
    monkeypatch.setattr(bookkeeping, "AGAIN_S", 0.05)
    charged = {**completion(), "cost": {"total_msats": 1000}}
    alpha = await node(harness, json_reply(charged))
    arbstr = await started(harness, alpha, budget={"max_sats_per_day": 100})
    events = arbstr.source.subscribe()
    assert (await arbstr.chat(model=MINI)).status == 200
    alpha.take(1000 + 700)
    unexplained = await awaited(events, UnexplainedCharge)
    assert isinstance(unexplained, UnexplainedCharge)
    assert unexplained.msats == 700
    stats = (await arbstr.get("/v1/stats?group_by=provider")).json
    assert stats["counts"]["total"] == 1
    for figures in (stats, stats["providers"]["alpha"]):
        assert (figures["costs"]["total_cost_sats"], figures["costs"]["unexplained_sats"]) == (1.7, 0.7)
    assert [row["cost"]["sats"] for row in await rows(arbstr)] == [1.0]
    assert arbstr.source.snapshot().totals.cost_msats == 1700
    assert [budget.spent_msats for budget in arbstr.source.snapshot().budgets] == [1000], "of the request alone"


async def test_a_nodes_word_alone_refuses_no_request(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "UNEXPLAINED_AFTER_S", 0.2)
    monkeypatch.setattr(bookkeeping, "AGAIN_S", 0.05)
    alpha = await node(harness, json_reply({**completion(), "cost": {"total_msats": 1000}}))
    arbstr = await started(harness, alpha, budget={"max_sats_per_day": 100})
    events = arbstr.source.subscribe()
    assert (await arbstr.chat(model=MINI)).status == 200
    alpha.take(1000)
    alpha.spent += 10**12
    await awaited(events, UnexplainedCharge)
    assert (await arbstr.chat(model=MINI)).status == 200


@pytest.mark.parametrize(("version", "given_up"), [("0.4.7", False), ("0.4.8", True)])
async def test_a_stream_whose_client_has_left_is_given_up_where_that_costs_less(
    harness: ProxyHarness, version: str, given_up: bool
) -> None:
    go_on = asyncio.Event()
    end = stream_events("b", tokens=(1000, 500), cost_msats=455)
    alpha = await node(harness, sse_reply(chunk("a"), go_on, *end))
    alpha.provider.info = json_reply({"version": version})
    arbstr = await started(harness, alpha)
    events = arbstr.source.subscribe()
    async with arbstr.stream(model=MINI) as stream:
        await stream.until(b'"a"')
        stream.leave()
    if not given_up:
        await arbstr.catch_up()
        go_on.set()
    await arbstr.finished()
    alpha.take(120 if given_up else 455)
    if given_up:
        await awaited(events, ChargeBooked)
    (row,) = await rows(arbstr)
    assert (row["error"]["status"], row["tokens"]["output"]) == (499, None if given_up else 500)
    assert row["cost"]["sats"] == (0.12 if given_up else 0.455)
