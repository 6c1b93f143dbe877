"""A price that falls where nobody buys is found, for a small share of what is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from arbstr.config.schema import Provider, Rule
from arbstr.engine.routing.exploration import NOTE, SHARE
from arbstr.engine.routing.listing import ListedModel
from arbstr.engine.routing.router import Router
from arbstr.redaction import Secret
from arbstr.types import Rates, RequestRecord
from tests.support.engine_builders import answered, chat, order, provider, router

KEY = Secret("sk-0123456789")
RATES = {"ten": 10, "twelve": 12, "thirty": 30}


class Buyer:
    """Routes requests and pays for them: every provider charges its rates times its factor, and says so."""

    def __init__(self, made: Router, **factors: float | None) -> None:
        self.router = made
        self.factors: dict[str, float | None] = factors
        self.paid = 0.0
        self.bought: list[str] = []

    def buys(self, times: int, **fields: Any) -> Counter[str]:
        """So many requests, one after the other; who got them."""
        for _ in range(times):
            request = chat(request_id=f"r-{len(self.bought)}", **fields)
            routing = self.router.route(request)
            name = order(routing)[0]
            listed = RATES[name] * 150
            factor = self.factors.get(name, 1.0)
            charged = None if factor is None else int(listed * factor)
            record = answered(
                request,
                routing,
                cost_msats=listed,
                list_cost_msats=listed,
                provider_cost_msats=charged,
            )
            self.router.learn(record, request)
            self.paid += listed if charged is None else charged
            self.bought.append(name)
        return Counter(self.bought[-times:])

    def buys_until_it_looks_around(self) -> None:
        for _ in range(1000):
            if NOTE in self.router.preview(chat()).candidates[0].note:
                return
            self.buys(1)
        pytest.fail("it never looked around")


def made(*names: str, **given: Any) -> Router:
    rules = given.pop("rules", ())
    return router([provider(name, RATES[name], RATES[name]) for name in names], *rules, **given)


@pytest.mark.parametrize(("risen", "within"), [(3.5, 20), (5.0, 20), (8.0, 40), (20.0, 80), (100.0, 700)])
def test_a_provider_that_charged_too_much_is_found_when_it_no_longer_does(risen: float, within: int) -> None:
    """It was the cheapest and charged a multiple; then it charges what its rates say again."""
    buyer = Buyer(made("ten", "thirty"), ten=risen)
    buyer.buys(40)
    assert buyer.bought[-5:].count("ten") <= 1
    buyer.factors["ten"] = 1.0
    buyer.buys(within)
    assert buyer.buys(20)["ten"] >= 19


def test_what_a_provider_asks_by_its_own_list_is_known_and_not_bought_to_find_out() -> None:
    nodes = [
        Provider(name=name, url="http://localhost:1/v1", kind="routstr", api_key=KEY) for name in ("ten", "twelve")
    ]
    buyer = Buyer(router(nodes))
    for node in nodes:
        rate = Decimal(RATES[node.name])
        buyer.router.names.learn(node, (ListedModel("gpt-4o", (), Rates(rate, rate, Decimal(0))),))
    assert buyer.buys(200) == {"ten": 200}
    buyer.factors["ten"] = 3.5
    buyer.buys(40)
    buyer.factors["ten"] = 1.0
    buyer.buys(80)
    assert buyer.buys(20)["ten"] >= 19, "who charged more than its list is tried again"


def test_a_fallen_price_is_found_within_twenty_requests_where_the_other_is_three_and_a_half_times_as_dear() -> None:
    buyer = Buyer(made("ten", "thirty"), ten=6.0, thirty=1.18)
    buyer.buys(25)
    buyer.factors["ten"] = 1.0
    before = buyer.paid
    buyer.buys(20)
    assert buyer.bought[-3:] == ["ten"] * 3
    assert buyer.paid - before < 20 * 10 * 150 * 3.0


def test_a_node_whose_price_falls_below_its_configured_rates_is_found_too() -> None:
    buyer = Buyer(made("ten", "twelve"))
    buyer.buys(15)
    buyer.factors["twelve"] = 0.25
    buyer.buys(20)
    assert buyer.buys(20)["twelve"] >= 18


@pytest.mark.parametrize("factors", [{"ten": 5.0}, {"ten": 50.0}, {}, {"ten": 2.0, "twelve": 3.0}])
def test_where_nothing_falls_looking_around_costs_no_more_than_its_share(factors: Mapping[str, float]) -> None:
    buyer = Buyer(made("ten", "twelve", "thirty"), **factors)
    buyer.buys(60)  # until all is known
    before = buyer.paid
    buyer.buys(2000)
    cheapest = min(RATES[name] * factors.get(name, 1.0) for name in RATES) * 150
    assert buyer.paid - before <= 2000 * cheapest * (1 + SHARE / (1 - SHARE)) + 40 * cheapest


def test_where_nothing_hints_at_a_lower_price_others_are_asked_more_and_more_rarely() -> None:
    buyer = Buyer(made("ten", "twelve"))
    assert buyer.buys(100)["twelve"] <= 5
    buyer.buys(1000)
    assert buyer.buys(1000)["twelve"] <= 5


def test_where_nobody_says_what_is_charged_the_cheapest_is_asked_every_time() -> None:
    buyer = Buyer(made("ten", "twelve"), ten=None, twelve=None)
    assert buyer.buys(1000) == {"ten": 1000}


@pytest.mark.parametrize("strategy", ["round_robin", "lowest_latency"])
def test_strategies_other_than_the_cheapest_explore_nothing(strategy: str) -> None:
    made_so = made("ten", "twelve", policies={"default_strategy": strategy})
    for number in range(100):
        request = chat(request_id=f"r-{number}")
        routing = made_so.route(request)
        assert all(NOTE not in candidate.note for candidate in routing.candidates)
        made_so.learn(answered(request, routing, provider_cost_msats=2500), request)


def test_limits_are_kept_while_looking_around() -> None:
    rule = Rule(name="small", max_sats_per_request=2)
    buyer = Buyer(made("ten", "twelve", rules=[rule]), ten=5.0)
    buyer.buys(30)
    for number in range(100):
        request = chat(request_id=f"s-{number}", policy="small", prompt_chars=400, max_tokens=50)
        for candidate in buyer.router.route(request).candidates:
            assert candidate.weight_msats <= 2000


def test_a_question_about_costs_takes_nobodys_turn_and_says_why() -> None:
    buyer = Buyer(made("ten", "thirty"), ten=6.0)
    buyer.buys_until_it_looks_around()
    for _ in range(5):
        assert NOTE in buyer.router.preview(chat()).candidates[0].note
    assert order(buyer.router.preview(chat())) == ["ten", "thirty"]


def test_requests_at_the_same_time_do_not_all_look_around() -> None:
    buyer = Buyer(made("ten", "thirty"), ten=6.0)
    buyer.buys_until_it_looks_around()
    routings = [buyer.router.route(chat(request_id=f"p-{number}")) for number in range(30)]
    assert [order(routing)[0] for routing in routings].count("ten") <= 3


def test_an_explored_provider_that_does_not_answer_is_not_explored_again_at_once() -> None:
    buyer = Buyer(made("ten", "thirty"), ten=6.0)
    buyer.buys_until_it_looks_around()
    request = chat(request_id="failed")
    routing = buyer.router.route(request)
    record: RequestRecord = answered(request, routing, success=False, error_status=502, provider_cost_msats=None)
    buyer.router.learn(record, request)
    assert buyer.buys(8) == {"thirty": 8}
